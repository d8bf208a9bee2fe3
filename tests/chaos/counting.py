"""The `bottega` command with stand-ins as actors that log their calls and nodes.

    python -m tests.chaos.counting LOG GATE run job.yaml ...

A line of LOG for each call of an actor: the method, the node, and the rows' prompts; and one for
each student that has loaded. Students draw once two of them have, so that both draw. Teachers do
not load before the file GATE exists, so the students' outputs wait in the object store.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

import jobs.execution.ray_executor
from actors.timed import TimedOracle, TimedStudent, TimedTeacher
from cluster.cli import main


def write_down(log: Path, method: str, prompts: Sequence[str]) -> None:
    """One line, in one write: several processes have the file open."""
    node = ray.get_runtime_context().get_node_id()
    with log.open("a") as file:
        file.write(json.dumps([method, node, list(prompts)]) + "\n")


def count(log: Path, gate: Path) -> None:
    """Make the executor start actors that count."""

    class CountedStudent(TimedStudent):
        def __init__(self, *settings: Any, **options: Any) -> None:
            super().__init__(*settings, **options)
            write_down(log, "load", ())

        def draw(self, prompts: Sequence[str], seeds: Sequence[int], **options: Any) -> Any:
            while log.read_text().count('["load"') < 2:
                time.sleep(0.05)
            write_down(log, "draw", prompts)
            return super().draw(prompts, seeds, **options)

    class CountedOracle(TimedOracle):
        def score(self, prompts: Sequence[str], *rest: Any, **options: Any) -> Any:
            write_down(log, "score", prompts)
            return super().score(prompts, *rest, **options)

    class CountedTeacher(TimedTeacher):
        def __init__(self, *settings: Any, **options: Any) -> None:
            while not gate.exists():
                time.sleep(0.05)
            super().__init__(*settings, **options)

        def refine(self, prompts: Sequence[str], *rest: Any, **options: Any) -> Any:
            write_down(log, "refine", prompts)
            return super().refine(prompts, *rest, **options)

    kinds = {"student": CountedStudent, "oracle": CountedOracle, "teacher": CountedTeacher}
    jobs.execution.ray_executor.actor_classes = lambda _: kinds  # type: ignore[assignment]


if __name__ == "__main__":
    count(Path(sys.argv.pop(1)), Path(sys.argv.pop(1)))
    main()

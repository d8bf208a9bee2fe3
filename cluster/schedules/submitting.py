"""Submits runs and asks how they stand, with the command that people use."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cluster.schedules.schedule import Schedule
from cluster.schedules.store import Run

BOTTEGA = Path(sys.executable).with_name("bottega")


@dataclass(frozen=True, slots=True)
class Answer:
    """How a job stands: `job`, its id, and `state`, as `bottega status` has it.

    `error`: why there is no answer; the other fields are empty then.
    """

    job: str = ""
    state: str = ""
    reason: str = ""
    error: str = ""


class Jobs(Protocol):
    """Submits a run, which attaches to it if it is there, and looks at one that was submitted."""

    def submit(self, schedule: Schedule, run_for: str) -> Answer:
        """Submit the schedule's job for a date."""

    def look(self, schedule: Schedule, run: Run) -> Answer:
        """How a submitted run stands."""


class CommandJobs:
    """With `bottega submit` and `bottega status`."""

    def submit(self, schedule: Schedule, run_for: str) -> Answer:
        """See `Jobs`."""
        words = ["submit", schedule.job_file, "--for", run_for, "--json", *schedule.options]
        return self._ask(schedule, words)

    def look(self, schedule: Schedule, run: Run) -> Answer:
        """See `Jobs`."""
        options = [o for o in schedule.options if o != "--extend"]
        return self._ask(schedule, ["status", run.job, "--json", *_without_shared(options)])

    def _ask(self, schedule: Schedule, words: list[str]) -> Answer:
        end = subprocess.run(
            [BOTTEGA, *words], cwd=schedule.folder, capture_output=True, text=True, check=False
        )
        try:
            found: dict[str, Any] = json.loads(end.stdout)
            return Answer(found["id"], found["state"], found.get("reason") or "")
        except (ValueError, KeyError, TypeError):
            said = end.stderr.strip().splitlines() or [f"it ended with {end.returncode}"]
            return Answer(error=said[-1].removeprefix("bottega: "))


def _without_shared(options: list[str]) -> list[str]:
    """The options that `status` has too."""
    kept, skip = [], False
    for option in options:
        if skip or option == "--shared":
            skip = not skip
            continue
        kept.append(option)
    return kept

"""What a call cost, as a part's record has it."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.facts import CallFacts
from jobs.execution.measurements import Measurements
from jobs.execution.stages import Stage
from tests.unit.jobs.local import local_job, write_prompts


@pytest.mark.parametrize(
    ("stage", "slots", "padded"),
    [
        (Stage.DRAW, None, {"student": 4}),
        # After the device ran out of memory two rows are computed at once: eight slots in fours.
        (Stage.DRAW, [1, 6], {"student": 14}),
        (Stage.REFINE, [1, 6], {"teacher": 8}),
        # The slots of a scoring are those of the drawings.
        (Stage.SCORE_DRAWN, [2, 3, 12, 13], {"oracle": 14}),
    ],
)
def test_empty_slots_count_as_computed(
    stage: Stage, slots: list[int] | None, padded: dict[str, int], tmp_path: Path
) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 4), tmp_path / "out", draws=2)
    owner = SimpleNamespace(
        seconds=defaultdict(float), calls=Counter(), padded_rows=Counter(), smaller_batches={}
    )
    task: Any = SimpleNamespace(
        call=SimpleNamespace(stage=stage), owner=owner, micro_batch_size=2, slots=slots
    )
    pools: Any = defaultdict(lambda: SimpleNamespace(size=1))
    Measurements(job).add(task, CallFacts(len(slots or [0, 1]), 1.0), pools)
    assert owner.padded_rows == padded

"""What a call cost, as a part's record has it."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.facts import CallFacts
from jobs.execution.active_part import ActivePart
from jobs.execution.cascade import Cascade
from jobs.execution.measurements import Measurements
from jobs.execution.stages import Stage, Step
from jobs.output.pages.totals import truncated_of
from tests.unit.jobs.local import local_job, write_prompts


@pytest.mark.parametrize(
    ("step", "slots", "padded"),
    [
        (Step(Stage.DRAW), None, {"student": 4}),
        # After the device ran out of memory two rows are computed at once: eight slots in fours.
        (Step(Stage.DRAW), [1, 6], {"student": 14}),
        # A row that is drawn again is drawn once.
        (Step(Stage.DRAW, 1), [1, 6], {"student": 8}),
        (Step(Stage.REFINE), [1, 6], {"teacher": 8}),
        # The slots of a scoring are those of the drawings.
        (Step(Stage.SCORE_DRAWN), [2, 3, 12, 13], {"oracle": 14}),
    ],
)
def test_empty_slots_count_as_computed(
    step: Step, slots: list[int] | None, padded: dict[str, int], tmp_path: Path
) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 4), tmp_path / "out", draws=2)
    owner = SimpleNamespace(
        seconds=defaultdict(float), calls=Counter(), padded_rows=Counter(), smaller_batches={}
    )
    task: Any = SimpleNamespace(
        call=SimpleNamespace(stage=step.stage, step=step),
        owner=owner,
        micro_batch_size=2,
        slots=slots,
    )
    pools: Any = defaultdict(lambda: SimpleNamespace(size=1))
    Measurements(job).add(task, CallFacts(len(slots or [0, 1]), 1.0), pools)
    assert owner.padded_rows == padded


def test_a_record_counts_the_prompts_that_each_role_cuts(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 4), tmp_path / "out", draws=2)
    part = next(job.prompts.parts())
    cascade = Cascade(4, job.rules(0.0), {})
    owner = ActivePart(part, cascade, truncated_before={"oracle": 5})
    pools: Any = defaultdict(lambda: SimpleNamespace(size=1))
    measurements = Measurements(job)
    for stage, rows, cut in (
        (Stage.DRAW, 2, (1,)),
        (Stage.SCORE_DRAWN, 4, (2, 3)),  # two drawings of the second row
        (Stage.SCORE_REFINED, 2, (0, 1)),
    ):
        task: Any = SimpleNamespace(
            call=SimpleNamespace(stage=stage, rows=(2, 3)),
            owner=owner,
            micro_batch_size=0,
            slots=None,
        )
        measurements.add(task, CallFacts(rows, 1.0, truncated=cut), pools)
    assert owner.truncated == {"student": {3}, "oracle": {2, 3}}
    assert owner.facts()["truncated"] == {"student": 1, "oracle": 7}
    assert truncated_of([{"truncated": {"oracle": 2}}, {}, {"truncated": {"oracle": 1}}]) == {
        "oracle": 3
    }

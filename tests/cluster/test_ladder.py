"""A ladder of all three kinds of rungs as a whole job on a real Ray, with the embedded models."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jobs.output.verify import verify
from jobs.spec.climb import climb
from tests.cluster.conftest import RunJob, hashes, rows_of

LADDER: dict[str, Any] = {
    "ladder": [
        {"draw": 2, "until": 0.6},
        {"refine": {"strength": 0.6, "steps": 3}, "below": 0.6},
        {"regenerate": {"steps": 3}, "below": 0.6, "keep": "best"},
    ],
    "teacher_steps": None,
}


class DriverDiedError(Exception):
    """Nothing of the product catches it."""


def test_rows_climb_as_the_rules_say_and_an_interrupted_job_makes_the_same_bytes(
    run_here: RunJob, captions: Path, tmp_path: Path
) -> None:
    job, progress = run_here(input=str(captions), output=str(tmp_path / "out"), **LADDER)
    assert list(verify(job.output)) == []

    below = job.output.require_job()["calibration"]["thresholds"]
    bars = [0.0, *map(float, below)]
    ladder = tuple(one.rung(at) for one, at in zip(job.spec.attempts, bars, strict=True))
    taken: Counter[int] = Counter()
    for row in rows_of(job.output.path):
        end = climb(ladder, row["rung_scores"])
        assert end.has is not None
        taken.update(end.taken)
        assert row["attempts"] == len(end.taken)
        assert row["source"] == ("teacher" if ladder[end.has].by_teacher else "student")
        assert (row["student_score"], row["teacher_score"]) == (
            end.student_score, end.teacher_score
        )  # fmt: skip
        # Two steps of the student; three of the teacher, with guidance.
        assert row["nfe"] == sum((2, 2, 6, 6)[number] for number in end.taken)
    rungs = tuple(taken[number] for number in range(4))
    assert rungs[0] == 22 > rungs[1] >= rungs[2] >= rungs[3] > 0
    assert progress.rungs == rungs

    def die_after_a_part(_: Any) -> None:
        if list((tmp_path / "again").glob("records/**/*.json")):
            raise DriverDiedError

    fields = {"input": str(captions), "output": str(tmp_path / "again"), **LADDER}
    with pytest.raises(DriverDiedError):
        run_here(watch=die_after_a_part, **fields)
    _, resumed = run_here(**fields)
    assert 0 < resumed.resumed_rows < 22
    assert hashes(tmp_path / "again") == hashes(tmp_path / "out")

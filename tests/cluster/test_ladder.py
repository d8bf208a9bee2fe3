"""Ladders as whole jobs on a real Ray, with the embedded models: one of all three kinds of rungs,
and one that the calibration finds for a job that has everything else too."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.output.verify import verify
from jobs.spec.climb import climb
from tests.cluster.conftest import CAPTIONS, FAST, RunJob, hashes, rows_of

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


EXTRAS = {
    "extra_scores": [{"column": "light", "kind": "light:Light"}],
    "filters": [{"column": "dark", "kind": "light:Light", "below": 100.0}],
}
LIGHT = """
class Light:
    def score(self, prompts, pictures): return pictures.mean(axis=(1, 2, 3)).tolist()
"""


def test_a_search_with_all_else_that_a_job_may_have_goes_on_where_it_was(
    run_here: RunJob, modules: Path, tmp_path: Path
) -> None:
    """Sizes and guidance by row, extra scores and filters, a judge; killed, extended, the same."""
    (modules / "light.py").write_text(LIGHT)
    models = {**FAST["models"], "oracle": {**FAST["models"]["oracle"], **EXTRAS}}
    fields: dict[str, Any] = {
        "models": models,
        "ladder": "search",
        "search": {"judge": "light"},
        "budget": {"nfe": 7},
        "calibration_rows": 16,
        "sizes": ["64x64", "96x64"],
        "size_column": "size",
        "guidance_scale_column": "guide",
        "id_column": "id",
        "save_student": True,
    }

    def write(rows: int) -> None:
        columns = {
            "id": [f"row-{n}" for n in range(rows)],
            "prompt": CAPTIONS[:rows],
            "size": [None if n % 3 else "96x64" for n in range(rows)],
            "guide": [2.0 if n % 4 == 1 else None for n in range(rows)],
        }
        pq.write_table(pa.table(columns), tmp_path / "prompts.parquet")

    def die_after_a_part(_: Any) -> None:
        if list((tmp_path / "killed").glob("records/**/*.json")):
            raise DriverDiedError

    write(18)
    places = {name: {"input": str(tmp_path / "prompts.parquet"), "output": str(tmp_path / name)}
              for name in ("whole", "killed")}  # fmt: skip
    job, progress = run_here(**places["whole"], **fields)
    assert progress.failed_rows == 0
    assert job.output.require_job()["search"]["asked"]["judge"] == "light"
    with pytest.raises(DriverDiedError):
        run_here(watch=die_after_a_part, **places["killed"], **fields)
    run_here(**places["killed"], **fields)
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")
    write(21)
    for each in places.values():
        job, progress = run_here(extend=True, **each, **fields)
        assert progress.done_rows == 21
        assert list(verify(job.output)) == []
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")
    rows = rows_of(tmp_path / "whole")
    widths = [Image.open(BytesIO(row["image"]["bytes"])).width for row in rows]
    assert widths == [64 if n % 3 else 96 for n in range(21)]
    assert all(row["dark_flagged"] == (row["dark"] < 100) for row in rows)

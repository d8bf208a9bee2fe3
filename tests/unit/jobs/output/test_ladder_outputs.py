"""A dataset of a job with a ladder: its columns, its records, and what `verify` finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isnan
from pathlib import Path
from shutil import copytree
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.errors import OutputError
from actors.refinement import DrawPlan
from jobs.output.folder import OutputFolder
from jobs.output.pages.dataset_card import card
from jobs.output.pages.report import report
from jobs.output.records import RUNGS, describe_calibration
from jobs.resolution import Job
from tests.outputs import part_file
from tests.unit.jobs.local import (
    LocalDispatcher,
    bytes_of,
    local_job,
    retry,
    run,
    write_prompts,
)
from tests.unit.jobs.output.test_verify import problems, rewrite, rewrite_record, with_values

LADDER = [
    {"draw": 3, "until": 0.5},
    {"refine": {"strength": 0.6, "steps": 3}, "below": 0.6},
    {"refine": {"strength": 0.6, "steps": 3}, "below": 0.5, "keep": "best"},
]
MORE = {"save_student": True, "id_column": "id", "max_failed": 0.5}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """24 rows in parts of 4; row 5 failed, and of row 9 the teacher makes no picture."""
    folder = tmp_path_factory.mktemp("ladder")
    source = write_prompts(folder / "p.csv", 24)
    job = local_job(source, folder / "out", ladder=LADDER, **MORE)
    run(job, dispatcher(job))
    return job


def dispatcher(job: Job) -> LocalDispatcher:
    broken, nothing = frozenset({"picture 5"}), frozenset({"picture 9"})
    return LocalDispatcher(job, broken=broken, not_finite=nothing)


@pytest.fixture
def folder(made: Job, tmp_path: Path) -> OutputFolder:
    copytree(made.output.path, tmp_path / "out")
    return OutputFolder(tmp_path / "out")


def rows_of(folder: OutputFolder) -> list[dict[str, Any]]:
    return [
        row
        for index in sorted(folder.records())
        for row in pq.ParquetFile(part_file(folder, index)).read().to_pylist()
    ]


def test_a_row_has_its_attempts_and_their_scores(folder: OutputFolder) -> None:
    assert problems(folder) == []
    rows = rows_of(folder)
    for row in rows:
        scores = row["rung_scores"]
        assert len(scores) == 5
        assert row["attempts"] == sum(score is not None for score in scores)
        if row["status"] == "ok":
            drawn = [score for score in scores[:3] if score is not None]
            assert row["student_score"] == max(drawn)
    assert {row["attempts"] for row in rows} >= {0, 1, 2, 3, 4}, "every length is there"
    assert rows[5]["status"] == "failed"
    assert rows[5]["rung_scores"] == [None] * 5
    (nothing,) = (
        row for row in rows if any(one is not None and isnan(one) for one in row["rung_scores"])
    )
    assert (nothing["id"], nothing["source"]) == ("id-9", "student")


def test_a_record_counts_the_rows_of_each_rung(folder: OutputFolder) -> None:
    rows = rows_of(folder)
    counted = [sum(row["rung_scores"][rung] is not None for row in rows) for rung in range(5)]
    records = folder.records().values()
    assert [sum(record[RUNGS][rung] for record in records) for rung in range(5)] == counted
    nfe = [4, 5, 6, 6, 7]
    spent = sum(n * each for n, each in zip(counted, nfe, strict=True))
    assert sum(record["nfe"] for record in records) == spent


def test_the_pages_say_the_ladder_and_how_often_each_attempt_was_made(folder: OutputFolder) -> None:
    for page in (card(folder), report(folder)):
        assert "draw up to 3 times until quantile 0.5" in page
        assert "attempt 1 on 23" in page
    line = describe_calibration(folder.require_job()["calibration"], 24)
    assert "try 62.5% of 8 sampled rows again" in line


def scored(row: int, rung: int, score: float | None) -> Callable[[list[Any]], None]:
    def change(values: list[Any]) -> None:
        values[row][rung] = score

    return change


def test_a_row_against_its_ladder_is_found(made: Job, folder: OutputFolder, tmp_path: Path) -> None:
    rows = rows_of(folder)
    accepted = next(n for n, row in enumerate(rows) if row["attempts"] == 1)
    again = next(n for n, row in enumerate(rows) if row["rung_scores"][1] is not None)
    refined = next(n for n, row in enumerate(rows) if row["source"] == "teacher")

    def found(row: int, name: str, change: Callable[[list[Any]], None]) -> str:
        fresh = tmp_path / str(len(list(tmp_path.iterdir())))
        copytree(made.output.path, fresh)
        output = OutputFolder(fresh)
        rewrite(output, row // 4, lambda table: with_values(table, name, change))
        return "\n".join(problems(output))

    def put(row: int, value: Any) -> Callable[[list[Any]], None]:
        return lambda values: values.__setitem__(row % 4, value)

    assert "do not follow from the ladder's thresholds" in found(
        accepted, "rung_scores", scored(accepted % 4, 0, 0.0)
    )
    assert "do not follow from the ladder's thresholds" in found(
        again, "rung_scores", scored(again % 4, 1, None)
    )
    assert "its attempts are 3, and it has 1 scores" in found(
        accepted, "attempts", put(accepted, 3)
    )
    assert "which do not follow from its rung_scores" in found(
        refined, "source", put(refined, "student")
    )
    assert "which do not follow from its rung_scores" in found(
        accepted, "student_score", put(accepted, 0.123)
    )
    assert "with the same attempts, is" in found(accepted, "nfe", put(accepted, 9))
    assert "the ladder has 5 rungs" in found(accepted, "rung_scores", put(accepted, [0.9]))


def test_a_record_that_counts_other_attempts_is_found(folder: OutputFolder) -> None:
    counts = folder.records()[1][RUNGS]
    rewrite_record(folder, 1, rungs=[counts[0] - 1, *counts[1:]])
    (found,) = problems(folder)
    assert "for rungs, and its record says" in found


def test_thresholds_that_the_ladder_does_not_make_are_refused(made: Job) -> None:
    written = made.output.require_job()
    assert len(written["calibration"]["thresholds"]) == 4
    file = Path(made.output.path) / "job.json"
    before = file.read_text()
    changed = json.loads(before)
    changed["calibration"]["thresholds"][2] = "0.123"
    try:
        file.write_text(json.dumps(changed))
        assert any("its ladder and its scores make" in what for what in problems(made.output))
        with pytest.raises(OutputError, match="its ladder and its scores make"):
            run(made, dispatcher(made))
    finally:
        file.write_text(before)


def test_another_ladder_is_another_job(made: Job) -> None:
    other = local_job(Path(made.spec.input), Path(made.output.path), ladder=LADDER[:2], **MORE)
    with pytest.raises(OutputError, match="holds another job"):
        run(other)


def test_a_resumed_and_a_retried_ladder_end_with_the_same_bytes(made: Job, tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 24)
    whole = local_job(source, tmp_path / "whole", ladder=LADDER, **MORE)
    run(whole, LocalDispatcher(whole, not_finite=frozenset({"picture 9"})))
    part = local_job(source, tmp_path / "part", ladder=LADDER, **MORE)
    run(part, dispatcher(part))
    for index in (0, 3):
        part.output.storage.delete([part.output.record_name(index)])
    run(part, dispatcher(part))
    retry(part, LocalDispatcher(part, not_finite=frozenset({"picture 9"})))
    assert bytes_of(part) == bytes_of(whole)
    assert problems(part.output) == []


def test_a_ladder_draws_with_the_noise_of_a_job_that_draws_all_at_once(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 8)
    ladder = local_job(source, tmp_path / "a", ladder=[{"draw": 3, "until": 1.0}])
    short = local_job(source, tmp_path / "b", draws=3)
    for job in (ladder, short):
        drawings = [plan for plan in job.plans if isinstance(plan, DrawPlan)]
        numbers = [plan.first + n for plan in drawings for n in range(plan.draws)]
        assert numbers == [0, 1, 2]
    refined = local_job(source, tmp_path / "c", ladder=LADDER).refinements
    assert [refinement.attempt for refinement in refined] == [0, 1]


def test_the_pages_do_not_call_everything_refined(folder: OutputFolder) -> None:
    """The teacher may have drawn anew, and more than once, and the student has drawn again."""
    for page in (card(folder), report(folder)):
        assert "up a ladder of attempts" in page
        assert "improved by a teacher" not in page
        assert "refined by the teacher" not in page
        assert "as the refinement failed" not in page
    assert "that the teacher tried" in report(folder)

"""Scores that decide nothing: their columns and flags, and what `verify` and the pages say."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import OutputError, SpecError
from jobs.execution.kept_sample import keep_sample, kept_sample
from jobs.execution.stages import Stage, Step
from jobs.output.columns import check_names
from jobs.output.folder import OutputFolder
from jobs.output.pages.contact_sheet import make_sheet
from jobs.output.pages.dataset_card import card
from jobs.output.pages.report import report
from jobs.output.score_columns import ScoreColumn, score_columns
from jobs.resolution import Job
from jobs.spec.job_spec import make_spec
from tests.outputs import record_file
from tests.unit.jobs.local import (
    FIELDS,
    LocalDispatcher,
    bytes_of,
    extra_score,
    local_job,
    retry,
    run,
    write_prompts,
)
from tests.unit.jobs.output.test_verify import problems, rewrite, rewrite_record, with_values

EXTRAS: dict[str, Any] = {
    "extra_scores": [
        {"column": "liked", "kind": "aesthetic", "path": "models/liked"},
        {"column": "nothing", "kind": "mine:Nothing"},
    ],
    "filters": [{"column": "nsfw", "kind": "classifier", "path": "n", "label": "x", "above": 0.5}],
}
COLUMNS = ["liked", "nothing", "nsfw", "nsfw_flagged"]
FAILING = frozenset({"picture 5"})


def job_with(folder: Path, extras: dict[str, Any], **fields: Any) -> Job:
    source = write_prompts(folder / "p.csv", 10)
    models = {**FIELDS["models"], "oracle": extras}
    return local_job(source, folder / "out", models=models, max_failed=0.5, **fields)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """10 rows in parts of 4, 4 and 2; row 5 failed."""
    job = job_with(tmp_path_factory.mktemp("scored"), EXTRAS)
    run(job, LocalDispatcher(job, broken=FAILING))
    return job


@pytest.fixture
def folder(whole: Job, tmp_path: Path) -> OutputFolder:
    copytree(whole.output.path, tmp_path / "out")
    return OutputFolder(tmp_path / "out")


def table_of(folder: OutputFolder) -> pa.Table:
    files = sorted((folder.path / "data").rglob("*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files])


def test_each_row_has_the_scores_of_the_picture_that_it_ends_with(whole: Job) -> None:
    table = table_of(whole.output)
    names = table.column_names
    assert names[names.index("teacher_score") + 1 : names.index("source")] == COLUMNS
    sources = set()
    for row in table.to_pylist():
        if row["status"] == "failed":
            assert [row[name] for name in COLUMNS] == [None] * 4
            continue
        sources.add(row["source"])
        by_teacher = row["source"] == "teacher"
        step = Step(Stage.SCORE_REFINED if by_teacher else Stage.SCORE_DRAWN)
        wanted = {name: extra_score(name, row["seed"], step) for name in ("liked", "nsfw")}
        assert {name: row[name] for name in wanted} == wanted
        assert row["nothing"] is None
        assert row["nsfw_flagged"] is (wanted["nsfw"] > 0.5)
    assert sources == {"student", "teacher"}


def test_they_change_nothing_else(whole: Job, tmp_path: Path) -> None:
    plain = job_with(tmp_path, {})
    run(plain, LocalDispatcher(plain, broken=FAILING))
    assert table_of(whole.output).drop_columns(COLUMNS).equals(table_of(plain.output))


def test_of_a_ladder_it_is_the_rung_whose_picture_the_row_has(tmp_path: Path) -> None:
    ladder = [{"draw": 2, "until": 0.9}, {"refine": {}, "below": 0.5, "keep": "best"}]
    job = job_with(tmp_path, EXTRAS, ladder=ladder)
    run(job)
    again = 0
    for row in table_of(job.output).to_pylist():
        drawn = [score for score in row["rung_scores"][:2] if score is not None]
        attempt = drawn.index(max(drawn))
        stage = Stage.SCORE_DRAWN if row["source"] == "student" else Stage.SCORE_REFINED
        step = Step(stage, attempt if row["source"] == "student" else 0)
        assert row["liked"] == extra_score("liked", row["seed"], step)
        again += step == Step(Stage.SCORE_DRAWN, 1)
    assert again, "no row ended with its second drawing, and the test shows nothing"
    assert problems(job.output) == []


def test_a_retry_keeps_the_scores_of_the_rows_that_it_keeps(whole: Job, tmp_path: Path) -> None:
    fixed: dict[str, Any] = {"budget": {"threshold": 0.5}}
    job = job_with(tmp_path, EXTRAS, **fixed)
    run(job, LocalDispatcher(job, broken=FAILING))
    retry(job)
    unbroken = tmp_path / "unbroken"
    unbroken.mkdir()
    other = job_with(unbroken, EXTRAS, **fixed)
    run(other)
    assert bytes_of(job) == bytes_of(other)
    assert problems(job.output) == []


def test_verify_finds_wrong_flags_scores_and_counts(folder: OutputFolder) -> None:
    assert problems(folder) == []
    recorded = json.loads(record_file(folder, 1).read_text())["flagged"]
    flags = table_of(folder).slice(4, 4).column("nsfw_flagged").to_pylist()
    assert recorded == {"nsfw": flags.count(True)}

    rewrite_record(folder, 1, flagged={"nsfw": 4})
    (found,) = problems(folder)
    assert "for flagged, and its record says {'nsfw': 4}" in found
    rewrite_record(folder, 1, flagged=recorded)

    def other_flag(values: list[Any]) -> None:
        values[0] = not values[0]

    rewrite(folder, 1, lambda table: with_values(table, "nsfw_flagged", other_flag))
    assert any("row 4 (id 4)" in one or "row 4: its nsfw_flagged is" in one
               for one in problems(folder))  # fmt: skip

    def a_number(values: list[Any]) -> None:
        values[1] = 0.25

    rewrite(folder, 1, lambda table: with_values(table, "nsfw_flagged", other_flag))
    rewrite(folder, 1, lambda table: with_values(table, "liked", a_number))
    (found,) = problems(folder)
    assert "row 5: its liked is 0.25, and should be null" in found
    rewrite(folder, 1, lambda table: table.drop_columns(["liked"]))
    (found,) = problems(folder)
    assert "it has no column 'liked'" in found


def test_card_report_and_sheet_name_them(folder: OutputFolder) -> None:
    flagged = table_of(folder).column("nsfw_flagged").to_pylist().count(True)
    line = f"nsfw by classifier n, flagged above 0.5: {flagged} of 10 rows"
    assert line in card(folder)
    assert "- liked by aesthetic models/liked" in card(folder)
    assert line in report(folder)
    make_sheet(folder, folder.path / "sheet.png")


def test_a_flag_is_that_of_the_number_in_the_column() -> None:
    """0.1 as a float32 is above 0.1: whoever reads the column finds what the flag says."""
    column = ScoreColumn("s", above=0.1)
    assert column.values(0.1) == {"s": float(np.float32(0.1)), "s_flagged": True}
    assert ScoreColumn("s", below=0.1).values(0.1)["s_flagged"] is False
    assert column.values(float("inf")) == {"s": None, "s_flagged": None}
    assert ScoreColumn("s", above=0.0).values(-0.5)["s_flagged"] is False


def test_another_extra_score_is_another_job(whole: Job, folder: OutputFolder) -> None:
    changed = {**EXTRAS, "filters": [{**EXTRAS["filters"][0], "above": 0.6}]}
    models = {**FIELDS["models"], "oracle": changed}
    job = local_job(Path(whole.spec.input), folder.path, models=models, max_failed=0.5)
    with pytest.raises(OutputError, match=r"models.oracle.filters: was .*0\.5.*is .*0\.6"):
        run(job)


def test_the_sample_of_a_calibration_is_the_same_with_and_without(tmp_path: Path) -> None:
    plain = job_with(tmp_path, {})
    keep_sample(plain, [0.25, 0.5])
    assert kept_sample(job_with(tmp_path, EXTRAS)) == (0.25, 0.5)


@pytest.mark.parametrize("taken", ["image", "Seed", "rung_scores", "student_image"])
def test_a_column_of_ours_is_refused(taken: str) -> None:
    with pytest.raises(OutputError, match=f"an extra score has the column '{taken}'"):
        check_names(["prompt"], None, scores=[ScoreColumn(taken)])


def test_a_column_of_the_input_is_refused() -> None:
    with pytest.raises(OutputError, match="the input has a column 'nsfw_flagged', and so will"):
        check_names(["prompt", "nsfw_flagged"], None, scores=[ScoreColumn("nsfw", above=0.5)])


@pytest.mark.parametrize(
    ("extras", "said"),
    [
        ({"extra_scores": [{"kind": "mine:One"}]}, "extra_scores.0.column: this field is required"),
        ({"extra_scores": [{"column": "a b", "kind": "m:O"}]}, "should match pattern"),
        ({"extra_scores": [{"column": "a"}]}, "kind 'blip-itm' needs a path"),
        ({"extra_scores": [{"column": "a", "kind": "ensemble"}]}, "an extra score is no ensemble"),
        ({"filters": [{"column": "a", "kind": "m:O"}]}, "exactly one of above and below"),
        (
            {"filters": [{"column": "a", "kind": "m:O", "above": 1, "below": 0}]},
            "exactly one of above and below",
        ),
        (
            {
                "extra_scores": [{"column": "a_flagged", "kind": "m:O"}],
                "filters": [{"column": "a", "kind": "m:O", "above": 1}],
            },
            "two of extra_scores and filters have the column 'a_flagged'",
        ),
        (
            {"extra_scores": [{"column": "a", "kind": "classifier", "path": "p"}]},
            "kind: classifier and label go together",
        ),
        (
            {"extra_scores": [{"column": "a", "kind": "clip-score", "path": "p", "label": "x"}]},
            "kind: classifier and label go together",
        ),
        (
            {"extra_scores": [{"column": "a", "kind": "m:O", "options": {"token": "abc"}}]},
            "a job file is no place for secrets",
        ),
        ({"extra_score": []}, "Did you mean 'extra_scores'?"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(extras: dict[str, Any], said: str) -> None:
    models = {**FIELDS["models"], "oracle": extras}
    with pytest.raises(SpecError) as refused:
        make_spec({"input": "p.csv", "output": "out", "models": models})
    assert said in str(refused.value)


def test_an_extra_score_at_the_top_is_sent_to_its_place() -> None:
    with pytest.raises(SpecError, match=r"Did you mean 'models\.oracle\.extra_scores'"):
        make_spec({"input": "p", "output": "o", "models": "shapes", "extra_scores": []})


def test_stand_ins_have_extra_scores_too() -> None:
    spec = make_spec({"input": "p", "output": "o", "models": {"preset": "timed", "oracle": EXTRAS}})
    (liked, _, nsfw) = score_columns(spec.models.oracle)
    assert str(liked) == "liked by stand-in"
    assert str(nsfw) == "nsfw by stand-in, flagged above 0.5"

"""A job whose calibration finds its ladder: the dataset, job.json, and every way to go on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from actors.errors import JobError, OutputError
from jobs.execution.calls import Call
from jobs.execution.observers import CallEnded
from jobs.execution.run import run_job
from jobs.execution.stages import STAGES, Stage
from jobs.held_job import differing_fields
from jobs.output.verify import verify
from jobs.resolution import Job
from jobs.spec.job_spec import make_spec
from tests.unit.jobs.local import (
    FIELDS,
    LocalDispatcher,
    bytes_of,
    local_job,
    retry,
    run,
    write_prompts,
)

ROWS = 40
SEARCH: dict[str, Any] = {"ladder": "search", "budget": {"nfe": 6}, "calibration_rows": ROWS}


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_prompts(tmp_path / "p.csv", ROWS)


def ladder_in(job: Job) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = job.output.require_job()["spec"]["ladder"]
    return found


def test_the_ladder_is_found_written_down_and_run(
    prompts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bottega")
    job = local_job(prompts, tmp_path / "out", **SEARCH)
    run(job)
    assert any(
        line.startswith("ladder: draw") and "the best by 20 sampled rows within 6 network" in line
        for line in caplog.messages
    )
    assert list(verify(job.output)) == []
    written = job.output.require_job()
    assert "budget" not in written["spec"]
    assert "search" not in written["spec"]
    search = written["search"]
    assert (search["chosen_by_rows"], search["judged_by_rows"]) == (20, 20)
    assert search["asked"]["budget"] == {"nfe": 6.0}
    assert search["gain"]["low"] <= search["gain"]["mean"] <= search["gain"]["high"]

    spelled = {**SEARCH, "ladder": ladder_in(job)}
    del spelled["budget"]
    same = local_job(prompts, tmp_path / "same", **spelled)
    run(same)
    assert bytes_of(same) == bytes_of(job)
    assert same.output.require_job()["identity"] == written["identity"]


def test_the_same_question_goes_on_with_the_answer_and_another_is_refused(
    prompts: Path, tmp_path: Path
) -> None:
    job = local_job(prompts, tmp_path / "out", **SEARCH)
    run(job)
    again = local_job(prompts, tmp_path / "out", **SEARCH)
    assert again.asked is None
    assert [rung.model_dump(mode="json") for rung in again.spec.ladder or ()] == ladder_in(job)
    assert run(again).resumed_rows == ROWS
    with pytest.raises(OutputError, match=r"holds another job(.|\n)*budget.nfe: was 6.0, is 7.0"):
        local_job(prompts, tmp_path / "out", **{**SEARCH, "budget": {"nfe": 7}})


def test_a_part_that_is_gone_is_made_again_by_the_same_ladder(
    prompts: Path, tmp_path: Path
) -> None:
    job = local_job(prompts, tmp_path / "out", **SEARCH)
    run(job)
    before = bytes_of(job)
    (record,) = (tmp_path / "out" / "records").rglob("part-00000003.json")
    record.unlink()
    (part,) = (tmp_path / "out" / "data").rglob("part-00000003.parquet")
    part.unlink()
    for packed in (tmp_path / "out").glob("records*.json"):
        packed.unlink()
    run(local_job(prompts, tmp_path / "out", **SEARCH))
    assert bytes_of(job) == before


def test_failed_rows_are_drawn_again_by_the_ladder_that_was_found(
    prompts: Path, tmp_path: Path
) -> None:
    fields = {**SEARCH, "max_failed": 1.0}
    job = local_job(prompts, tmp_path / "out", **fields)
    end = run_job(
        job,
        lambda job: LocalDispatcher(job, broken=frozenset({"picture 5"})),  # type: ignore[arg-type,return-value]
    )
    assert end.failed_rows == 1
    assert job.output.require_job()["search"]["judged_by_rows"] == 19, (
        "it has no scores to choose by"
    )
    assert retry(local_job(prompts, tmp_path / "out", **fields)).failed_rows == 0
    assert list(verify(job.output)) == []


def test_an_input_that_grew_keeps_the_ladder_and_what_was_said_of_it(
    prompts: Path, tmp_path: Path
) -> None:
    job = local_job(prompts, tmp_path / "out", **SEARCH)
    run(job)
    ladder, search = ladder_in(job), job.output.require_job()["search"]
    write_prompts(prompts, ROWS + 6)
    grown = local_job(prompts, tmp_path / "out", **SEARCH)
    assert run(grown, extend=True).done_rows == ROWS + 6
    assert ladder_in(grown) == ladder
    assert grown.output.require_job()["search"] == search
    assert list(verify(grown.output)) == []


def test_an_input_without_rows_leaves_the_search_for_the_rows_that_come(
    prompts: Path, tmp_path: Path
) -> None:
    rows = prompts.read_text()
    prompts.write_text(rows.splitlines()[0] + "\n")
    run(local_job(prompts, tmp_path / "out", **SEARCH))
    prompts.write_text(rows)
    job = local_job(prompts, tmp_path / "out", **SEARCH)
    assert job.asked is not None
    assert run(job, extend=True).done_rows == ROWS
    assert "gain" in job.output.require_job()["search"]
    assert list(verify(job.output)) == []


def test_a_pool_that_begins_for_the_search_ends_before_the_run_begins(
    prompts: Path, tmp_path: Path
) -> None:
    events: list[str] = []

    class Noting(LocalDispatcher):
        def __enter__(self) -> Noting:
            events.append(f"{len(self.job.spec.attempts)} attempts")
            return self

        def __exit__(self, *_: object) -> None:
            events.append("end")

    job = local_job(prompts, tmp_path / "out", **SEARCH)
    run_job(job, Noting)  # type: ignore[arg-type]
    found = local_job(prompts, tmp_path / "out", **SEARCH)
    assert events == [
        *(f"{len(job.spec.attempts)} attempts", "end"),
        *(f"{len(found.spec.attempts)} attempts", "end"),
    ]


def test_what_is_submitted_again_is_the_same_job(prompts: Path, tmp_path: Path) -> None:
    """A submit compares fields before anybody looks at models."""
    out = tmp_path / "out"
    run(local_job(prompts, out, **SEARCH))
    usual = {name: one for name, one in FIELDS.items() if name not in SEARCH}
    fields = {**usual, "input": str(prompts), "output": str(out), **SEARCH}
    assert differing_fields(make_spec(fields), str(out)) == []
    other = make_spec({**fields, "budget": {"nfe": 9}})
    assert differing_fields(other, str(out)) == ["budget.nfe: was 6.0, is 9.0"]
    fixed = {**fields, "budget": {"nfe": 6}}
    del fixed["ladder"]
    assert differing_fields(make_spec(fixed), str(out)), "a budget without a search is another job"


EXTRA = {"kind": "classifier", "path": "somewhere", "label": "nice", "column": "nice"}
JUDGED = {**FIELDS["models"], "oracle": {"extra_scores": [EXTRA]}}


def test_a_judge_chooses_by_its_own_score(prompts: Path, tmp_path: Path) -> None:
    fields = {**SEARCH, "models": JUDGED, "search": {"judge": "nice"}, "budget": {"nfe": 30}}
    judged = local_job(prompts, tmp_path / "judged", **fields)
    run(judged)
    table = ds.dataset(str(judged.output.path / "data")).to_table(columns=["nice"])
    nice = table.column("nice").to_pylist()
    search = judged.output.require_job()["search"]
    assert search["asked"]["judge"] == "nice"
    # What the dataset has lies about where the half that did not choose it put it.
    assert search["merit"]["low"] - 0.1 < sum(nice) / len(nice) < search["merit"]["high"] + 0.1
    assert 0 < search["merit"]["mean"] < 1, "the scores of this oracle reach 1.25"


class Timed(LocalDispatcher):
    """Each call takes seconds by its stage: a row of the teacher's second way twice the first's."""

    seconds = {"student": 1.0, "oracle": 0.25, "teacher": 4.0}  # noqa: RUF012

    def _do(self, owner: Any, call: Call) -> Any:
        done = super()._do(owner, call)
        pool = STAGES[call.stage].pool
        if pool in self.seconds:
            times = 1 + call.attempt if call.stage is Stage.REFINE else 1
            size = self.job.spec.models.student.batch_size if pool != "oracle" else 16
            seconds = self.seconds[pool] * times * size
            rows = size if pool != "oracle" else len(call.rows)
            self.observers.notify(CallEnded(pool, 0, owner.part.index, call, rows, seconds, 0.0))
        return done


def test_a_budget_in_seconds_counts_what_the_calls_took(prompts: Path, tmp_path: Path) -> None:
    fields = {**SEARCH, "budget": {"gpu_seconds": 2.5}}
    job = local_job(prompts, tmp_path / "out", **fields)
    run(job, Timed(job))
    search = job.output.require_job()["search"]
    assert search["unit"] == "gpu_seconds"
    assert 1.25 <= search["cost"]["mean"] < 4, "a drawing and its score take 1.25"
    assert list(verify(job.output)) == []


def test_a_budget_in_seconds_below_a_drawing_is_a_sentence(prompts: Path, tmp_path: Path) -> None:
    job = local_job(prompts, tmp_path / "out", **{**SEARCH, "budget": {"gpu_seconds": 1.0}})
    with pytest.raises(JobError, match=r"a single drawing and its score take 1\.25 here"):
        run(job, Timed(job))
    assert job.output.read_job() is None


def test_seconds_that_nobody_could_measure_are_a_sentence(prompts: Path, tmp_path: Path) -> None:
    job = local_job(prompts, tmp_path / "out", **{**SEARCH, "budget": {"gpu_seconds": 1.0}})
    with pytest.raises(JobError, match="no call of the student could be timed"):
        run(job)

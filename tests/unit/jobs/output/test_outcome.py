"""The lines at the end of a run: what came of it, and the next step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.views.summary import closing_lines
from jobs.execution.progress import Progress
from jobs.output.dataset import open_output
from jobs.output.outcome import describe_outcome
from jobs.output.pages.totals import totals_of
from jobs.output.records import checked_record
from tests.unit.jobs.local import local_job, run, write_prompts


def test_the_outcome_has_evaluations_gain_seconds_and_cut_prompts(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out")
    run(job)
    rows = list(open_output(job.output.url).rows(["student_score", "teacher_score", "nfe"]))
    gains = [
        row["teacher_score"] - row["student_score"]
        for row in rows
        if row["teacher_score"] is not None
    ]
    records = job.output.records()
    assert sum(record["gain"] for record in records.values()) == pytest.approx(sum(gains), abs=1e-4)
    line = open_output(job.output.url).outcome_line()
    nfe = sum(row["nfe"] for row in rows) / 10
    assert line.startswith(f"{nfe:.2f} network evaluations a picture, where the teacher alone")
    assert f"{sum(gains) / len(gains):+.3g} on average" in line
    assert "GPU-seconds (or actor-seconds, on cores) in all" in line
    some = [{**record, "truncated": {"oracle": 2}} for record in records.values()]
    assert f"{2 * len(some)} prompts longer than the oracle reads" in describe_outcome(
        job.output.require_job(), some
    )


def test_every_page_has_the_same_mean_where_rows_failed() -> None:
    record = {"rows": 4, "failed": 1, "nfe": 66}
    totals = totals_of([record])
    assert (totals.pictures, totals.mean_nfe) == (3, 22.0)
    assert totals_of([{"rows": 2, "failed": 2, "nfe": 4}]).mean_nfe == 0.0


def test_a_record_of_an_older_version_has_no_gain(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out")
    run(job)
    older = [
        {k: v for k, v in record.items() if k != "gain"} for record in job.output.records().values()
    ]
    assert "changed a score" not in describe_outcome(job.output.require_job(), older)
    checked_record(older[0], "part-00000000.json")
    with pytest.raises(ValueError, match="its 'gain' is 'much'"):
        checked_record({**older[0], "gain": "much"}, "part-00000000.json")


def ended(failed: int) -> Progress:
    return Progress(
        num_rows=10, done_rows=10, resumed_rows=4, failed_rows=failed, judged_rows=6,
        rejected_rows=3, refined_rows=3, parts_done=3, num_parts=3, elapsed_seconds=12.0,
    )  # fmt: skip


def test_the_last_lines_count_failed_rows_and_say_what_is_next() -> None:
    assert list(closing_lines(ended(0), "out/mine")) == [
        "done: 10 rows in out/mine (6 in this run, 3 of them refined by the teacher; 0 failed), "
        "12 s",
        "next: `bottega sheet out/mine` shows some of it, `bottega verify out/mine` checks it",
    ]
    climbed, _ = closing_lines(replace(ended(0), rungs=(6, 4, 0)), "out/mine")
    tries = "attempt 1 on 6, attempt 2 on 4 and attempt 3 on 0 of all rows"
    assert f"(6 in this run, with {tries}; 0 failed)" in climbed
    done, following = closing_lines(ended(2), "out/my own")
    assert "2 failed (column `error` says why)" in done
    assert following == "next: `bottega retry 'out/my own'` draws the failed rows again"

"""The dataset card: README.md of a finished dataset, for people and for the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.output.folder import OutputFolder
from jobs.output.pages.markdown import code, plain
from jobs.output.pages.totals import totals_of
from jobs.output.records import describe_calibration
from jobs.output.score_columns import describe_scores, score_columns
from jobs.output.spending import describe_spending
from jobs.spec.job_spec import JobSpec
from jobs.spec.ladder import describe
from jobs.spec.task import conditioning_of


def card(folder: OutputFolder, records: Mapping[int, Mapping[str, Any]] | None = None) -> str:
    """README.md of the output folder. The head is what the hub and `datasets` read.

    records: the parts' records, where they have been read already.
    """
    job, spec = folder.require_job(), folder.read_spec()
    records = records or folder.records()
    totals = totals_of(records.values())
    counts = {
        "rows": totals.rows,
        "pictures by the student": totals.from_student,
        "pictures by the teacher": totals.from_teacher,
        "rows that failed": totals.failed,
    }
    if totals.kept_after_failed_refinement:
        made_none = totals.kept_after_failed_refinement
        counts["the student's, as the teacher made no picture"] = made_none
    how = job["refinement"]
    lines = [f"| {name} | {count:,} |" for name, count in counts.items()]
    models = [f"- {role}: {code(path)}" for role, path in job["models"].items()]
    return "\n".join(
        [
            "---",
            "configs:",
            "- config_name: default",
            "  data_files: data/**/*.parquet",
            "---",
            f"# {plain(spec.name)}",
            "",
            *_introduction(spec),
            "",
            "| | |",
            "|---|---|",
            *lines,
            f"| mean network evaluations a picture | {totals.mean_nfe:.2f} |",
            "",
            f"Task: {_task(spec)}.",
            _attempts(spec, how),
            f"Threshold: {describe_calibration(job['calibration'], job['rows'])}.",
            f"Spent: {describe_spending(job, records.values())}.",
            "",
            "Models:",
            "",
            *models,
            *_extra_scores(spec, list(records.values()), totals.rows),
            "",
        ]
    )


def _introduction(spec: JobSpec) -> list[str]:
    if spec.ladder is not None:
        return [
            "Pictures drawn by a student diffusion model and judged by an oracle; below a",
            "threshold, tried again up a ladder of attempts, with Bottega (arXiv 2312.10835).",
        ]
    return [
        "Pictures drawn by a student diffusion model, judged by an oracle, and, below a",
        "threshold, improved by a teacher, with Bottega (the method of arXiv 2312.10835).",
    ]


def _extra_scores(spec: JobSpec, records: list[Mapping[str, Any]], rows: int) -> list[str]:
    lines = describe_scores(score_columns(spec.models.oracle), records, rows)
    head = ["", "Further columns of scores, which decided nothing:", ""] if lines else []
    return [*head, *(f"- {plain(line)}" for line in lines)]


def _attempts(spec: JobSpec, how: dict[str, Any]) -> str:
    if spec.ladder is not None:
        return f"Ladder of attempts: {describe(spec.ladder)}."
    return f"Teacher: {how['strategy']}, strength {how['strength']:.3g}, {how['steps']} steps."


def _task(spec: JobSpec) -> str:
    """The task in a few words."""
    conditioning = conditioning_of(spec.task, spec.edit, spec.control, spec.image_fit)
    task = {
        "generate": "pictures from prompts",
        "edit": f"edits of the pictures in {code(spec.image_column or '')}",
        "control": f"pictures led by those in {code(spec.image_column or '')}, by a ControlNet",
    }[spec.task]
    if conditioning and conditioning.canny:
        low, high = conditioning.canny
        task += f" that is shown their edges (Canny, {low} and {high})"
    return task + (f"; the best of {spec.draws} drawings" if spec.draws > 1 else "")

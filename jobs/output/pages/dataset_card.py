"""The dataset card: what a finished dataset is, for people and for the Hugging Face hub."""

from __future__ import annotations

from jobs.output.records import describe_calibration
from jobs.resolve import Job


def card(job: Job) -> str:
    """README.md of the output folder. The head is what the hub and `datasets` read."""
    written = job.output.read_job() or {}
    records = job.output.records().values()
    rows = sum(record["rows"] for record in records)
    counts = {
        "rows": rows,
        "pictures by the student": sum(record["from_student"] for record in records),
        "pictures by the teacher": sum(record["from_teacher"] for record in records),
        "rows that failed": sum(record["failed"] for record in records),
    }
    mean = sum(record["nfe"] for record in records) / max(1, rows)
    how = job.refinement
    lines = [f"| {name} | {count:,} |" for name, count in counts.items()]
    models = [f"- {role}: `{path}`" for role, path in written.get("models", {}).items()]
    return "\n".join(
        [
            "---",
            "configs:",
            "- config_name: default",
            "  data_files: data/*.parquet",
            "---",
            f"# {job.spec.name}",
            "",
            "Pictures drawn by a student diffusion model, judged by an oracle, and, below a",
            "threshold, improved by a teacher, with Bottega (the method of arXiv 2312.10835).",
            "",
            "| | |",
            "|---|---|",
            *lines,
            f"| mean network evaluations a picture | {mean:.2f} |",
            "",
            f"Task: {_task(job)}.",
            f"Teacher: {how.strategy}, strength {how.strength:.3g}, {how.steps} steps.",
            f"Threshold: {describe_calibration(written['calibration'])}."
            if "calibration" in written
            else "",
            "",
            "Models:",
            "",
            *models,
            "",
        ]
    )


def _task(job: Job) -> str:
    """What was made of a row, in a few words."""
    spec, given = job.spec, job.draw_plan.given
    told = {
        "generate": "pictures from prompts",
        "edit": f"edits of the pictures in `{spec.image_column}`",
        "control": f"pictures led by those in `{spec.image_column}`, by a ControlNet",
    }[spec.task]
    if given and given.canny:
        told += f" that is shown their edges (Canny, {given.canny[0]} and {given.canny[1]})"
    return told + (f"; the best of {spec.draws} drawings" if spec.draws > 1 else "")

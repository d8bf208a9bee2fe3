"""report.html: a finished dataset on one page that needs no other file.

The page has no script, loads nothing, and escapes everything from the input. It depends on
job.json, the records and the parts alone, so the same dataset has the same page.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from math import isfinite
from typing import Any

import numpy as np
import pyarrow.compute as pc
from jinja2 import Environment, PackageLoader
from numpy.typing import NDArray

from actors.picture_files import open_picture
from jobs.output.columns import ROW_GROUP_ROWS
from jobs.output.folder import OutputFolder
from jobs.output.pages.totals import totals_of, truncated_of
from jobs.output.part_file import open_part
from jobs.output.records import attempts_of, describe_calibration
from jobs.output.score_columns import describe_scores, score_columns
from jobs.output.spending import describe_spending
from jobs.spec.job_spec import JobSpec
from jobs.spec.ladder import describe

MOST_ROWS = 1_000_000
"""Of a larger dataset the page reads parts spread evenly over it, up to this many rows. Chosen: a
histogram of a million scores is exact to the eye, and they take 8 MB."""

MOST_PAIRS = 6
"""Chosen: six pairs of PICTURE_PIXELS keep the page near 2 MB."""
PICTURE_PIXELS = 256
BINS = 40
"""Chosen: 15 pixels a bar on the page."""

_TEMPLATES = Environment(
    loader=PackageLoader("jobs.output.pages"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars as the page draws them: each has x, width and height in 0..100, and its rows."""

    low: float
    high: float
    bars: list[tuple[float, float, float, int]]
    mark: float | None
    """The place of the marked value, in 0..100; None outside of the bars."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A refined row, its pictures as data URLs; None for a student's that was not kept."""

    prompt: str
    before: str | None
    after: str
    student_score: float
    teacher_score: float


@dataclass(slots=True)
class _Scores:
    """The scores in the parts, and a few pairs. Arrays: (rows read,) float32, NaN for no score."""

    student: list[NDArray[np.float32]] = field(default_factory=list)
    teacher: list[NDArray[np.float32]] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    rows: int = 0


def report(folder: OutputFolder, records: Mapping[int, Mapping[str, Any]] | None = None) -> str:
    """The page. Reads the scores of at most MOST_ROWS rows, and the pictures of a few.

    records: the parts' records, where they have been read already.
    """
    job, spec = folder.require_job(), folder.read_spec()
    records = records or folder.records()
    totals = totals_of(records.values())
    read = _scores(folder, spec, sorted(records))
    student = _joined(read.student)
    teacher = _joined(read.teacher)
    gains = (teacher - student)[~np.isnan(teacher - student)]
    threshold = float(job["threshold"])
    alone = spec.models.teacher.steps * spec.models.teacher.evaluations_per_step
    return _TEMPLATES.get_template("report.html").render(
        spec=spec,
        refinement=job["refinement"],
        ladder=describe(spec.ladder) if spec.ladder is not None else None,
        attempts=attempts_of(records.values()),
        models=job["models"],
        files=[file["name"] for file in job["identity"]["input_files"]],
        totals=totals,
        truncated=truncated_of(records.values()),
        extra_scores=describe_scores(
            score_columns(spec.models.oracle), list(records.values()), totals.rows
        ),
        threshold=describe_calibration(job["calibration"], job["rows"]),
        spending=describe_spending(job, records.values()),
        scores=histogram(student[~np.isnan(student)], threshold),
        gains=histogram(gains, 0.0),
        better=int((gains > 0).sum()),
        num_gains=len(gains),
        mean_gain=float(gains.astype(np.float64).mean()) if len(gains) else None,
        pairs=read.pairs,
        rows_read=read.rows,
        alone=alone,
        spent=totals.mean_nfe,
    )


def histogram(values: NDArray[np.float32], mark: float) -> Histogram | None:
    """The histogram of values (n,) without NaN, in BINS bars; None for no values."""
    if not len(values):
        return None
    counts, edges = np.histogram(values.astype(np.float64), BINS)
    low, high = float(edges[0]), float(edges[-1])
    width, most = 100 / BINS, max(1, int(counts.max()))
    place = 100 * (mark - low) / (high - low) if isfinite(mark) else -1.0
    return Histogram(
        low,
        high,
        [(n * width, width, 100 * int(count) / most, int(count)) for n, count in enumerate(counts)],
        place if 0 <= place <= 100 else None,
    )


def _joined(arrays: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate(arrays) if arrays else np.empty(0, np.float32)


def _scores(folder: OutputFolder, spec: JobSpec, parts: list[int]) -> _Scores:
    read = _Scores()
    wanted = max(1, min(len(parts), MOST_ROWS // spec.part_rows))
    for place in range(wanted if parts else 0):
        index = parts[len(parts) * place // wanted]
        with open_part(folder, index) as parquet:
            table = parquet.read(columns=["student_score", "teacher_score"])
            read.rows += table.num_rows
            read.student.append(_floats(table, "student_score"))
            read.teacher.append(_floats(table, "teacher_score"))
        if len(read.pairs) < MOST_PAIRS:
            _collect_pairs(folder, index, spec.prompt_column, read.pairs)
    return read


def _floats(table: Any, column: str) -> NDArray[np.float32]:
    values: NDArray[np.float32] = table.column(column).to_numpy().astype(np.float32)
    return values


def _collect_pairs(folder: OutputFolder, index: int, prompt_column: str, pairs: list[Pair]) -> None:
    """The first refined rows whose picture is the teacher's."""
    with open_part(folder, index) as parquet:
        ours = ("source", "image", "student_image", "student_score", "teacher_score")
        columns = [name for name in (prompt_column, *ours) if name in parquet.schema_arrow.names]
        for batch in parquet.iter_batches(ROW_GROUP_ROWS, columns=columns):
            for row in batch.filter(pc.equal(batch.column("source"), "teacher")).to_pylist():
                if len(pairs) == MOST_PAIRS:
                    return
                before = row.get("student_image")
                pairs.append(
                    Pair(
                        row[prompt_column],
                        _as_url(before["bytes"]) if before else None,
                        _as_url(row["image"]["bytes"]),
                        row["student_score"],
                        row["teacher_score"],
                    )
                )


def _as_url(picture: bytes) -> str:
    """A small copy of a picture, as a data URL."""
    with open_picture(picture) as image:
        small = image.convert("RGB")
    small.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS))
    buffer = BytesIO()
    small.save(buffer, "PNG")
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"

"""What rows have of their own by columns of the input: the size of the picture, the guidance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import pyarrow as pa

from actors.refinement import RowOptions, Size
from jobs.spec.job_spec import JobSpec
from jobs.spec.part_size import check_groups
from jobs.spec.sizes import size_of

MOST_GUIDANCE = 1000.0
"""Chosen wide, so that only typing errors meet it."""


def options_of(
    spec: JobSpec, table: pa.Table, invalid_rows: dict[int, str]
) -> dict[str, list[RowOptions]]:
    """By role, the options of each row; empty where the job has no column of any.

    Adds rows whose values are none to `invalid_rows`, with the reason.
    """
    if spec.size_column is None and spec.guidance_scale_column is None:
        return {}
    rows = range(table.num_rows)
    canvases: list[Size | None] = [None for _ in rows]
    scales: list[float | None] = [None for _ in rows]
    if spec.size_column is not None:
        for row, value in enumerate(table.column(spec.size_column).to_pylist()):
            try:
                canvases[row] = size_of(value, spec.all_sizes)
            except ValueError as error:
                canvases[row] = spec.all_sizes[0]
                invalid_rows.setdefault(row, f"{spec.size_column}: {error}")
    if spec.guidance_scale_column is not None:
        for row, value in enumerate(table.column(spec.guidance_scale_column).to_pylist()):
            try:
                scales[row] = guidance_of(value)
            except ValueError as error:
                invalid_rows.setdefault(row, f"{spec.guidance_scale_column}: {error}")
    return {
        role: [
            RowOptions(canvas, scale if role in spec.guided_roles else None)
            for canvas, scale in zip(canvases, scales, strict=True)
        ]
        for role in ("student", "teacher")
    }


def check_options(spec: JobSpec, parts: Sequence[Mapping[str, Sequence[RowOptions]]]) -> None:
    """Refuse columns of so many values that batches are nearly empty. Raises SpecError.

    parts: the options of the rows of some parts (`Prompts.options_of_parts`).
    """
    if not parts or spec.limit is not None:
        return  # a pilot's rows lie far apart: they say nothing about the job's parts
    columns = " and ".join(name for name in (spec.size_column, spec.guidance_scale_column) if name)
    for role, batch in spec.batch_sizes.items():
        groups = [tuple(Counter(part[role]).values()) for part in parts]
        check_groups(groups, columns, role, batch)


def guidance_of(value: Any) -> float | None:
    """The guidance scale in a cell; None in an empty one. Raises ValueError for no such number.

    At 1 and below a network is evaluated once a step instead of twice: all rows cost the same.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        scale = float(value)
    except ValueError:
        scale = 0.0
    if not (isfinite(scale) and 1 < scale <= MOST_GUIDANCE):
        raise ValueError(
            f"{str(value)[:50]!r} is no guidance scale: give a number above 1, at most "
            f"{MOST_GUIDANCE:g}"
        )
    return scale

"""The sizes of a job's pictures: one, or buckets that a column of the input chooses from. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import inf, isfinite, log
from typing import Any

from actors.refinement import Size
from actors.settings import ModelSettings

MOST_SIDE = 16_384
"""Pixels. Chosen wide: far above what any model draws, so that only typing errors meet it."""


def parse_size(text: str) -> Size:
    """Width and height of a text such as 1024x768. Raises ValueError."""
    found = re.fullmatch(r"\s*(\d{1,6})\s*[x\u00d7]\s*(\d{1,6})\s*", text, re.IGNORECASE)
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(8 <= side <= MOST_SIDE for side in size):
        raise ValueError(
            f"{text!r} is no size: give width and height in pixels, 8 to {MOST_SIDE:,}, as 1024x768"
        )
    return size


def shown(size: Size) -> str:
    """A size as a job file has it."""
    return f"{size[0]}x{size[1]}"


def size_of(value: Any, sizes: Sequence[Size]) -> Size:
    """The size that a row's value chooses: a size is that one, an aspect ratio (1.5, 3:2) the one
    whose ratio of width to height is nearest, nothing is the first. Raises ValueError.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return sizes[0]
    ratio = _ratio(value)
    if ratio is not None:
        # By the logarithm: 2:1 and 1:2 are as far from a square. Of two the first.
        return min(sizes, key=lambda size: abs(log(size[0] / size[1]) - log(ratio)))
    if (size := parse_size(str(value))) not in sizes:
        there = ", ".join(map(shown, sizes))
        raise ValueError(f"{_short(value)} is none of the job's sizes: {there}")
    return size


def _ratio(value: Any) -> float | None:
    """The ratio of width to height that a value says; None where it says a size or nothing."""
    ratio = inf
    if isinstance(value, int | float) and not isinstance(value, bool):
        ratio = float(value)
    elif isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:[:/]\s*(\d+(?:\.\d+)?)\s*)?", value)
        if found is None:
            return None
        below = float(found[2] or 1)
        ratio = float(found[1]) / below if below else inf
    if not (isfinite(ratio) and 0.01 <= ratio <= 100):
        raise ValueError(
            f"{_short(value)} is no aspect ratio: give width over height, as 1.5 or 3:2"
        )
    return ratio


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:50]}..."


def check_sizes(sizes: Sequence[Size], has_column: bool, models: ModelSettings) -> None:
    """Refuse fields that contradict each other. Raises ValueError that begins with the field."""
    if twice := sorted({shown(size) for size in sizes if sizes.count(size) > 1}):
        raise ValueError(f"sizes: {twice[0]} is there twice")
    if has_column and not sizes:
        raise ValueError("size_column: it chooses among sizes; give these too")
    if len(sizes) > 1 and not has_column:
        raise ValueError(
            "sizes: which row has which? Name the column with sizes or aspect ratios as "
            "size_column, or give one size"
        )
    if not sizes:
        return
    for role, model in (("student", models.student), ("teacher", models.teacher)):
        for name, own, wanted in zip(
            ("width", "height"), (model.width, model.height), sizes[0], strict=True
        ):
            if own not in (None, wanted):
                raise ValueError(
                    f"models.{role}.{name}: {own}, and the job's size says {wanted}. Leave one out"
                )
        if model.compile and len(sizes) > 1:
            raise ValueError(
                f"models.{role}.compile: the network is compiled for one shape, and sizes has "
                f"{len(sizes)}. Leave one out"
            )


def of_size(models: ModelSettings, size: Size) -> ModelSettings:
    """The models, which draw in this size."""
    sides = {"width": size[0], "height": size[1]}
    return models.model_copy(
        update={
            "student": models.student.model_copy(update=sides),
            "teacher": models.teacher.model_copy(update=sides),
        }
    )

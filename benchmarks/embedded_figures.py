"""Statistics and the picture of the embedded set's evaluation: pure, no torch, no files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]


def wilson(right: Flags) -> tuple[float, float, float]:
    """A fraction with its 95 % interval (Wilson 1927)."""
    n, p, z = right.size, float(right.mean()), 1.959964
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return p, middle - half, middle + half


def bootstrap(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float, float]:
    """The mean of per-caption values with its 95 % interval, from 2,000 bootstrap samples.

    values: (captions,) or (seeds, captions): the seeds of a caption stay together, because their
    results are not independent.
    """
    per_caption = np.atleast_2d(values).mean(axis=0)
    rng = np.random.default_rng(seed)
    picks = rng.integers(per_caption.size, size=(2000, per_caption.size))
    means = per_caption[picks].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(per_caption.mean()), float(low), float(high)


def area_under_roc(scores: NDArray[np.float64], right: Flags) -> float:
    """The chance that a right picture scores above a wrong one; ties count half."""
    wrong = np.sort(scores[~right])
    below = np.searchsorted(wrong, scores[right], side="left")
    not_above = np.searchsorted(wrong, scores[right], side="right")
    return float(((below + not_above) / 2).mean() / wrong.size)


def bootstrap_area(
    scores: NDArray[np.float64], right: Flags, seed: int = 0
) -> tuple[float, float, float]:
    """The area under the ROC curve with its 95 % interval. Both (seeds, captions)."""
    rng = np.random.default_rng(seed)
    areas = []
    for _ in range(1000):
        columns = rng.integers(right.shape[1], size=right.shape[1])
        areas.append(area_under_roc(scores[:, columns].ravel(), right[:, columns].ravel()))
    low, high = np.quantile(areas, [0.025, 0.975])
    return area_under_roc(scores.ravel(), right.ravel()), float(low), float(high)


@dataclass(frozen=True)
class Point:
    """One point of a curve: mean network evaluations per picture, and the right fraction."""

    evaluations: float
    right: float
    low: float
    high: float
    note: str = ""


def mixture(
    rejected: Flags, student: Flags, teacher: Flags, student_cost: int, teacher_cost: int
) -> tuple[float, Flags]:
    """Mean evaluations and rightness when the rejected pictures are the teacher's."""
    cost = student_cost + teacher_cost * float(rejected.mean())
    return cost, np.where(rejected, teacher, student)


def svg(curves: dict[str, Sequence[Point]], title: str) -> str:
    """A line chart of rightness (percent) against mean evaluations, with 95 % intervals."""
    width, height, left, right, top, bottom = 760, 460, 60, 200, 40, 50
    points = [point for curve in curves.values() for point in curve]
    most = max(point.evaluations for point in points) * 1.03
    least_right = math.floor(min(point.low for point in points) * 10) / 10

    def x(evaluations: float) -> float:
        return left + (width - left - right) * math.log1p(evaluations) / math.log1p(most)

    def y(fraction: float) -> float:
        return top + (height - top - bottom) * (1 - fraction) / (1 - least_right)

    colors = ["#c0392b", "#1f4e9c", "#1e8449", "#8e44ad", "#7f8c8d", "#d68910", "#16a2b8"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="22" font-size="15">{title}</text>',
    ]
    for tick in np.arange(least_right, 1.001, 0.1):
        parts.append(
            f'<line x1="{left}" x2="{width - right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" '
            f'stroke="#ddd"/><text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">'
            f"{round(tick * 100)} %</text>"
        )
    for tick in (2, 4, 6, 8, 10, 15, 20, 30, 50):
        if tick <= most:
            parts.append(
                f'<text x="{x(tick):.1f}" y="{height - bottom + 18}" text-anchor="middle">'
                f"{tick}</text>"
            )
    parts.append(
        f'<text x="{(left + width - right) / 2}" y="{height - 10}" text-anchor="middle">'
        "mean network evaluations per picture (log scale)</text>"
    )
    for i, (name, curve) in enumerate(curves.items()):
        color = colors[i % len(colors)]
        path = " ".join(f"{x(p.evaluations):.1f},{y(p.right):.1f}" for p in curve)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        for p in curve:
            parts.append(
                f'<line x1="{x(p.evaluations):.1f}" x2="{x(p.evaluations):.1f}" '
                f'y1="{y(p.low):.1f}" y2="{y(p.high):.1f}" stroke="{color}" opacity="0.4"/>'
                f'<circle cx="{x(p.evaluations):.1f}" cy="{y(p.right):.1f}" r="3" fill="{color}"/>'
            )
        legend = top + 14 + 20 * i
        parts.append(
            f'<circle cx="{width - right + 18}" cy="{legend - 4}" r="4" fill="{color}"/>'
            f'<text x="{width - right + 28}" y="{legend}">{name}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"

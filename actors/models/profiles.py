"""Computes how long a model takes for a batch, from measured tables of seconds by batch size.

`profiles.csv` has the published tables that ship with Bottega; a file of the same form can be given
to `bottega plan --profile`. Pure: the stand-ins sleep for these seconds, the simulator counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import ceil, isfinite
from pathlib import Path

from actors.csv_table import read_table
from actors.errors import SpecError
from actors.roles import ROLES
from actors.seeds import derive_seed

PUBLISHED = Path(__file__).parent / "profiles.csv"

COLUMNS = ("model", "role", "gpu", "steps", "batch_size", "seconds")


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds of a whole batch by its size: the measured points, and straight lines between them.

    A batch that is smaller than the smallest measured one takes as long as that one. Beyond the
    largest, a row takes what a row of the largest takes: large batches gain nothing more.
    """

    points: tuple[tuple[int, float], ...]
    """(batch size, seconds), by size; at least one."""

    def seconds(self, batch_size: int) -> float:
        """Seconds of one batch of `batch_size` rows."""
        smallest, largest = self.points[0], self.points[-1]
        if batch_size <= smallest[0]:
            return smallest[1]
        if batch_size >= largest[0]:
            return largest[1] * batch_size / largest[0]
        upper = next(n for n, (size, _) in enumerate(self.points) if size >= batch_size)
        (size, seconds), (next_size, next_seconds) = self.points[upper - 1 : upper + 1]
        return seconds + (next_seconds - seconds) * (batch_size - size) / (next_size - size)


def curve_of(seconds: Mapping[int, float]) -> Curve:
    """The curve through batch size -> seconds."""
    return Curve(tuple(sorted(seconds.items())))


@dataclass(frozen=True, slots=True)
class Profile:
    """The measured times of one model. `curves`: by type of GPU; `steps`: of a measured batch."""

    model: str
    role: str
    steps: int
    curves: Mapping[str, Curve]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long a model's calls take, each resolved to numbers.

    `share`: the share of the curve's seconds that a call takes, say 0.6 for a refinement of 30
    steps by a model that was timed with 50. `noise`: a call takes up to this fraction more or less.
    `straggler_fraction` of the calls take `straggler_factor` times as long. Everything goes `speed`
    times as fast as it would.
    """

    curves: Mapping[str, Curve]
    load_seconds: float = 0.0
    share: float = 1.0
    noise: float = 0.0
    straggler_fraction: float = 0.0
    straggler_factor: float = 1.0
    speed: float = 1.0

    def curve(self, gpu: str | None = None) -> Curve:
        """The curve of a type of GPU; None: the first one's."""
        first = next(iter(self.curves.values()))
        return first if gpu is None else self.curves.get(gpu, first)

    def seconds(self, rows: int, micro_batch_size: int, key: int, gpu: str | None = None) -> float:
        """Seconds of one call: `rows` rows in batches of `micro_batch_size`, the last one padded.

        key: a seed of the call's rows, from which its noise is drawn: a repeated call takes the
        same time.
        """
        whole = ceil(rows / micro_batch_size) * self.curve(gpu).seconds(micro_batch_size)
        return whole * self.share * self._luck(key) / self.speed

    @property
    def loading(self) -> float:
        """Seconds from the start of an actor until it has its model."""
        return self.load_seconds / self.speed

    def _luck(self, key: int) -> float:
        luck = 1.0
        if self.noise:
            luck += self.noise * (2 * chance(key, "timed/noise") - 1)
        if self.straggler_fraction and chance(key, "timed/late") < self.straggler_fraction:
            luck *= self.straggler_factor
        return luck


def chance(seed: int, name: str) -> float:
    """A uniform number in [0, 1) that depends on `seed` and `name` and on nothing else."""
    return (derive_seed(seed, name) >> 10) / 2**53  # a float64 holds 53 of the seed's 63 bits


@cache
def published() -> Mapping[str, Profile]:
    """The profiles that ship with Bottega, by model."""
    return {profile.model: profile for profile in read_profiles(PUBLISHED)}


def read_profiles(file: Path) -> list[Profile]:
    """The profiles of a CSV with the columns COLUMNS; lines that begin with # are remarks.

    Raises SpecError with the file, the line and the rule.
    """
    found: dict[tuple[str, str, int], dict[str, dict[int, float]]] = {}
    for where, row in read_table(file, COLUMNS):
        role, steps, size, seconds = _measured(where, row)
        curves = found.setdefault((row["model"], role, steps), {})
        sizes = curves.setdefault(row["gpu"], {})
        if size in sizes:
            raise SpecError(f"{where}: batch_size {size} of {row['model']} is there twice.")
        sizes[size] = seconds
    if not found:
        raise SpecError(f"{file} has no profile. It needs lines of {','.join(COLUMNS)}.")
    return [
        Profile(model, role, steps, {gpu: curve_of(sizes) for gpu, sizes in gpus.items()})
        for (model, role, steps), gpus in found.items()
    ]


def _measured(where: str, row: dict[str, str]) -> tuple[str, int, int, float]:
    """Role, steps, batch size and seconds of a line."""
    if row["role"] not in ROLES:
        raise SpecError(f"{where}: role {row['role']!r} is none of {', '.join(ROLES)}.")
    try:
        steps, size, seconds = int(row["steps"]), int(row["batch_size"]), float(row["seconds"])
    except ValueError as error:
        raise SpecError(
            f"{where}: {error}. steps and batch_size are whole numbers, seconds is a number."
        ) from error
    if steps < 1 or size < 1 or seconds < 0 or not isfinite(seconds):
        raise SpecError(
            f"{where}: steps and batch_size are at least 1 and seconds at least 0, got {steps}, "
            f"{size} and {seconds:g}."
        )
    return row["role"], steps, size, seconds

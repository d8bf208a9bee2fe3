"""Prices, numbers of GPUs and deadlines, as a plan reads them from the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path

from actors.csv_table import read_table
from actors.durations import seconds_of
from actors.errors import SpecError

EXAMPLES = Path(__file__).parent / "prices.csv"
"""A table to copy; its values are examples."""

MAX_GPUS = 16_384
"""Of one plan. Chosen: four times the largest cluster that was simulated (docs/performance.md); a
mistyped number is refused and does not run for hours.
"""


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars an hour by type of GPU, read from `file`. `are_examples`: they come with Bottega and
    are not real.
    """

    per_hour: Mapping[str, float]
    file: Path
    are_examples: bool

    def cost(self, gpu_hours: Mapping[str, float]) -> float | None:
        """The cost of GPU-hours by type, in dollars; None if the price of a type is not known."""
        if any(hours and gpu not in self.per_hour for gpu, hours in gpu_hours.items()):
            return None
        return sum(hours * self.per_hour.get(gpu, 0.0) for gpu, hours in gpu_hours.items())


def read_prices(file: Path | None = None) -> Prices:
    """Read the prices of a CSV with the columns gpu and per_hour; without one, the examples.

    Raises SpecError with the line and the rule.
    """
    per_hour: dict[str, float] = {}
    for where, row in read_table(file or EXAMPLES, ("gpu", "per_hour")):
        try:
            price = float(row["per_hour"])
        except ValueError:
            price = inf
        if not isfinite(price) or price < 0:
            raise SpecError(
                f"{where}: per_hour {row['per_hour']!r} is no price: a number, at least 0."
            )
        if row["gpu"] in per_hour:
            raise SpecError(f"{where}: {row['gpu']!r} has two prices. Remove one.")
        per_hour[row["gpu"]] = price
    return Prices(per_hour, file or EXAMPLES, are_examples=file is None)


def read_gpus(text: str, usual: str) -> dict[str, int]:
    """Read how many GPUs of each type: `8` (of the `usual` type), or `A100-80G=8,L4=4`.

    Raises SpecError.
    """
    gpus: dict[str, int] = {}
    for item in text.split(","):
        name, has_name, number = item.rpartition("=")
        name = name.strip() if has_name else usual
        count = int(number) if re.fullmatch(r"\s*[0-9]{1,9}\s*", number) else 0
        if not name or not 1 <= count <= MAX_GPUS or name in gpus:
            raise SpecError(
                f"--gpus {text!r}: give a number of GPUs, as 8, or one for each type, as "
                f"A100-80G=8,L4=4; each at least 1 and at most {MAX_GPUS:,}."
            )
        gpus[name] = count
    return gpus


def read_duration(text: str, option: str = "--deadline") -> float:
    """Read seconds: `90m`, `6h`, `1.5 d`. Raises SpecError."""
    seconds = seconds_of(text)
    if seconds is None:
        raise SpecError(f"{option} {text!r} is no time: give it as 90m, 6h or 2d.")
    return seconds

"""Reads times as people write them: 90s, 15m, 6h, 1.5 d. A number alone is none: 15 may be meant as
seconds or as minutes."""

from __future__ import annotations

import re

UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds_of(text: str) -> float | None:
    """The seconds; None for a text that is no time, is without a unit or not above 0."""
    found = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(s|m|min|h|d)\s*", text)
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    return seconds or None

"""Estimates from a running job: smoothed call times, and the rejected fraction. Pure."""

from __future__ import annotations

from math import sqrt

MIN_WINDOW_CALLS = 64
"""Calls that count: of 64, one call that took twice as long moves the mean by 1.6 %."""

LEAST_ROW_SECONDS = 1e-6
"""A stand-in may take no time at all, and rates divide by this. Chosen: no model computes a picture
in a microsecond, so it changes no size of a real pool."""


class ThroughputEstimator:
    """Seconds and rows of a pool's calls, the later ones counting more."""

    def __init__(self) -> None:
        self._seconds = self._rows = self._calls = 0.0

    def add(self, seconds: float, rows: int, actors: int = 1) -> None:
        """A call succeeded. With many `actors` more calls count, so that each actor has two."""
        keep = 1 - 1 / max(MIN_WINDOW_CALLS, 2 * actors)
        self._seconds = keep * self._seconds + seconds
        self._rows = keep * self._rows + rows
        self._calls = keep * self._calls + 1

    @property
    def known(self) -> bool:
        """Whether any call has succeeded."""
        return self._calls > 0

    @property
    def row_seconds(self) -> float:
        """Of one row, in one actor, with its share of the padding."""
        return max(LEAST_ROW_SECONDS, self._seconds / self._rows)

    @property
    def call_rows(self) -> float:
        """Rows in a call."""
        return self._rows / self._calls


class RejectionEstimator:
    """The fraction of rows that the oracle rejects: a Beta posterior that forgets.

    The calibration gives the prior. Old judgements lose their weight slowly, so that the fraction
    is steady while nothing changes; when chance does not explain the last rows, all rows before
    them lose their weight at once. Both outcomes keep a count for ever, so that the fraction is
    never 0 or 1 by accident; unless it is `certain`, because the threshold accepts or rejects all.
    """

    KEPT = 0.5
    """Jeffreys' prior for a fraction: half a row of each outcome."""

    DEPTH = 8
    """Windows of rows that count while nothing changes: eight windows of 1,000 rows give a
    fraction of 0.3 to half a point."""

    UNLIKELY = 4.0
    """Standard deviations that chance does not explain: it exceeds them once in 16,000 batches, so
    a false alarm is rare, and costs one window."""

    def __init__(self, prior: float, weight: float = 64.0, certain: bool = False) -> None:
        """`weight`: the number of rows that the prior counts for at first."""
        self._prior, self._certain = prior, certain
        self._rows, self._rejected = weight, prior * weight
        self._late_rows = self._late_rejected = 0.0

    def add(self, rows: int, rejected: int, window: float = 1000.0) -> None:
        """The oracle judged `rows`. A change shows within a `window` of rows."""
        keep, keep_late = (1 - 1 / (self.DEPTH * window)) ** rows, (1 - 1 / window) ** rows
        self._rows = keep * self._rows + rows
        self._rejected = keep * self._rejected + rejected
        self._late_rows = keep_late * self._late_rows + rows
        self._late_rejected = keep_late * self._late_rejected + rejected
        if self._changed():
            self._rows, self._rejected = self._late_rows, self._late_rejected

    def _changed(self) -> bool:
        """Whether the late rows are too far from all the others."""
        late, others = self._late_rows, self._rows - self._late_rows
        if others < 1:
            return False
        mean = self.mean
        gap = abs(self._late_rejected / late - (self._rejected - self._late_rejected) / others)
        return gap > self.UNLIKELY * sqrt(mean * (1 - mean) * (1 / late + 1 / others))

    def deviation(self, rows: float) -> float:
        """The standard deviation of the number that will be rejected of so many further rows."""
        if self._certain:
            return 0.0
        mean = self.mean
        return sqrt(rows * mean * (1 - mean) * (1 + rows / (self._rows + 2 * self.KEPT)))

    @property
    def mean(self) -> float:
        """The expected fraction."""
        if self._certain:
            return self._prior
        return (self._rejected + self.KEPT) / (self._rows + 2 * self.KEPT)

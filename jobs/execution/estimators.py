"""Estimates from a running job: smoothed call times, and the rejected fraction. Pure."""

from __future__ import annotations

from math import inf, sqrt

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

    `rest` is the fraction of all rows that are not judged yet, of which the calibration says more:
    its sample is of the whole job, so what was not rejected so far is still to come.
    """

    KEPT = 0.5
    """Jeffreys' prior for a fraction: half a row of each outcome."""

    DEPTH = 8
    """Windows of rows that count while nothing changes: eight windows of 1,000 rows give a
    fraction of 0.3 to half a point."""

    UNLIKELY = 4.0
    """Standard deviations that chance does not explain: it exceeds them once in 16,000 batches, so
    a false alarm is rare, and costs one window."""

    UNLIKE = 3.0
    """Standard deviations between the judged rows and the calibration: more of them once in 370
    jobs of which all rows are alike."""

    def __init__(
        self,
        prior: float,
        weight: float = 64.0,
        certain: bool = False,
        *,
        job_rows: float = inf,
    ) -> None:
        """`weight`: the number of rows that the prior counts for at first. job_rows: of the job, of
        which they are a sample; infinite where the prior is no sample of the rows to come."""
        self._prior, self._certain = prior, certain
        self._sample_rows, self._job_rows = weight, job_rows
        self._judged = self._judged_rejected = 0.0
        self._rows, self._rejected = weight, prior * weight
        self._late_rows = self._late_rejected = 0.0

    def add(self, rows: int, rejected: int, window: float = 1000.0) -> None:
        """The oracle judged `rows`. A change shows within a `window` of rows."""
        self._judged += rows
        self._judged_rejected += rejected
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
        mean = self._posterior
        gap = abs(self._late_rejected / late - (self._rejected - self._late_rejected) / others)
        return gap > self.UNLIKELY * sqrt(mean * (1 - mean) * (1 / late + 1 / others))

    @property
    def _posterior(self) -> float:
        return (self._rejected + self.KEPT) / (self._rows + 2 * self.KEPT)

    @property
    def mean(self) -> float:
        """The expected fraction of the next rows."""
        return self._prior if self._certain else self._posterior

    @property
    def rest(self) -> float:
        """The expected fraction of all rows that are not judged yet."""
        return self._prior if self._certain else self._expected(self._job_rows - self._judged)[0]

    def deviation(self, rows: float) -> float:
        """The standard deviation of the number that will be rejected of so many further rows."""
        if self._certain or not rows:
            return 0.0
        return rows * sqrt(self._expected(rows)[1])

    def _expected(self, rows: float) -> tuple[float, float]:
        """The fraction of so many further rows, and its variance.

        By the judged rows and by the calibration, each by how sure it is. Where chance does not
        explain that they differ, the rows are not alike, and the judged ones say little.
        """
        mean = self._posterior
        variance = mean * (1 - mean) * (1 / (self._rows + 2 * self.KEPT) + 1 / max(1.0, rows))
        left = self._job_rows - self._judged
        if not 0 < left < inf:
            return mean, variance
        total = self._prior * self._job_rows
        rest = min(1.0, max(0.0, (total - self._judged_rejected) / left))
        seen = self._prior * self._sample_rows + self._judged_rejected
        both = (seen + self.KEPT) / (self._sample_rows + self._judged + 2 * self.KEPT)
        # The sample's rows are rows of the job: of one that is all of it the rest is certain.
        unknown = max(0.0, 1 / self._sample_rows - 1 / self._job_rows)
        rest_variance = both * (1 - both) * unknown * (self._job_rows / left) ** 2
        unlike = (rest - mean) ** 2 - self.UNLIKE**2 * (variance + rest_variance)
        variance += max(0.0, unlike)
        share = variance / (variance + rest_variance)
        return mean + share * (rest - mean), share * rest_variance

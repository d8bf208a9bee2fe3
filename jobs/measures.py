"""What is measured while a job runs: smoothed times, and the fraction that is rejected. Pure."""

from __future__ import annotations

MIN_WINDOW_CALLS = 16


class Pace:
    """Seconds and rows of a pool's calls, the later ones counting more."""

    def __init__(self) -> None:
        self._seconds = self._rows = self._calls = 0.0

    def add(self, seconds: float, rows: int, actors: int = 1) -> None:
        """A call is back. With many `actors` more calls are looked back upon."""
        keep = 1 - 1 / max(MIN_WINDOW_CALLS, 2 * actors)
        self._seconds = keep * self._seconds + seconds
        self._rows = keep * self._rows + rows
        self._calls = keep * self._calls + 1

    @property
    def known(self) -> bool:
        """Whether any call is back."""
        return self._calls > 0

    @property
    def row_seconds(self) -> float:
        """Of one row, in one actor; what padding costs is in it."""
        return self._seconds / self._rows

    @property
    def call_rows(self) -> float:
        """Rows in a call."""
        return self._rows / self._calls


class Rejection:
    """The fraction of rows that the oracle rejects: a Beta posterior that forgets.

    The prior is what the calibration found. Both outcomes have a count that is never forgotten, so
    that the fraction is never 0 or 1 by accident; unless it is `certain`, because the threshold
    lets everything or nothing through.
    """

    KEPT = 0.5
    """Jeffreys' prior."""

    def __init__(self, prior: float, weight: float = 64.0, certain: bool = False) -> None:
        """`weight`: rows that the prior counts for at first."""
        self._prior, self._certain = prior, certain
        self._rejected, self._accepted = prior * weight, (1 - prior) * weight

    def add(self, rows: int, rejected: int, window: float = 1000.0) -> None:
        """The oracle judged `rows`; about the last `window` count."""
        keep = (1 - 1 / window) ** rows
        self._rejected = keep * self._rejected + rejected
        self._accepted = keep * self._accepted + rows - rejected

    @property
    def mean(self) -> float:
        """The expected fraction."""
        if self._certain:
            return self._prior
        total = self._rejected + self._accepted + 2 * self.KEPT
        return (self._rejected + self.KEPT) / total

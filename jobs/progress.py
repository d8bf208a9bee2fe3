"""How a job stands: plain numbers for the live view and the final summary."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.crew import PoolView


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A moment of a job. Rows are done when their part is committed.

    `resumed_rows` were done before this run; `judged_rows`, `rejected_rows`, `refined_rows` and
    `elapsed_seconds` are this run's own. `balance`: why the pools have the sizes that they have.
    """

    num_rows: int
    done_rows: int
    resumed_rows: int
    failed_rows: int
    judged_rows: int
    rejected_rows: int
    refined_rows: int
    parts_done: int
    num_parts: int
    elapsed_seconds: float
    pools: list[PoolView] = field(default_factory=list)
    balance: str = ""

    @property
    def rejected_fraction(self) -> float:
        """Of the rows that this run judged."""
        return self.rejected_rows / self.judged_rows if self.judged_rows else 0.0

    @property
    def rows_per_second(self) -> float:
        """Rows of this run that have their last score, by the time that it took."""
        ended = self.judged_rows - self.rejected_rows + self.refined_rows
        return ended / self.elapsed_seconds if self.elapsed_seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """None until the first row of this run is through."""
        rate = self.rows_per_second
        ended = self.judged_rows - self.rejected_rows + self.refined_rows
        return (self.num_rows - self.resumed_rows - ended) / rate if rate > 0 else None

"""How a job stands: plain numbers for the live view and the final summary."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.spec.sample import refined_interval

PROGRESS_SECONDS = 0.25
"""Between two looks at the progress: people see the live view move without jerks."""


@dataclass(frozen=True, slots=True)
class PoolView:
    """The state of a pool: its wanted `size`, and how many actors are ready, busy, leaving.

    `waiting`: actors that wait for a place on a node. `gpus`: that its actors hold now.
    """

    name: str
    size: int
    ready: int
    busy: int
    queued: int
    leaving: int = 0
    waiting: int = 0
    gpus: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A moment of a job. Rows are done when their part is committed.

    `seconds_left`: None until a call of each pool that has work has ended. `balance`: why the pools
    have the sizes that they have. `waiting`: for which devices the job waits, and who has them;
    empty if it has what it asked for. `resumed_rows` were done before this run; `judged_rows`,
    `rejected_rows`, `refined_rows` and `elapsed_seconds` are this run's own. While it is
    `calibrating`, `num_rows` are the sample's.
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
    seconds_left: float | None = None
    pools: list[PoolView] = field(default_factory=list)
    balance: str = ""
    waiting: str = ""
    calibrating: bool = False
    rungs: tuple[int, ...] = ()
    """Of a job with a ladder: by rung, the rows of this run that took it."""

    @classmethod
    def of_calibration(cls, num_rows: int, pools: list[PoolView], waiting: str = "") -> Progress:
        """While a sample of `num_rows` is drawn and scored; no row of the job has begun."""
        return cls(
            num_rows=num_rows, done_rows=0, resumed_rows=0, failed_rows=0, judged_rows=0,
            rejected_rows=0, refined_rows=0, parts_done=0, num_parts=0, elapsed_seconds=0.0,
            pools=pools, waiting=waiting, calibrating=True,
        )  # fmt: skip

    @property
    def accepted_fraction(self) -> float:
        """Of the rows that this run judged."""
        accepted = self.judged_rows - self.rejected_rows
        return accepted / self.judged_rows if self.judged_rows else 0.0

    @property
    def rejected_fraction(self) -> float:
        """Of the rows that this run judged."""
        return self.rejected_rows / self.judged_rows if self.judged_rows else 0.0

    @property
    def rejected_interval(self) -> tuple[float, float]:
        """Which fraction of all rows is rejected: the 95 % interval that the judged rows give."""
        if not self.judged_rows:
            return 0.0, 1.0
        return refined_interval(self.rejected_fraction, self.judged_rows, self.num_rows)

    @property
    def refined_fraction(self) -> float:
        """Of the rows that this run judged: those that have the score of the teacher's picture."""
        return self.refined_rows / self.judged_rows if self.judged_rows else 0.0

    @property
    def ended_rows(self) -> int:
        """Rows of this run that have their last score."""
        return self.judged_rows - self.rejected_rows + self.refined_rows

    @property
    def rows_per_second(self) -> float:
        """Rows of this run that have their last score, by the time that it took."""
        return self.ended_rows / self.elapsed_seconds if self.elapsed_seconds > 0 else 0.0

    @property
    def through_rows(self) -> int:
        """Rows that are done, or have their last score and wait for their part's commit."""
        return max(self.done_rows, self.resumed_rows + self.ended_rows)

"""The messages between cascade and dispatcher: instructions one way, events the other.

Pure, as the cascade is.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.counted import counted
from jobs.execution.row_set import RowSet, row_set
from jobs.execution.stages import OutputKind, Stage, Step


class Call:
    """Do `stage` for `rows` (numbers within the part, ascending). Equal by both, and by `attempt`:
    number of the stage's attempt on the rows, from 0.

    `sources`: the calls whose output it takes, each once; none where a stage takes none. For
    COMMIT, every call that encoded a picture of the part. `slots`: the rows' places in their batch;
    None if they are 0, 1, 2 and on. A piece of a batch leaves the other rows' slots empty, because
    on a GPU a row's last bits depend on its slot (docs/performance.md).
    """

    __slots__ = ("_hash", "row_set", "rows", "slots", "sources", "stage", "step")

    def __init__(
        self,
        stage: Stage,
        rows: tuple[int, ...],
        sources: tuple[Call, ...] = (),
        members: RowSet | None = None,
        slots: tuple[int, ...] | None = None,
        *,
        attempt: int = 0,
    ) -> None:
        """`members`: the set of `rows`, if it is known."""
        self.stage = stage
        self.step = Step(stage, attempt)
        self.rows = rows
        self.sources = sources
        self.slots = slots
        self.row_set = row_set(rows) if members is None else members
        # Calls are looked up often, and hashing the rows on each lookup is slow.
        self._hash = hash((self.step, rows))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Call):
            return NotImplemented
        return (self.step, self.rows) == (other.step, other.rows)

    @property
    def attempt(self) -> int:
        """Number of the stage's attempt on the rows, from 0."""
        return self.step.attempt

    def __str__(self) -> str:
        rows = counted(len(self.rows), "row")
        return f"{self.step} of {rows} from {self.rows[0] if self.rows else 0}"

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Release:
    """No later call takes this output of `call`: drop its reference."""

    call: Call
    output: OutputKind


@dataclass(frozen=True, slots=True)
class Abandon:
    """The part cannot be committed, and so the job cannot end well."""

    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """`call` succeeded. The oracle's calls bring `scores`: of drawn rows `draws` a row, in turn.

    `permanent_failures`: rows of which the call can make nothing, however often it is tried, each
    with the reason. They fail; after a REFINE they keep the student's picture.
    """

    call: Call
    scores: tuple[float, ...] = ()
    permanent_failures: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """`call` raised, or its actor died.

    `blame`: whether the call itself may be at fault. The cascade repeats a call that only waited on
    an actor that died, without counting the failure.
    """

    call: Call
    reason: str
    blame: bool = True


@dataclass(frozen=True, slots=True)
class Lost:
    """`output` of `call` is gone from the object store: its node died."""

    call: Call
    output: OutputKind


Event = Done | Failed | Lost
Instruction = Call | Release | Abandon

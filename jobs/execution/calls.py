"""What the cascade and the crew say to each other: calls and releases one way, events the other.

Pure, as the cascade is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """What a call does."""

    DRAW = "draw"
    SCORE_DRAWN = "score drawn"
    REFINE = "refine"
    SCORE_REFINED = "score refined"
    ENCODE_DRAWN = "encode drawn"
    ENCODE_REFINED = "encode refined"
    COMMIT = "commit"


class Output(StrEnum):
    """What a call leaves in the object store: pictures and latents, or encoded files."""

    LATENTS = "latents"
    PICTURES = "pictures"
    FILES = "files"


OUTPUTS: dict[Stage, tuple[Output, ...]] = {
    Stage.DRAW: (Output.LATENTS, Output.PICTURES),
    Stage.SCORE_DRAWN: (),
    Stage.REFINE: (Output.PICTURES,),
    Stage.SCORE_REFINED: (),
    Stage.ENCODE_DRAWN: (Output.FILES,),
    Stage.ENCODE_REFINED: (Output.FILES,),
    Stage.COMMIT: (),
}

RowSet = int
"""Some rows of a part: bit n is row n."""


def row_set(rows: Sequence[int]) -> RowSet:
    """The set of some rows, ascending."""
    if rows and rows[-1] - rows[0] + 1 == len(rows):
        return ((1 << len(rows)) - 1) << rows[0]
    return sum(1 << row for row in rows)


class Call:
    """Do `stage` for `rows` (numbers within the part, ascending). Equal by both.

    `sources`: the calls whose output it takes, each once; none where a stage takes none. For
    COMMIT, every call that encoded a picture of the part.
    """

    __slots__ = ("_hash", "row_set", "rows", "sources", "stage")

    def __init__(
        self,
        stage: Stage,
        rows: tuple[int, ...],
        sources: tuple[Call, ...] = (),
        members: RowSet | None = None,
    ) -> None:
        """`members`: the set of `rows`, if it is known."""
        self.stage = stage
        self.rows = rows
        self.sources = sources
        self.row_set = row_set(rows) if members is None else members
        # Calls are looked up often, and to hash the rows each time is dear.
        self._hash = hash((stage, rows))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Call):
            return NotImplemented
        return (self.stage, self.rows) == (other.stage, other.rows)

    def __str__(self) -> str:
        return f"{self.stage} of {len(self.rows)} rows from {self.rows[0] if self.rows else 0}"

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Release:
    """Nothing will ask for this output of `call` any more: drop its reference."""

    call: Call
    output: Output


@dataclass(frozen=True, slots=True)
class Abandon:
    """The part cannot be committed, and so the job cannot end well."""

    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """`call` came back. The oracle's calls bring `scores`: of drawn rows `draws` a row, in turn.

    `hopeless`: rows of which nothing can be made, with the reason, and that nobody need try again.
    """

    call: Call
    scores: tuple[float, ...] = ()
    permanent_failures: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """`call` raised, or its actor died.

    `blame`: whether the call itself may be at fault. A call that only waited on an actor that died
    is repeated without being counted.
    """

    call: Call
    reason: str
    blame: bool = True


@dataclass(frozen=True, slots=True)
class Lost:
    """`output` of `call` is gone from the object store: its node died."""

    call: Call
    output: Output


Event = Done | Failed | Lost
Instruction = Call | Release | Abandon

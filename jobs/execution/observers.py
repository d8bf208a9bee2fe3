"""Events of a running job, and its observers: the log, the timeline, the live view.

An observer is any callable that takes a `JobEvent`. It sees facts and changes nothing. One that
raises is dropped with a line in the log, since a broken dashboard must not end a job; only a
BottegaError, such as an output folder that is full, ends it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, get_args

from actors.counted import counted
from actors.errors import BottegaError, OutputFailedError
from jobs.execution.calls import Call
from jobs.execution.executor import ErrorKind
from jobs.execution.progress import Progress
from jobs.output.folder import OutputFolder
from jobs.output.records import RUNGS, UNREFINABLE
from jobs.spec.climb import Make
from jobs.spec.ladder import by_attempt

log = logging.getLogger("bottega.job")


@dataclass(frozen=True, slots=True)
class ActorLoaded:
    """An actor has its model, after `seconds`; `ready` of its pool's `size` have."""

    pool: str
    seconds: float
    ready: int
    size: int


@dataclass(frozen=True, slots=True)
class ActorNotLoaded:
    """An actor's constructor raised: its model cannot be loaded. If none of its pool has loaded
    before, the job ends."""

    pool: str
    reason: str


@dataclass(frozen=True, slots=True)
class ActorDied:
    """An actor's process is gone; the pool starts another."""

    pool: str
    reason: str


@dataclass(frozen=True, slots=True)
class ActorReplaced:
    """The pool kills an actor that raised again and again, or hangs, and starts another."""

    pool: str
    reason: str


@dataclass(frozen=True, slots=True)
class MicroBatchHalved:
    """A device ran out of memory with `rows`: the pool's actors compute `rows_now` together now."""

    pool: str
    rows: int
    rows_now: int


@dataclass(frozen=True, slots=True)
class CallSent:
    """An actor has a call; `actor` is its number within the pool, None for a file task."""

    pool: str
    actor: int | None
    part: int
    call: Call


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call succeeded. `actor`: as in `CallSent`. `rows`: that it computed. `seconds`: that it
    took, of a commit with the time until it began. `queue_seconds`: that it waited before it was
    sent."""

    pool: str
    actor: int | None
    part: int
    call: Call
    rows: int
    seconds: float
    queue_seconds: float


@dataclass(frozen=True, slots=True)
class CallFailed:
    """A call failed, for `reason`; the cascade decides whether it is repeated."""

    part: int
    call: Call
    kind: ErrorKind
    reason: str


@dataclass(frozen=True, slots=True)
class PartCommitted:
    """A part is in the dataset. `failed_rows`: by the row's number in the input, the reason.

    `outcomes`: the part's rows that this run decided, by what became of them: `accepted`,
    `refined`, `unrefinable` (rejected, and the teacher made no picture), `failed`.
    """

    part: int
    record: Mapping[str, Any]
    failed_rows: Mapping[int, str]
    outcomes: Mapping[str, int] = field(default_factory=dict)
    ids: Mapping[int, object] = field(default_factory=dict)
    """By the numbers in `failed_rows`: the ids that the user gave, where the job has a column."""
    rungs: Sequence[tuple[Make, int]] = ()
    """By rung of the ladder: what makes its picture, and the rows that took it in this run."""


@dataclass(frozen=True, slots=True)
class SizesChanged:
    """The pools get other sizes, `seconds` after the start, for `reason`.

    `rejected`: the expected fraction of rejected rows. `row_seconds`, `queued`: by pool, seconds of
    a row in one actor as measured, and calls that wait.
    """

    seconds: float
    sizes: Mapping[str, int]
    rejected: float
    row_seconds: Mapping[str, float]
    queued: Mapping[str, int]
    reason: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """The job was asked to stop: it opens nothing new and commits what is decided."""

    reason: str


@dataclass(frozen=True, slots=True)
class StoreMeasured:
    """Bytes that open parts hold in the object store, and those that they may hold."""

    held: float
    budget: float


JobEvent = (
    Progress
    | ActorLoaded
    | ActorNotLoaded
    | ActorDied
    | ActorReplaced
    | MicroBatchHalved
    | CallSent
    | CallEnded
    | CallFailed
    | PartCommitted
    | SizesChanged
    | Stopping
    | StoreMeasured
)

EVENT_KINDS: tuple[type, ...] = get_args(JobEvent)

Observer = Callable[[JobEvent], None]


class Observers:
    """The observers of a job, in order; each sees the kinds of events that it was added for."""

    def __init__(self) -> None:
        self._observers: list[tuple[Observer, tuple[type, ...] | None]] = []
        self._watching: dict[type, tuple[Observer, ...]] = {}
        """By kind of event, once it was looked up: a large job looks here several times a call."""

    def add(self, *observers: Observer, only: tuple[type, ...] | None = None) -> None:
        """Observe from now on. `only`: the kinds of events to see; None for all.

        Who observes them already sees each event once all the same.
        """
        new = [(observer, only) for observer in observers]
        self._observers += [pair for pair in new if pair not in self._observers]
        self._watching.clear()

    def watching(self, kind: type) -> tuple[Observer, ...]:
        """The observers of a kind of event; without any, the event need not be made."""
        watching = self._watching.get(kind)
        if watching is None:
            watching = tuple(o for o, only in self._observers if only is None or kind in only)
            self._watching[kind] = watching
        return watching

    def notify(self, event: JobEvent) -> None:
        """Show an event to those who see its kind."""
        for observer in self.watching(type(event)):
            try:
                observer(event)
            except BottegaError:
                raise
            except Exception as error:  # noqa: BLE001  see the module's docstring
                self.remove(observer)
                log.warning(
                    "the observer %r raised %s: %s. It sees no further event of this job.",
                    observer, type(error).__name__, error,
                )  # fmt: skip

    def remove(self, removed: Observer) -> None:
        """It observes no further event."""
        self._observers = [(o, only) for o, only in self._observers if o is not removed]
        self._watching.clear()


LOGGED = (
    ActorLoaded,
    ActorNotLoaded,
    ActorDied,
    ActorReplaced,
    MicroBatchHalved,
    CallFailed,
    PartCommitted,
    SizesChanged,
)
"""The kinds of events of which `log_event` makes a line."""


def log_event(event: JobEvent) -> None:
    """The observer that writes the log."""
    match event:
        case ActorLoaded():
            log.info("%s: an actor is ready (%d of %d)", event.pool, event.ready, event.size)
        case ActorNotLoaded():
            log.warning("%s: an actor cannot load its model: %s", event.pool, event.reason)
        case ActorDied() | ActorReplaced():
            log.warning("%s: an actor is replaced: %s", event.pool, event.reason)
        case MicroBatchHalved(pool, rows, now):
            log.warning(
                "%s: out of memory with %d rows at once; from now on %d. The last bits of a row "
                "may differ from what %d at once give: for bytes that do not depend on when this "
                "happened, set models.%s.batch_size to %d and start anew.",
                pool, rows, now, rows, pool, now,
            )  # fmt: skip
        case CallFailed():
            log.warning("part %d: %s failed: %s", event.part, event.call, event.reason)
        case PartCommitted(part, record):
            how = f"{record['refined']} refined by the teacher"
            if RUNGS in record:
                how = f"with {by_attempt(record[RUNGS])} of them"
            log.info(
                "part %d is done: %s, %s, %s failed",
                part, counted(record["rows"], "row"), how, record["failed"],
            )  # fmt: skip
            if kept := record.get(UNREFINABLE):
                log.warning(
                    "part %d: of %d rejected rows the teacher made no picture (its numbers were "
                    "not finite, as when its precision is too small); they keep the student's. Try "
                    "models.teacher.dtype: bfloat16 or float32.", part, kept,
                )  # fmt: skip
            for row, reason in event.failed_rows.items():
                name = f"{row} (id {event.ids[row]!r})" if row in event.ids else f"{row}"
                log.warning("row %s failed: %s", name, reason)
        case SizesChanged():
            shown = ", ".join(f"{size} {name}" for name, size in event.sizes.items())
            log.info("%s: %s", shown, event.reason)


@dataclass(frozen=True)
class Timeline:
    """The observer that writes timeline.jsonl: each change of the pools' sizes, and why."""

    output: OutputFolder
    unwritten: list[dict[str, Any]] = field(default_factory=list, compare=False, repr=False)
    """Lines that wait until the disk is back; the runner says how long the job waits for it."""

    def __call__(self, event: JobEvent) -> None:
        """Add a line for a change of sizes."""
        if isinstance(event, SizesChanged):
            self.unwritten.append(
                {
                    "seconds": round(event.seconds, 3),
                    "sizes": dict(event.sizes),
                    "rejected": round(event.rejected, 4),
                    "row_seconds": {
                        name: round(seconds, 5) for name, seconds in event.row_seconds.items()
                    },
                    "queued": dict(event.queued),
                    "reason": event.reason,
                }
            )
            with suppress(OutputFailedError):
                while self.unwritten:
                    self.output.add_to_timeline(self.unwritten[0])
                    del self.unwritten[0]

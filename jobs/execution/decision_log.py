"""The last decisions of a job, kept in memory and written when it ends with an unforeseen error.

A cascade is pure: the events that it got, in order, are all that its decisions follow from. So the
log of a part can be replayed: `python -m tests.simulation.replay out/decisions.json` makes each
cascade anew, feeds it the events, and compares its instructions with those in the log. The
dispatcher's own events of that time stand beside them, to be read.

The log holds no prompt and no picture. Reasons are redacted.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from enum import Enum
from typing import Any

from actors.errors import BottegaError, OutputFailedError
from actors.redact import redact, redacted
from jobs.execution import observers
from jobs.execution.active_part import ActivePart
from jobs.execution.calls import Call, Instruction
from jobs.execution.observers import JobEvent
from jobs.execution.part_log import Decision, PartLog
from jobs.execution.progress import Progress
from jobs.execution.row_set import members_among
from jobs.output.folder import DECISIONS, OutputFolder

log = logging.getLogger("bottega.job")

FORMAT = 2
"""Of decisions.json: a replay refuses another one."""

EVENT_KINDS = tuple(kind for kind in observers.EVENT_KINDS if kind is not Progress)
"""The events that the log keeps: a `Progress` says nothing that the others do not."""

MAX_CLOSED_PARTS = 8
"""Finished parts that stay in the log: an error may show some commits after its cause."""

MAX_EVENTS = 5_000
"""Of the dispatcher: some ten seconds of a large cluster (docs/performance.md: 221 calls a second
are one driver's limit), and 2 MB."""


class DecisionLog:
    """Follows open parts (`follow`), and is an observer of the dispatcher."""

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self.now = now
        """The dispatcher's clock, once there is one."""
        self._open: dict[str, PartLog] = {}
        self._closed: deque[PartLog] = deque(maxlen=MAX_CLOSED_PARTS)
        self._events: deque[tuple[float, JobEvent]] = deque(maxlen=MAX_EVENTS)

    def __call__(self, event: JobEvent) -> None:
        """Keep an event of the dispatcher."""
        self._events.append((self.now(), event))

    def follow(self, owner: ActivePart, label: str) -> None:
        """Log what the cascade of a part decides."""
        cascade = owner.cascade
        owner.decisions = self._open[label] = PartLog(
            label,
            cascade.num_rows,
            cascade.rules,
            dict(owner.part.invalid_rows),
            cascade.kept,
            cascade.groups,
        )

    def close(self, label: str) -> None:
        """A part is done; its log stays for a while."""
        self._closed.append(self._open.pop(label))

    @contextmanager
    def written_on_error(self, folder: OutputFolder) -> Iterator[None]:
        """Write the log into `folder` if the block ends with an error that nobody foresaw."""
        try:
            yield
        except BottegaError:
            raise
        except Exception as error:
            try:
                file = self.write(folder, error)
            except OutputFailedError as second:
                log.warning("the decisions before the error cannot be written: %s", second)
            else:
                error.add_note(
                    f"This is a fault of Bottega. The decisions before it are in {file}, without "
                    "prompts and pictures: please send that file with the report. Finished parts "
                    "are safe, and the same command goes on from them."
                )
            raise

    def write(self, folder: OutputFolder, error: BaseException) -> str:
        """Write the log; returns the file's name."""
        content = {
            "format": FORMAT,
            "error": redact(f"{type(error).__name__}: {error}"),
            "parts": [_part_as_json(part) for part in (*self._closed, *self._open.values())],
            "events": [
                {"seconds": round(seconds, 3), **_event_as_json(event)}
                for seconds, event in self._events
            ],
        }
        folder.put(DECISIONS, json.dumps(redacted(content), indent=1).encode() + b"\n")
        return folder.storage.name_of(DECISIONS)


def _part_as_json(part: PartLog) -> dict[str, Any]:
    return {
        "label": part.label,
        "num_rows": part.num_rows,
        "rules": _as_json(asdict(part.rules)),
        "invalid_rows": part.invalid_rows,
        "kept": ranges(sorted(part.kept)),
        "groups": {
            role: [ranges(members_among(group, range(part.num_rows))) for group in groups]
            for role, groups in (("student", part.groups.student), ("teacher", part.groups.teacher))
        },
        "decisions": [_decision_as_json(decision) for decision in part.decisions],
        "latest": [_decision_as_json(decision) for decision in part.latest],
    }


def _decision_as_json(decision: Decision) -> dict[str, Any]:
    instructions = decision.instructions
    return {
        "event": decision.event and _event_as_json(decision.event),
        "instructions": instructions and [instruction_as_json(one) for one in instructions],
    }


def instruction_as_json(instruction: Instruction) -> dict[str, Any]:
    """An instruction of a cascade: its kind and its fields."""
    if isinstance(instruction, Call):
        return {"type": "Call", **call_as_json(instruction)}
    return _event_as_json(instruction)


def call_as_json(call: Call) -> dict[str, Any]:
    """A call by what makes it equal to another: its stage, its attempt and its rows."""
    return {"stage": call.stage.value, "attempt": call.attempt, "rows": ranges(call.rows)}


def _event_as_json(event: Any) -> dict[str, Any]:
    values = {one.name: _as_json(getattr(event, one.name)) for one in fields(event)}
    return {"type": type(event).__name__, **values}


def _as_json(value: Any) -> Any:
    if isinstance(value, Call):
        return call_as_json(value)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, float):
        return str(value)  # nan and inf are no JSON
    if isinstance(value, dict):
        return {str(name): _as_json(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_as_json(one) for one in value]
    return value


def ranges(rows: Sequence[int]) -> list[list[int]]:
    """Ascending rows as [first, last] of each run."""
    found: list[list[int]] = []
    for row in rows:
        if found and found[-1][1] == row - 1:
            found[-1][1] = row
        else:
            found.append([row, row])
    return found

"""The store of schedules and their runs: one SQLite file, whole after any kill.

A time that has come and the run that is made of it are written in one transaction: so a time is
neither lost nor has it two runs, whenever a process is killed. Submitting a run again attaches to
it; so one that was written, and perhaps submitted, is submitted again.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from actors.errors import ClusterError, SpecError
from cluster.schedules.schedule import Due, Missed, Schedule

BUSY_SECONDS = 10.0
"""The wait for another process' transaction, each of which takes milliseconds."""

KEPT_RUNS = 1000
"""Of a schedule: nearly three years of nights."""

STEPS = (
    """
CREATE TABLE schedules (name TEXT PRIMARY KEY, fields TEXT NOT NULL, served_until TEXT NOT NULL);
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    schedule TEXT NOT NULL REFERENCES schedules (name) ON DELETE CASCADE,
    run_for TEXT NOT NULL,
    due_at TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    job TEXT NOT NULL DEFAULT '',
    changed_at TEXT NOT NULL,
    UNIQUE (schedule, run_for)
);
""",
    """
ALTER TABLE runs ADD COLUMN tried_since TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN submitted_again INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET tried_since = changed_at;
""",
)
"""What makes the tables, each step from those of the version before."""

VERSION = len(STEPS)
"""Of the tables; SQLite's `user_version`."""


class RunState(StrEnum):
    """The state of a run. From `running` on it is the job's own."""

    SUBMITTING = "submitting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    SKIPPED = "skipped"

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self in (RunState.SUBMITTING, RunState.RUNNING)


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a schedule. `job`: the job's id, once it is submitted. `tried_since`: from when on
    the time to submit it counts. `submitted_again`: how often a new attempt was started, as the
    cluster did not know the job any more."""

    schedule: str
    run_for: str
    due_at: datetime
    state: RunState
    reason: str
    job: str
    changed_at: datetime
    tried_since: datetime
    submitted_again: int


class Store:
    """The schedules and runs in a file; it is made if it is not there."""

    def __init__(self, file: Path) -> None:
        """Raises ClusterError for a file that is none, or of a newer version."""
        self.file = file
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("PRAGMA foreign_keys = ON")
            with self._transaction():
                (version,) = self._database.execute("PRAGMA user_version").fetchone()
                for step in STEPS[version:]:
                    for statement in filter(str.strip, step.split(";")):
                        self._database.execute(statement)
                if version < VERSION:
                    self._database.execute(f"PRAGMA user_version = {VERSION}")
        except (sqlite3.Error, OSError) as error:
            raise ClusterError(f"cannot use the schedules in {str(file)!r}: {error}.") from error
        if version > VERSION:
            raise ClusterError(
                f"{str(file)!r} is of a newer version of Bottega ({version}, and this one reads up "
                f"to {VERSION}). Use that one."
            )

    def close(self) -> None:
        """Let the file go."""
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the block, or nothing. Raises ClusterError where the disk says no."""
        with self._explained():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # SQLite has ended it already for some errors
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns an error of the disk into a sentence; a broken rule of a table is the caller's."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise ClusterError(
                f"the schedules in {str(self.file)!r} cannot be read or written: {error}. Make "
                "room there, or see to its disk; what was written before holds."
            ) from error

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._explained():
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def only_server(self) -> Iterator[None]:
        """Be the one process that serves this store. Raises ClusterError if there is one.

        The operating system lets the lock go when the process ends, however it does.
        """
        with self.file.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ClusterError(
                    f"another `bottega schedule serve` serves {str(self.file)!r}. One is enough."
                ) from None
            yield

    # ---- schedules

    def add(self, schedule: Schedule) -> None:
        """Add a schedule. Raises SpecError for a name that is there."""
        try:
            with self._transaction():
                self._database.execute(
                    "INSERT INTO schedules VALUES (?, ?, ?)",
                    (schedule.name, _fields_of(schedule), _iso(schedule.served_until)),
                )
        except sqlite3.IntegrityError:
            raise SpecError(
                f"there is a schedule {schedule.name!r} already. `bottega schedule remove "
                f"{schedule.name}` takes it away."
            ) from None

    def remove(self, name: str) -> None:
        """Take a schedule and its history away. Raises SpecError."""
        self.get(name)
        with self._transaction():
            self._database.execute("DELETE FROM schedules WHERE name = ?", (name,))

    def change(self, schedule: Schedule) -> None:
        """Write a schedule that is there anew."""
        with self._transaction():
            self._database.execute(
                "UPDATE schedules SET fields = ?, served_until = ? WHERE name = ?",
                (_fields_of(schedule), _iso(schedule.served_until), schedule.name),
            )

    def all(self) -> list[Schedule]:
        """Every schedule, by name."""
        rows = self._all("SELECT * FROM schedules ORDER BY name")
        return [_schedule_of(*row) for row in rows]

    def get(self, name: str) -> Schedule:
        """A schedule. Raises SpecError for a name that is not there."""
        rows = self._all("SELECT * FROM schedules WHERE name = ?", (name,))
        if not rows:
            known = ", ".join(schedule.name for schedule in self.all()) or "none"
            raise SpecError(f"there is no schedule {name!r}. There are: {known}.")
        return _schedule_of(*rows[0])

    # ---- runs

    def note_due(self, schedule: Schedule, found: Sequence[Due], now: datetime) -> None:
        """Write what has come, and that it has been decided: all of it, or nothing.

        Nothing of a schedule that somebody removed meanwhile.
        """
        with self._transaction():
            is_there = "SELECT 1 FROM schedules WHERE name = ?"
            if self._database.execute(is_there, (schedule.name,)).fetchone() is None:
                return
            for each in found:
                state = RunState.SKIPPED if each.skipped else RunState.SUBMITTING
                # What is made up for is late already: its tries count from now on.
                since = now if schedule.missed is Missed.ONCE else each.time
                # A run that a person triggered for this date is this run.
                self._database.execute(
                    "INSERT INTO runs (schedule, run_for, due_at, state, reason, changed_at, "
                    "tried_since) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (
                        *(schedule.name, each.run_for, _iso(each.time), state),
                        *(each.skipped, _iso(now), _iso(since)),
                    ),
                )
            last = _iso(found[-1].time)
            self._database.execute(
                "UPDATE schedules SET served_until = max(served_until, ?) WHERE name = ?",
                (last, schedule.name),
            )
            self._database.execute(
                "DELETE FROM runs WHERE schedule = ?1 AND number NOT IN (SELECT number FROM runs "
                "WHERE schedule = ?1 ORDER BY due_at DESC LIMIT ?2)",
                (schedule.name, KEPT_RUNS),
            )

    def trigger(self, schedule: Schedule, run_for: str, now: datetime) -> Run:
        """Write a run that a person asks for; one that is there and has ended begins again."""
        self.get(schedule.name)
        with self._transaction():
            self._database.execute(
                "INSERT INTO runs (schedule, run_for, due_at, state, reason, changed_at, "
                "tried_since) VALUES (?1, ?2, ?3, 'submitting', 'triggered', ?3, ?3) "
                "ON CONFLICT DO UPDATE SET "
                "state = 'submitting', reason = 'triggered', job = '', changed_at = ?3, "
                "due_at = ?3, tried_since = ?3, submitted_again = 0 "
                "WHERE state NOT IN ('submitting', 'running')",
                (schedule.name, run_for, _iso(now)),
            )
        return next(run for run in self.runs(schedule.name) if run.run_for == run_for)

    def runs(self, schedule: str | None = None) -> list[Run]:
        """The runs of a schedule, or all, the latest first."""
        rows = self._all(
            "SELECT schedule, run_for, due_at, state, reason, job, changed_at, tried_since, "
            "submitted_again FROM runs WHERE ?1 IS NULL OR schedule = ?1 "
            "ORDER BY due_at DESC, number DESC",
            (schedule,),
        )
        return [_run_of(*row) for row in rows]

    def update(self, run: Run) -> None:
        """Write how a run stands."""
        with self._transaction():
            self._database.execute(
                "UPDATE runs SET state = ?, reason = ?, job = ?, changed_at = ?, tried_since = ?, "
                "submitted_again = ? WHERE schedule = ? AND run_for = ?",
                (
                    *(run.state, run.reason, run.job, _iso(run.changed_at)),
                    *(_iso(run.tried_since), run.submitted_again, run.schedule, run.run_for),
                ),
            )


def _iso(time: datetime) -> str:
    """In UTC, with microseconds, so that texts are ordered as times are."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _fields_of(schedule: Schedule) -> str:
    return json.dumps(
        {
            "job_file": schedule.job_file,
            "folder": schedule.folder,
            "cron": schedule.cron,
            "time_zone": schedule.time_zone,
            "missed": schedule.missed,
            "late_seconds": schedule.late_seconds,
            "options": list(schedule.options),
            "suspended": schedule.suspended,
        }
    )


def _schedule_of(name: str, fields: str, served_until: str) -> Schedule:
    found: dict[str, Any] = json.loads(fields)
    found |= {"missed": Missed(found["missed"]), "options": tuple(found["options"])}
    return Schedule(name=name, served_until=datetime.fromisoformat(served_until), **found)


def _run_of(
    schedule: str,
    run_for: str,
    due_at: str,
    state: str,
    reason: str,
    job: str,
    changed_at: str,
    tried_since: str,
    submitted_again: int,
) -> Run:
    return Run(
        schedule,
        run_for,
        datetime.fromisoformat(due_at),
        RunState(state),
        reason,
        job,
        datetime.fromisoformat(changed_at),
        datetime.fromisoformat(tried_since),
        submitted_again,
    )


def changed(run: Run, now: datetime, **fields: Any) -> Run:
    """A run with other fields, from now on."""
    return replace(run, **fields, changed_at=now)

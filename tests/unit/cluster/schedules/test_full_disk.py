"""A full disk, and schedules that go while they are served: a sentence, and no run lost."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from actors.errors import ClusterError, SpecError
from cluster.schedules.schedule import due
from cluster.schedules.server import Server
from cluster.schedules.store import Store
from tests.unit.cluster.schedules.test_server import BEGIN, NIGHTLY, Cluster, states

ROOMY = 2**30


def fill(store: Store) -> None:
    """No page more: SQLite says SQLITE_FULL from now on, as it does on a full disk."""
    store._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store._database.execute("CREATE TABLE IF NOT EXISTS filler (content BLOB)")
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    size = 4096
    while size:
        try:
            store._database.execute("INSERT INTO filler VALUES (zeroblob(?))", (size,))
        except sqlite3.OperationalError:
            size //= 2


def empty(store: Store) -> None:
    store._database.execute(f"PRAGMA max_page_count = {ROOMY}")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "schedules.sqlite")
    made.add(NIGHTLY)
    return made


def served(store: Store, cluster: Cluster, minutes: int, on_step: Any = lambda n: None) -> None:
    """Serve with a look every ten minutes, by the loop that `bottega schedule serve` runs."""
    steps = [0]

    def wait(_seconds: float) -> bool:
        cluster.now += timedelta(minutes=10)
        steps[0] += 1
        on_step(steps[0])
        return steps[0] * 10 >= minutes

    Server(store, cluster, cluster.clock).serve(wait)


def test_a_full_disk_is_a_sentence_and_the_run_follows_when_there_is_room(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    # With such a name, which each run has too, no writing fits in a page that is there.
    store.remove("nightly")
    store.add(replace(NIGHTLY, name="night" * 2000))
    cluster = Cluster(now=BEGIN + timedelta(hours=14, minutes=50))
    fill(store)
    served(store, cluster, 40)
    assert "cannot be read or written: database or disk is full. Make room there" in caplog.text
    assert "Tried again in 30 s." in caplog.text
    assert store.runs() == []
    empty(store)
    served(store, cluster, 90)
    (run,) = store.runs()
    assert (run.run_for, run.state) == ("2026-11-21", "succeeded")
    assert cluster.starts == {"2026-11-21": 1}


def test_a_disk_that_is_full_once_the_run_was_submitted_doubles_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(now=BEGIN + timedelta(hours=14, minutes=50))
    whole, fails = store.update, [True]

    def update(run: Any) -> None:
        if fails[0]:
            raise ClusterError("the disk is full.")
        whole(run)

    monkeypatch.setattr(store, "update", update)

    def on_step(number: int) -> None:
        fails[0] = number < 4

    served(store, cluster, 120, on_step)
    assert states(store) == {"2026-11-21": "succeeded"}
    assert cluster.starts == {"2026-11-21": 1}


def test_a_writing_that_fails_leaves_the_store_as_it_was_and_usable(store: Store) -> None:
    fill(store)
    with pytest.raises(ClusterError, match="database or disk is full"):
        store.trigger(NIGHTLY, "2026" * 2000, BEGIN)
    assert store.runs() == []
    assert not store._database.in_transaction
    empty(store)
    store.trigger(NIGHTLY, "2027-01-01", BEGIN)
    assert [run.run_for for run in store.runs()] == ["2027-01-01"]


def test_a_schedule_that_is_removed_while_it_is_served_ends_nothing(
    store: Store,
) -> None:
    other = Store(store.file)
    cluster = Cluster(now=BEGIN + timedelta(hours=15, minutes=1))
    found = due(NIGHTLY, cluster.now)
    other.remove("nightly")
    store.note_due(NIGHTLY, found, cluster.now)
    assert store.runs() == []
    with pytest.raises(SpecError, match="there is no schedule 'nightly'"):
        store.trigger(NIGHTLY, "2026-11-21", cluster.now)


def test_a_schedule_that_is_added_and_triggered_between_two_looks_waits_for_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, cluster = Store(store.file), Cluster()
    added = replace(NIGHTLY, name="added")
    whole = store.runs

    def runs(schedule: str | None = None) -> Any:
        if "added" not in [each.name for each in other.all()]:
            other.add(added)
            other.trigger(added, "2026-11-20", cluster.now)
        return whole(schedule)

    monkeypatch.setattr(store, "runs", runs)
    server = Server(store, cluster, cluster.clock)
    server.serve_once()
    assert not cluster.starts
    server.serve_once()
    assert cluster.starts == {"2026-11-20": 1}

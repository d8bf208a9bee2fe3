"""A server over nights that are not waited for: kills, doubled triggers, failures, no overlap."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from actors.errors import ClusterError, SpecError
from cluster.schedules.schedule import Missed, Schedule, due
from cluster.schedules.server import MOST_AGAIN, Server
from cluster.schedules.store import STEPS, VERSION, Run, RunState, Store, _fields_of
from cluster.schedules.submitting import Answer

BEGIN = datetime(2026, 11, 20, 12, tzinfo=UTC)
NIGHTLY = Schedule(
    name="nightly",
    job_file="/jobs/faces.yaml",
    folder="/jobs",
    cron="0 3 * * *",
    time_zone="UTC",
    served_until=BEGIN,
)


class KilledError(BaseException):
    """The server is killed here: nothing of it goes on."""


@dataclass
class Cluster:
    """Jobs by id, which take an hour; the same id is the same job. `killed_at`: at which of its
    interactions the server dies, before or after the job has begun. `elsewhere`: a job that is not
    here is attached to all the same, as its output says that its driver lives."""

    now: datetime = BEGIN
    began: dict[str, datetime] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    ends: dict[str, str] = field(default_factory=dict)
    hours: float = 1.0
    away: bool = False
    elsewhere: bool = False
    killed_at: int | None = None
    interactions: int = 0

    def clock(self) -> datetime:
        return self.now

    def _interact(self) -> None:
        self.interactions += 1
        if self.interactions == self.killed_at:
            raise KilledError

    def submit(self, schedule: Schedule, run_for: str) -> Answer:
        self._interact()
        if self.away:
            return Answer(error="no cluster at http://head:8265")
        job = f"bottega-{schedule.name}-{run_for}"
        if job not in self.began and self.elsewhere:
            return Answer(job, "running", "it runs: process 7 on head")
        starts = job not in self.began
        if starts:
            self.began[job] = self.now
            self.starts[run_for] += 1
        self._interact()
        return Answer(job, self._state(job), "it starts", starts)

    def look(self, schedule: Schedule, run: Run) -> Answer:
        self._interact()
        if self.away:
            return Answer(error="no cluster at http://head:8265")
        if run.job not in self.began:
            return Answer(error=f"the cluster knows no job {run.job!r}", is_unknown=True)
        return Answer(run.job, self._state(run.job), "as it ended")

    def begin_anew(self) -> None:
        """The head restarts, and knows no job of before."""
        self.began.clear()

    def _state(self, job: str) -> str:
        if self.now - self.began[job] < timedelta(hours=self.hours):
            return "running"
        return self.ends.get(job.removeprefix("bottega-nightly-"), "succeeded")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "schedules.sqlite")
    made.add(NIGHTLY)
    return made


def serve(store: Store, cluster: Cluster, hours: float, minutes: int = 20) -> None:
    """Serve for so long, with a look every few minutes."""
    server = Server(store, cluster, cluster.clock)
    for _ in range(round(hours * 60 / minutes)):
        cluster.now += timedelta(minutes=minutes)
        server.serve_once()


def states(store: Store) -> dict[str, str]:
    return {run.run_for: run.state.value for run in reversed(store.runs("nightly"))}


def test_each_night_has_a_run_that_is_followed_to_its_end(store: Store) -> None:
    cluster = Cluster(ends={"2026-11-22": "failed"})
    serve(store, cluster, hours=72)
    assert states(store) == {
        "2026-11-21": "succeeded", "2026-11-22": "failed", "2026-11-23": "succeeded",
    }  # fmt: skip
    assert set(cluster.starts.values()) == {1}
    (failed,) = [run for run in store.runs() if run.state is RunState.FAILED]
    assert failed.job == "bottega-nightly-2026-11-22"
    assert failed.reason == "as it ended"


def test_a_server_that_is_killed_anywhere_loses_no_run_and_doubles_none(tmp_path: Path) -> None:
    for killed_at in count(1):
        store = Store(tmp_path / f"{killed_at}.sqlite")
        store.add(NIGHTLY)
        cluster = Cluster(killed_at=killed_at)
        was_killed = False
        try:
            serve(store, cluster, hours=48)
        except KilledError:
            was_killed = True
            store.close()
            store = Store(tmp_path / f"{killed_at}.sqlite")
            serve(store, cluster, hours=(BEGIN - cluster.now) / timedelta(hours=1) + 48)
        assert states(store) == {"2026-11-21": "succeeded", "2026-11-22": "succeeded"}, killed_at
        assert cluster.starts == {"2026-11-21": 1, "2026-11-22": 1}, killed_at
        if not was_killed:
            break
    assert killed_at > 10, "it was killed at every interaction"


@pytest.mark.parametrize("before", [True, False])
def test_a_kill_around_the_writing_of_what_is_due_loses_nothing(
    before: bool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(now=BEGIN + timedelta(hours=15))
    whole = store.note_due

    def killed(*arguments: Any) -> None:
        if not before:
            whole(*arguments)
        raise KilledError

    monkeypatch.setattr(store, "note_due", killed)
    with pytest.raises(KilledError):
        Server(store, cluster, cluster.clock).serve_once()
    monkeypatch.undo()
    serve(store, cluster, hours=2)
    assert states(store) == {"2026-11-21": "succeeded"}
    assert cluster.starts == {"2026-11-21": 1}


def test_a_run_does_not_begin_while_the_one_before_goes_on(store: Store) -> None:
    cluster = Cluster(hours=30)
    serve(store, cluster, hours=72)
    assert states(store) == {
        "2026-11-21": "succeeded", "2026-11-22": "skipped", "2026-11-23": "running",
    }  # fmt: skip
    (skipped,) = [run for run in store.runs() if run.state is RunState.SKIPPED]
    assert skipped.reason == "the run for 2026-11-21 still goes on"


def test_a_trigger_that_comes_twice_attaches_and_moves_nothing(store: Store) -> None:
    cluster = Cluster(now=datetime(2026, 11, 21, 2, 30, tzinfo=UTC))
    server = Server(store, cluster, cluster.clock)
    for _ in range(2):
        run = store.trigger(NIGHTLY, "2026-11-21", cluster.now)
        if run.state is RunState.SUBMITTING:
            server.submit(NIGHTLY, run)
    assert states(store) == {"2026-11-21": "running"}
    # Its time comes, and its run is there.
    serve(store, cluster, hours=2)
    assert states(store) == {"2026-11-21": "succeeded"}
    assert cluster.starts == {"2026-11-21": 1}
    again = store.trigger(NIGHTLY, "2026-11-21", cluster.now)
    assert again.state is RunState.SUBMITTING
    server.submit(NIGHTLY, again)
    assert states(store) == {"2026-11-21": "succeeded"}, "it was done already"
    assert cluster.starts == {"2026-11-21": 1}


def test_a_cluster_that_is_away_is_tried_again_until_it_is_too_late(store: Store) -> None:
    cluster = Cluster(away=True)
    serve(store, cluster, hours=15.5)
    (run,) = store.runs()
    assert (run.state, run.reason) == (RunState.SUBMITTING, "no cluster at http://head:8265")
    cluster.away = False
    serve(store, cluster, hours=2)
    assert states(store) == {"2026-11-21": "succeeded"}
    cluster.away = True
    serve(store, cluster, hours=24)
    assert states(store)["2026-11-22"] == "failed"
    assert store.runs()[0].reason.startswith("not submitted for 1:")


def test_a_server_that_was_off_skips_what_it_missed_or_makes_up_for_the_last(
    tmp_path: Path,
) -> None:
    for missed, expected in ((Missed.SKIP, "skipped"), (Missed.ONCE, "succeeded")):
        store = Store(tmp_path / f"{missed}.sqlite")
        store.add(replace(NIGHTLY, missed=missed))
        cluster = Cluster(now=BEGIN + timedelta(hours=72))
        serve(store, cluster, hours=3)
        assert states(store) == {
            "2026-11-21": "skipped", "2026-11-22": "skipped", "2026-11-23": expected,
        }  # fmt: skip


def test_a_run_whose_cluster_began_anew_is_submitted_again_and_the_next_nights_follow(
    store: Store,
) -> None:
    cluster = Cluster()
    serve(store, cluster, hours=15.5)
    assert states(store) == {"2026-11-21": "running"}
    cluster.begin_anew()
    serve(store, cluster, hours=0.5)
    (run,) = store.runs()
    assert (run.state, run.submitted_again) == (RunState.RUNNING, 1)
    serve(store, cluster, hours=24)
    assert states(store) == {"2026-11-21": "succeeded", "2026-11-22": "succeeded"}
    assert cluster.starts == {"2026-11-21": 2, "2026-11-22": 1}
    assert [run.submitted_again for run in store.runs()] == [0, 1]


def test_a_run_that_every_look_finds_forgotten_ends_and_the_next_night_has_its_own(
    store: Store,
) -> None:
    cluster = Cluster(now=datetime(2026, 11, 21, 2, 50, tzinfo=UTC))
    for _ in range(12):
        serve(store, cluster, hours=1 / 3)
        cluster.begin_anew()
    (run,) = store.runs()
    assert (run.state, run.submitted_again) == (RunState.LOST, MOST_AGAIN)
    assert run.reason == "the cluster forgot its job 4 times: look at the head's log and memory"
    assert cluster.starts == {"2026-11-21": 1 + MOST_AGAIN}
    serve(store, cluster, hours=24)
    assert states(store) == {"2026-11-21": "lost", "2026-11-22": "succeeded"}


def test_a_run_that_lives_elsewhere_is_waited_for_and_not_counted(store: Store) -> None:
    cluster = Cluster()
    serve(store, cluster, hours=15.5)
    cluster.begin_anew()
    cluster.elsewhere = True
    serve(store, cluster, hours=5)
    (run,) = store.runs()
    assert (run.state, run.submitted_again) == (RunState.RUNNING, 0)
    assert run.reason == "it runs: process 7 on head"
    cluster.elsewhere = False
    serve(store, cluster, hours=2)
    (run,) = store.runs()
    assert (run.state, run.submitted_again) == (RunState.SUCCEEDED, 1)


def test_a_forgotten_run_that_cannot_be_submitted_again_ends_when_it_is_too_late(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(hours=10)
    serve(store, cluster, hours=20)
    cluster.begin_anew()
    refused = Answer(error="the output holds another job")
    monkeypatch.setattr(cluster, "submit", lambda *_: refused)
    serve(store, cluster, hours=1)
    (run,) = store.runs()
    assert (run.state, run.reason) == (RunState.SUBMITTING, refused.error), "an hour is its time"
    serve(store, cluster, hours=1)
    (run,) = store.runs()
    assert run.state is RunState.FAILED
    assert run.reason == "not submitted for 1:20:00: the output holds another job"


def test_no_later_night_begins_while_a_forgotten_run_waits_for_its_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "long.sqlite")
    store.add(replace(NIGHTLY, late_seconds=30 * 3600.0))
    cluster = Cluster()
    serve(store, cluster, hours=15.5)
    cluster.begin_anew()
    monkeypatch.setattr(cluster, "submit", lambda *_: Answer(error="it is full"))
    serve(store, cluster, hours=24)
    assert states(store) == {"2026-11-21": "submitting", "2026-11-22": "skipped"}
    monkeypatch.undo()
    serve(store, cluster, hours=25)
    assert states(store) == {
        "2026-11-21": "succeeded", "2026-11-22": "skipped", "2026-11-23": "succeeded",
    }  # fmt: skip


def test_why_a_look_had_no_answer_is_in_the_history_until_one_has(store: Store) -> None:
    cluster = Cluster(hours=10)
    serve(store, cluster, hours=16)
    cluster.away = True
    serve(store, cluster, hours=1)
    (run,) = store.runs()
    assert (run.state, run.reason) == (RunState.RUNNING, "no cluster at http://head:8265")
    cluster.away = False
    serve(store, cluster, hours=1)
    assert store.runs()[0].reason == "as it ended"


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_that_is_made_up_for_has_all_of_its_time(killed: bool, tmp_path: Path) -> None:
    store = Store(tmp_path / "once.sqlite")
    store.add(replace(NIGHTLY, missed=Missed.ONCE))
    cluster = Cluster(now=BEGIN + timedelta(hours=21), away=True)
    if killed:
        # It was noted, and nobody served it for ten hours more.
        store.note_due(store.get("nightly"), due(store.get("nightly"), cluster.now), cluster.now)
        cluster.now += timedelta(hours=10)
    serve(store, cluster, hours=1)
    (run,) = store.runs()
    assert (run.state, run.reason) == (RunState.SUBMITTING, "no cluster at http://head:8265")
    cluster.away = False
    serve(store, cluster, hours=2)
    assert states(store) == {"2026-11-21": "succeeded"}


def test_a_run_that_is_made_up_for_after_the_machine_slept_has_all_of_its_time(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "once.sqlite")
    store.add(replace(NIGHTLY, missed=Missed.ONCE))
    cluster = Cluster()
    server = Server(store, cluster, cluster.clock)
    server.serve_once()
    cluster.now, cluster.away = BEGIN + timedelta(hours=21), True
    server.serve_once()
    assert states(store) == {"2026-11-21": "submitting"}
    cluster.now, cluster.away = cluster.now + timedelta(minutes=59), False
    server.serve_once()
    assert states(store) == {"2026-11-21": "running"}


def test_a_run_that_is_made_up_for_is_too_late_in_the_end(tmp_path: Path) -> None:
    store = Store(tmp_path / "once.sqlite")
    store.add(replace(NIGHTLY, missed=Missed.ONCE))
    cluster = Cluster(now=BEGIN + timedelta(hours=21), away=True)
    serve(store, cluster, hours=2)
    (run,) = store.runs()
    assert run.state is RunState.FAILED
    assert run.reason.startswith("not submitted for 1:20:00: no cluster")


def test_no_run_of_a_schedule_that_skips_is_tried_for_longer_than_it_may_be_late(
    store: Store,
) -> None:
    cluster = Cluster(now=datetime(2026, 11, 21, 3, 30, tzinfo=UTC), away=True)
    serve(store, cluster, hours=1)
    assert states(store) == {"2026-11-21": "failed"}, "noted at 3:50, and at 4:00 it is too late"


def test_a_trigger_without_an_answer_does_not_end_a_run_that_goes_on(store: Store) -> None:
    cluster = Cluster(hours=10)
    serve(store, cluster, hours=20)
    cluster.away = True
    run = store.trigger(NIGHTLY, "2026-11-21", cluster.now)
    Server(store, cluster, cluster.clock).submit(NIGHTLY, run)
    (run,) = store.runs()
    assert (run.state, run.reason) == (RunState.RUNNING, "no cluster at http://head:8265")


def test_a_store_of_the_version_before_keeps_its_runs(tmp_path: Path) -> None:
    file = tmp_path / "old.sqlite"
    old = sqlite3.connect(file)
    old.executescript(f"{STEPS[0]}; PRAGMA user_version = 1;")
    old.execute(
        "INSERT INTO schedules SELECT 'nightly', ?, ?",
        (_fields_of(NIGHTLY), BEGIN.isoformat()),
    )
    old.execute(
        "INSERT INTO runs (schedule, run_for, due_at, state, job, changed_at) "
        "VALUES ('nightly', '2026-11-20', ?1, 'running', 'bottega-nightly-2026-11-20', ?1)",
        (BEGIN.isoformat(),),
    )
    old.commit()
    old.close()
    store = Store(file)
    assert [run.tried_since for run in store.runs()] == [BEGIN]
    serve(store, Cluster(), hours=3)
    assert states(Store(file)) == {"2026-11-20": "succeeded"}


def test_the_next_look_is_at_the_next_time_and_in_half_a_minute_at_the_latest(
    store: Store,
) -> None:
    cluster = Cluster(now=datetime(2026, 11, 21, 2, 59, 50, tzinfo=UTC))
    server = Server(store, cluster, cluster.clock)
    assert server.serve_once() == 10.0
    cluster.now = BEGIN
    assert server.serve_once() == 30.0


def test_it_serves_until_it_is_told_that_it_is_over(store: Store) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3

    Server(store, Cluster(), lambda: BEGIN).serve(wait)
    assert waits == [30.0] * 3


def test_one_server_serves_a_store_and_the_next_may_when_it_is_gone(store: Store) -> None:
    other = Store(store.file)
    with store.only_server():
        with (
            pytest.raises(ClusterError, match="another `bottega schedule serve`"),
            other.only_server(),
        ):
            pass
        assert other.all() == [NIGHTLY], "others may look, and add"
    with other.only_server():
        pass


def test_names_of_schedules_are_there_once(store: Store) -> None:
    with pytest.raises(SpecError, match="there is a schedule 'nightly' already"):
        store.add(NIGHTLY)
    with pytest.raises(SpecError, match=r"no schedule 'other'\. There are: nightly"):
        store.get("other")
    serve(store, Cluster(), hours=24)
    store.remove("nightly")
    assert store.all() == store.runs() == []


def test_a_file_that_is_no_store_is_a_sentence(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("schedules: []\n" * 100)
    with pytest.raises(ClusterError, match="cannot use the schedules in"):
        Store(text)
    newer = Store(tmp_path / "newer")
    newer._database.execute(f"PRAGMA user_version = {VERSION + 1}")
    newer.close()
    with pytest.raises(ClusterError, match="of a newer version"):
        Store(tmp_path / "newer")

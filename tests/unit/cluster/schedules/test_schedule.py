"""When a schedule is due: summer time, missed times, names of runs. Nothing is waited for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cluster.schedules.schedule import Missed, Schedule, due, next_time


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NIGHTLY = Schedule(
    name="nightly",
    job_file="/jobs/faces.yaml",
    folder="/jobs",
    cron="0 3 * * *",
    time_zone="Europe/Zurich",
    served_until=at("2026-11-20 12:00"),
)


def test_nothing_is_due_before_its_time() -> None:
    assert due(NIGHTLY, at("2026-11-21 01:59:59")) == []
    (found,) = due(NIGHTLY, at("2026-11-21 02:00"))
    assert (found.time, found.run_for, found.skipped) == (at("2026-11-21 02:00"), "2026-11-21", "")
    assert next_time(NIGHTLY, at("2026-11-21 02:00")) == at("2026-11-22 02:00")


def test_a_time_that_was_served_is_not_due_again() -> None:
    served = replace(NIGHTLY, served_until=at("2026-11-21 02:00"))
    assert due(served, at("2026-11-21 23:00")) == []


@pytest.mark.parametrize(("missed", "ran"), [(Missed.SKIP, []), (Missed.ONCE, ["2026-11-24"])])
def test_of_several_missed_times_the_last_one_runs_or_none(missed: Missed, ran: list[str]) -> None:
    found = due(replace(NIGHTLY, missed=missed), at("2026-11-24 09:00"))
    assert [each.run_for for each in found] == [f"2026-11-{day}" for day in range(21, 25)]
    assert [each.run_for for each in found if not each.skipped] == ran
    assert all("missed" in each.skipped for each in found[:-1])


def test_a_run_within_the_limit_of_late_starts_is_made_whatever_was_missed_before() -> None:
    found = due(NIGHTLY, at("2026-11-24 02:59"))
    assert [each.run_for for each in found if not each.skipped] == ["2026-11-24"]


def test_a_suspended_schedule_has_no_times() -> None:
    suspended = replace(NIGHTLY, suspended=True)
    assert due(suspended, at("2026-12-24 09:00")) == []
    assert next_time(suspended, at("2026-12-24 09:00")) is None


def served(schedule: Schedule, begin: datetime, days: int) -> list[tuple[datetime, str]]:
    """The runs of so many days, looked at every ten minutes."""
    runs, schedule = [], replace(schedule, served_until=begin)
    for step in range(days * 144):
        now = begin + timedelta(minutes=10 * step)
        for each in due(schedule, now):
            assert not each.skipped
            runs.append((each.time, each.run_for))
            schedule = replace(schedule, served_until=each.time)
    return runs


@pytest.mark.parametrize("hour", ["1", "2", "3"])
@pytest.mark.parametrize("change", ["2026-03-29", "2026-10-25"])
def test_at_the_changes_of_summer_time_each_date_has_one_run(hour: str, change: str) -> None:
    schedule = replace(NIGHTLY, cron=f"30 {hour} * * *")
    begin = at(f"{change} 12:00") - timedelta(days=3)
    runs = served(schedule, begin, days=6)
    names = [run_for for _, run_for in runs]
    first = begin.date() + timedelta(days=1)
    assert names == [(first + timedelta(days=n)).isoformat() for n in range(len(names))]
    assert len(names) >= 5


def test_a_time_that_the_clock_skips_comes_after_the_change() -> None:
    schedule = replace(NIGHTLY, cron="30 2 * * *", served_until=at("2026-03-28 12:00"))
    # 2:30 is not there on that day; the clock goes from 2:00 to 3:00, which is 1:00 in UTC.
    assert next_time(schedule, schedule.served_until) == at("2026-03-29 01:00")


def test_of_a_time_that_the_clock_shows_twice_the_first_counts() -> None:
    schedule = replace(NIGHTLY, cron="30 2 * * *", served_until=at("2026-10-24 12:00"))
    assert next_time(schedule, schedule.served_until) == at("2026-10-25 00:30")
    assert next_time(schedule, at("2026-10-25 00:30")) == at("2026-10-26 01:30")


def test_several_runs_a_day_have_names_of_their_own_also_when_the_clock_goes_back() -> None:
    schedule = replace(NIGHTLY, cron="*/30 * * * *")
    names = [name for _, name in served(schedule, at("2026-10-24 22:00"), days=1)]
    assert len(names) == len(set(names)) == 47
    assert names[0] == "2026-10-24T22-30"
    assert all(len(name) <= 16 for name in names), "an id has no more room"

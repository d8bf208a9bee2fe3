"""When a job is due, and for what: pure.

The times are cron's, in a time zone, with cron's own rules for summer time: a time that the clock
skips comes right after the change, and one that it shows twice comes once, unless hours or minutes
are wild cards (cronsim follows Debian's cron).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from cronsim import CronSim

MOST_MISSED = 1000
"""Times that are looked at after a pause; of a longer one the last are what counts."""


class Missed(StrEnum):
    """What becomes of times that passed while nobody served them, or the machine was off."""

    SKIP = "skip"
    ONCE = "once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule. `late_seconds`: a run may start so late. `served_until`: every time up to it has
    been decided. `folder`: where the paths in the job file begin."""

    name: str
    job_file: str
    folder: str
    cron: str
    time_zone: str
    missed: Missed = Missed.SKIP
    late_seconds: float = 3600.0
    options: tuple[str, ...] = ()
    suspended: bool = False
    served_until: datetime

    @property
    def is_daily(self) -> bool:
        """Whether no date has two times, so that the date names the run."""
        minute, hour, *_ = self.cron.split()
        return minute.isdigit() and hour.isdigit()

    def times_after(self, moment: datetime) -> Iterator[datetime]:
        """Its times after a moment, in UTC; they may end, and be endless."""
        for time in CronSim(self.cron, moment.astimezone(ZoneInfo(self.time_zone))):
            yield time.astimezone(UTC)

    def run_for(self, time: datetime) -> str:
        """What the run of a time is for: the date there; or, where a date has several, the time in
        UTC, of which none comes twice."""
        if self.is_daily:
            return time.astimezone(ZoneInfo(self.time_zone)).date().isoformat()
        return time.astimezone(UTC).strftime("%Y-%m-%dT%H-%M")


@dataclass(frozen=True, slots=True)
class Due:
    """A time that has come. `skipped`: why no run is made of it; empty for one that is made."""

    time: datetime
    run_for: str
    skipped: str = ""


def due(schedule: Schedule, now: datetime) -> list[Due]:
    """What has come since the schedule was last served, in order; at most the last one is run."""
    if schedule.suspended:
        return []
    times: list[datetime] = []
    for time in schedule.times_after(schedule.served_until):
        if time > now:
            break
        times = [*times[1 - MOST_MISSED :], time]
    found = []
    for time in times:
        late = (now - time).total_seconds()
        skipped = ""
        if time is not times[-1]:
            skipped = "missed: a later run stands for it"
        elif late > schedule.late_seconds and schedule.missed is Missed.SKIP:
            skipped = f"missed: nobody served it for {duration(late)}"
        found.append(Due(time, schedule.run_for(time), skipped))
    return found


def next_time(schedule: Schedule, now: datetime) -> datetime | None:
    """The next time; None of a schedule that is suspended, or whose times are over."""
    if schedule.suspended:
        return None
    return next(schedule.times_after(max(schedule.served_until, now)), None)


def duration(seconds: float) -> str:
    """Seconds for people."""
    return str(timedelta(seconds=round(seconds)))

"""Schedules as five fields of cron, in a time zone, and how they are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from actors.errors import SpecError

FIELDS = 5
"""Minute, hour, day of the month, month, day of the week. cronsim takes six, with seconds."""


def check_schedule(schedule: str) -> None:
    """Refuse what is not five fields of cron, or never comes. Raises SpecError."""
    if len(schedule.split()) != FIELDS:
        raise SpecError(
            f"{schedule!r} is no schedule: give minute, hour, day of the month, month and day of "
            'the week, as in "0 3 * * *" for 3 o\'clock each night.'
        )
    try:
        next(CronSim(schedule, datetime.now(UTC)))
    except CronSimError as error:
        raise SpecError(f"{schedule!r} is no schedule: {str(error).lower()}.") from error
    except StopIteration:
        raise SpecError(f"{schedule!r} never comes: no such day is in the calendar.") from None


def check_time_zone(name: str) -> ZoneInfo:
    """The time zone of a name. Raises SpecError for one that the IANA list does not have."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SpecError(f"{name!r} is no time zone: give one as Europe/Zurich or UTC.") from error

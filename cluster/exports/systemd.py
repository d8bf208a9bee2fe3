"""A systemd service that runs a job, and a timer that starts it.

A service that is still running is not started again, so runs do not overlap.
"""

from __future__ import annotations

import re
import shlex

from actors.errors import SpecError
from cluster.exports.command import JobCommand
from cluster.exports.schedule import check_schedule, check_time_zone

DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
"""By cron's numbers, of which 0 and 7 are Sunday."""

STOP_SECONDS = 90
"""Between SIGTERM and SIGKILL: a job commits what is decided within 20 s; then Ray ends."""

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

NAMES = {
    **{name: str(number) for number, name in enumerate(MONTHS, start=1)},
    **{name.lower(): str(number) for number, name in enumerate(DAYS[:7])},
}
"""The names of months and of days that cron knows, as its numbers."""


def unit_name(job_name: str) -> str:
    """The name of the units of a job, without their endings."""
    return "bottega-" + (re.sub(r"[^a-z0-9]+", "-", job_name.lower()).strip("-") or "job")


def service(name: str, command: JobCommand, time_zone: str) -> str:
    """The service; `systemctl start` runs the job at once. time_zone: the timer's, whose dates the
    runs have; the machine's may be another one, with another date at that moment."""
    check_time_zone(time_zone)
    folder = _value(str(command.folder))
    line = _quoted(command.shell_line(f'"$(TZ={shlex.quote(time_zone)} date +%F)"'))
    return f"""\
# {name}.service
[Unit]
Description=Bottega: {name.removeprefix("bottega-")}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
WorkingDirectory={folder}
ExecStart=/bin/sh -c {line}
# A job takes as long as it takes.
TimeoutStartSec=infinity
# It commits what is decided, then it ends; the next run goes on from there.
TimeoutStopSec={STOP_SECONDS}
"""


def timer(name: str, schedule: str, time_zone: str, once_if_missed: bool) -> str:
    """The timer. once_if_missed: a run whose time passed while the machine was off comes later."""
    check_schedule(schedule)
    check_time_zone(time_zone)
    lines = "\n".join(f"OnCalendar={each} {time_zone}" for each in on_calendar(schedule))
    return f"""\
# {name}.timer
[Unit]
Description=Bottega: {name.removeprefix("bottega-")}, {schedule}

[Timer]
{lines}
Persistent={"true" if once_if_missed else "false"}
AccuracySec=1s

[Install]
WantedBy=timers.target
"""


def on_calendar(schedule: str) -> list[str]:
    """The schedule as calendar events of systemd: two where cron names days in two ways.

    Where both the day of the month and that of the week are named, a day counts to cron if either
    fits; if one of them begins with a star, or to systemd, both have to.
    """
    minute, hour, day, month, weekday = schedule.split()
    time = f"{_field(hour, 0)}:{_field(minute, 0)}:00"
    months = _field(_without_names(month), 1)
    days = _field(day, 1)
    of_week = "" if weekday == "*" else f"{_weekdays(_without_names(weekday))} "
    if day.startswith("*") or weekday.startswith("*"):
        return [f"{of_week}*-{months}-{days} {time}"]
    return [f"*-{months}-{days} {time}", f"{of_week}*-{months}-* {time}"]


def _without_names(field: str) -> str:
    return re.sub(r"[a-z]+", lambda found: NAMES.get(found[0], found[0]), field.lower())


def _field(field: str, first: int) -> str:
    """One field of cron in systemd's words. `first`: its lowest value, where `*/n` begins."""
    parts = []
    for part in field.split(","):
        span, step = _span_and_step(part)
        if span == "*":
            span = str(first) if step else "*"
        parts.append(span.replace("-", "..") + (f"/{step}" if step else ""))
    return "*" if "*" in parts else ",".join(parts)


def _weekdays(field: str) -> str:
    """The days of the week by name; systemd knows no steps of them."""
    days: list[str] = []
    for part in field.split(","):
        span, step = _span_and_step(part)
        first, _, last = ("0", "-", "6") if span == "*" else span.partition("-")
        end = int(last or (6 if step else first))
        days += [DAYS[day] for day in range(int(first), end + 1, int(step or 1))]
    return ",".join(dict.fromkeys(days))


def _span_and_step(part: str) -> tuple[str, str]:
    """`1-5/2` as `1-5` and `2`. Raises SpecError."""
    found = re.fullmatch(r"(\*|\d+(?:-\d+)?)(?:/(\d+))?", part)
    if not found:
        raise SpecError(f"{part!r} of the schedule is nothing that a systemd timer knows.")
    return found[1], found[2] or ""


def _quoted(text: str) -> str:
    """A word of ExecStart: systemd expands %, $ and backslashes within quotes, too."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{_value(escaped, percent=False).replace("$", "$$")}"'


def _value(text: str, percent: bool = True) -> str:
    if "\n" in text:
        raise SpecError("a systemd unit has no room for a path with a line break in it.")
    return text.replace("%", "%%") if percent else text

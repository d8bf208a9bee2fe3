"""The units of systemd: the same times as cron's, the same command, and nothing expanded."""

from __future__ import annotations

import shlex
import subprocess
from configparser import ConfigParser
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from actors.errors import SpecError
from cluster.exports.command import JobCommand
from cluster.exports.systemd import on_calendar, service, timer, unit_name


@pytest.mark.parametrize(
    ("schedule", "events"),
    [
        # Each was compared with `systemd-analyze calendar --iterations`, over a year.
        ("0 3 * * *", ["*-*-* 3:0:00"]),
        ("*/15 * * * *", ["*-*-* *:0/15:00"]),
        ("5,35 8-18/2 * * *", ["*-*-* 8..18/2:5,35:00"]),
        ("0 3 1 * *", ["*-*-1 3:0:00"]),
        ("0 3 */10 * *", ["*-*-1/10 3:0:00"]),
        ("0 3 * */3 *", ["*-1/3-* 3:0:00"]),
        ("0 3 * jan,jul *", ["*-1,7-* 3:0:00"]),
        ("0 3 * * 1-5", ["Mon,Tue,Wed,Thu,Fri *-*-* 3:0:00"]),
        ("0 3 * * mon-fri/2", ["Mon,Wed,Fri *-*-* 3:0:00"]),
        ("0 3 * * 5-7", ["Fri,Sat,Sun *-*-* 3:0:00"]),
        ("0 3 * * 0", ["Sun *-*-* 3:0:00"]),
        ("0 3 */10 * 1", ["Mon *-*-1/10 3:0:00"]),
        ("0 3 1-7 * */2", ["Sun,Tue,Thu,Sat *-*-1..7 3:0:00"]),
        # Either day counts, where both are named.
        ("0 3 13 * 5", ["*-*-13 3:0:00", "Fri *-*-* 3:0:00"]),
    ],
)
def test_a_schedule_has_the_same_times_in_systemd(schedule: str, events: list[str]) -> None:
    assert on_calendar(schedule) == events


@pytest.mark.parametrize("schedule", ["0 3 L * *", "0 3 * * 5#2"])
def test_what_systemd_does_not_know_is_refused(schedule: str) -> None:
    with pytest.raises(SpecError, match="systemd"):
        on_calendar(schedule)


def units(text: str) -> ConfigParser:
    parsed = ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(text)
    return parsed


def test_the_timer_has_the_zone_and_comes_once_if_it_was_missed() -> None:
    text = timer("bottega-faces", "0 3 * * *", "Europe/Zurich", once_if_missed=True)
    parsed = units(text)["Timer"]
    assert parsed["OnCalendar"] == "*-*-* 3:0:00 Europe/Zurich"
    assert parsed["Persistent"] == "true"
    assert "Persistent=false" in timer("x", "0 3 * * *", "UTC", once_if_missed=False)
    assert timer("x", "0 3 13 * 5", "UTC", once_if_missed=False).count("OnCalendar=") == 2


def test_the_command_reaches_the_shell_as_it_is(tmp_path: Path) -> None:
    words = ("/opt/a b/bottega", "run", '100% $HOME `x` "q" it\'s \\.yaml')
    text = service("bottega-faces", JobCommand(Path("/a b/100%"), words), "Europe/Zurich")
    parsed = units(text)["Service"]
    assert parsed["WorkingDirectory"] == "/a b/100%%"
    assert parsed["Type"] == "oneshot"
    # As systemd reads it: words in quotes with C's escapes, then its own specifiers and variables.
    shell, option, line = shlex.split(parsed["ExecStart"])
    given = line.replace("$$", "$").replace("%%", "%")
    assert (shell, option) == ("/bin/sh", "-c")
    assert given == f'{shlex.join(words)} --for "$(TZ=Europe/Zurich date +%F)"'
    assert line.replace("%%", "").count("%") == line.replace("$$", "").count("$") == 0


def test_a_path_with_a_line_break_is_refused() -> None:
    with pytest.raises(SpecError, match="line break"):
        service("x", JobCommand(Path("/x\n[Service]"), ("run",)), "UTC")


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
@pytest.mark.parametrize("machine", ["Pacific/Kiritimati", "Etc/GMT+12"])
def test_the_date_is_that_of_the_timers_zone_wherever_the_machine_is(
    zone: str, machine: str, tmp_path: Path
) -> None:
    text = service("x", JobCommand(tmp_path, ("echo",)), zone)
    shell = shlex.split(units(text)["Service"]["ExecStart"])
    shell[-1] = shell[-1].replace("$$", "$").replace("%%", "%")
    before = datetime.now(ZoneInfo(zone)).date()
    end = subprocess.run(
        shell, env={"PATH": "/usr/bin:/bin", "TZ": machine}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    # These two zones never have the same date: 26 hours are between them.
    found = date.fromisoformat(end.stdout.removeprefix("--for ").strip())
    assert before <= found <= datetime.now(ZoneInfo(zone)).date()


def test_a_service_in_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(SpecError, match="no time zone"):
        service("x", JobCommand(Path("/"), ("run",)), "Mars; rm -r /")


def test_names_of_units() -> None:
    assert unit_name("Faces, by night") == "bottega-faces-by-night"
    assert unit_name("Ü") == "bottega-job"

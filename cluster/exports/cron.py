"""A line of a crontab that runs a job and trusts its exit code."""

from __future__ import annotations

import shlex
from pathlib import Path

from actors.errors import SpecError
from cluster.exports.command import JobCommand
from cluster.exports.schedule import check_schedule


def crontab_line(command: JobCommand, schedule: str, log: Path) -> str:
    """The line, for `crontab -e`. Raises SpecError.

    The times and the date are in the machine's time zone: a crontab knows no other one everywhere.
    log: the file that gets the command's output. `flock` keeps two runs apart: one that begins
    while the one before it still runs ends with 0 at once, and is left out.
    """
    check_schedule(schedule)
    lock = shlex.quote(f"{log}.lock")
    line = command.shell_line('"$(date +%F)"')
    once = f"flock --nonblock --conflict-exit-code 0 {lock} {line}"
    line = f"cd {shlex.quote(str(command.folder))} && {once} >> {shlex.quote(str(log))} 2>&1"
    if "\n" in line:
        raise SpecError("a line of a crontab has no room for a path with a line break in it.")
    # To cron an unescaped % ends the command.
    return f"{schedule} {line}".replace("%", r"\%")

"""The command that a scheduler runs for a job: absolute, since its environment is not the user's.

It ends as the job does, so that a scheduler needs to know nothing but its exit code.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from cluster.exports.job_file import is_dated


@dataclass(frozen=True, slots=True)
class JobCommand:
    """The command of a job: `folder`, where the paths in the job file begin, and the `words`.

    The scheduler puts the date of the run behind them.
    """

    folder: Path
    words: tuple[str, ...]

    def shell_line(self, date: str) -> str:
        """The words, quoted for a shell. `date`: what gives the date there, as it is."""
        return f"{shlex.join(self.words)} --for {date}"


def command_of(job_file: Path, address: str | None, extend: bool) -> JobCommand:
    """The command for a job file in the current folder.

    address: of a cluster's dashboard, to which the job is submitted; a run that is there already is
    waited for. None: the job runs on this machine.
    """
    bottega = str(Path(sys.executable).with_name("bottega"))
    file = str(job_file.resolve())
    words = [bottega, "run", file]
    if address is not None:
        words = [bottega, "submit", file, "--wait", "--address", address]
    return JobCommand(Path.cwd(), (*words, *(["--extend"] if extend else [])))


def note_of(job_file: Path, extend: bool) -> str:
    """What to say of a job that each run but the first would find done; empty for another one."""
    if extend or is_dated(job_file):
        return ""
    return (
        "every run after the first will find this job done: write {date} in `output` for a dataset "
        "a day, or give --extend for an input that grows"
    )

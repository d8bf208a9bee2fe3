"""The command line that a scheduler runs: absolute, since its environment is not the user's."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class JobCommand:
    """The command of a job: `folder`, where the paths in the job file begin, and the `words`."""

    folder: Path
    words: tuple[str, ...]

    @property
    def shell_line(self) -> str:
        """The words, quoted for a shell."""
        return shlex.join(self.words)


def command_of(job_file: Path) -> JobCommand:
    """The command that runs a job file in the current folder, as this `bottega` would."""
    bottega = Path(sys.executable).with_name("bottega")
    return JobCommand(Path.cwd(), (str(bottega), "run", str(job_file.resolve())))

"""Submits runs and asks how they stand, with the command that people use."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from actors.errors import NoSuchJobError
from cluster.schedules.schedule import Schedule
from cluster.schedules.store import Run
from cluster.submission.decision import Action

BOTTEGA = Path(sys.executable).with_name("bottega")

CALL_SECONDS = 300.0
"""Of one command: a request to the cluster takes up to 120 s, and the start of a job 60 s more. One
that is killed may have submitted: the next one attaches."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a job stands: `job`, its id, and `state`, as `bottega status` has it.

    `starts`: whether a submit started the job, and did not attach to it or find it done. `error`:
    why there is no answer; the fields before are empty then. `is_unknown`: the cluster knows no
    such job.
    """

    job: str = ""
    state: str = ""
    reason: str = ""
    starts: bool = False
    error: str = ""
    is_unknown: bool = False


class Jobs(Protocol):
    """Submits a run, which attaches to it if it is there, and looks at one that was submitted."""

    def submit(self, schedule: Schedule, run_for: str) -> Answer:
        """Submit the schedule's job for a date."""

    def look(self, schedule: Schedule, run: Run) -> Answer:
        """How a submitted run stands."""


class CommandJobs:
    """With `bottega submit` and `bottega status`."""

    def submit(self, schedule: Schedule, run_for: str) -> Answer:
        """See `Jobs`."""
        words = ["submit", schedule.job_file, "--for", run_for, "--json", *schedule.options]
        return self._ask(schedule, words)

    def look(self, schedule: Schedule, run: Run) -> Answer:
        """See `Jobs`."""
        options = [o for o in schedule.options if o != "--extend"]
        return self._ask(schedule, ["status", run.job, "--json", *_without_shared(options)])

    def _ask(self, schedule: Schedule, words: list[str]) -> Answer:
        try:
            end = subprocess.run(
                [BOTTEGA, *words], cwd=schedule.folder, timeout=CALL_SECONDS,
                capture_output=True, text=True, errors="replace", check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Answer(error=f"`bottega {words[0]}` did not end within {CALL_SECONDS:g} s")
        except OSError as error:
            # The folder of the schedule may be gone, or the command.
            return Answer(error=f"cannot run `bottega {words[0]}` in {schedule.folder!r}: {error}")
        try:
            found: dict[str, Any] = json.loads(end.stdout)
            starts = found.get("action") == Action.START
            return Answer(found["id"], found["state"], found.get("reason") or "", starts)
        except (ValueError, KeyError, TypeError):
            return Answer(
                error=_last_words(end.stderr) or f"it ended with {end.returncode}",
                is_unknown=end.returncode == NoSuchJobError.exit_code,
            )


def _last_words(stderr: str) -> str:
    """The error that a command ended with, on one line; several mistakes have a line each."""
    lines = [line.strip() for line in stderr.strip().splitlines()]
    begins = [at for at, line in enumerate(lines) if line.startswith("bottega: ")]
    said = lines[begins[-1] :] if begins else lines[-1:]
    return " ".join(said).removeprefix("bottega: ")


def _without_shared(options: list[str]) -> list[str]:
    """The options that `status` has too."""
    kept, skip = [], False
    for option in options:
        if skip or option == "--shared":
            skip = not skip
            continue
        kept.append(option)
    return kept

"""Every error that Bottega raises on purpose.

    BottegaError
    ├── UserError               the user can mend it: shown without a traceback, exit code 2
    │   ├── SpecError           the job file, or an option of the command
    │   ├── InputError          the prompts
    │   │   └── NoInputError    there is no file of prompts
    │   ├── OutputError         the output folder
    │   ├── ModelError          a model that is missing, unsafe or does not fit its role
    │   ├── ClusterError        Ray is not there, or does not have what the pools ask for
    │   └── NoSuchJobError      neither the cluster nor an output knows the job: exit code 6
    ├── StorageError            a folder or an object store says no; those who use it say for whom
    │   └── MissingError        it has no such file
    └── JobError                the job started and could not end well: exit code 1
        ├── TooManyFailuresError    more rows failed than `max_failed` allows
        ├── PoolFailedError         a kind of actor does not start, or dies again and again
        ├── OutputFailedError       the output folder is full, gone, or not to be written to
        ├── StalledError            nothing happened for `stall_timeout_seconds`
        ├── NoPlaceError            the cluster had no place for `place_timeout_seconds`
        └── InterruptedJobError     Ctrl-C or SIGHUP: exit code 130
            └── CancelledJobError   SIGTERM, as `bottega cancel` sends: exit code 4

A message names the value, the rule and the next step, and never a secret. Every error survives
pickling between processes: all but StorageError are built from one string.
"""

from __future__ import annotations

from typing import Any

from actors.redact import redact


class BottegaError(Exception):
    """The root. `exit_code` is what the command line returns."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class UserError(BottegaError):
    """Something that the user wrote or chose, and can change."""

    exit_code = 2


class SpecError(UserError):
    """The job file, or an option of the command, breaks a rule."""


class InputError(UserError):
    """The prompts cannot be read as they are."""


class NoInputError(InputError):
    """The input has no file."""


class OutputError(UserError):
    """The output folder is not ours, or belongs to another job."""


class ModelError(UserError):
    """A model is missing, unsafe to load, or does not fit its role."""


class ClusterError(UserError):
    """Ray cannot be reached, or has too little for the pools."""


class StorageError(BottegaError):
    """A storage's refusal. `where what` is its sentence; `what` ends without a full stop.

    passing: whether it may go away by itself, so that trying again makes sense.
    """

    def __init__(self, where: str, what: str, passing: bool = False) -> None:
        super().__init__(f"{where} {what}.")
        self.where, self.what, self.passing = redact(where), redact(what), passing

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.where, self.what, self.passing)


class MissingError(StorageError):
    """A storage has no file of that name."""


class NoSuchJobError(UserError):
    """There is no job of this id or name, or at this output."""

    exit_code = 6


class JobError(BottegaError):
    """The job started and could not end well."""


class TooManyFailuresError(JobError):
    """More rows failed than the job allows."""


class PoolFailedError(JobError):
    """A kind of actor does not start, or dies again and again."""


class OutputFailedError(JobError):
    """The output folder is full, gone, or not to be written to."""


class StalledError(JobError):
    """No call came back for `stall_timeout_seconds`."""


class NoPlaceError(JobError):
    """The cluster had no place for an actor that the job needs, for `place_timeout_seconds`."""


class InterruptedJobError(JobError):
    """The user stopped the job; finished parts are safe."""

    exit_code = 130


class CancelledJobError(InterruptedJobError):
    """Somebody or something else stopped the job; finished parts are safe."""

    exit_code = 4


MOST_SAID = 300
"""Characters of a library's error in a sentence of ours. Some show a whole table."""


def said_by(error: BaseException) -> str:
    """What an error of a library says, in a line, and its class."""
    words = " ".join(str(error).split()).rstrip(".")[:MOST_SAID]
    return f"{words} ({type(error).__name__})" if words else type(error).__name__

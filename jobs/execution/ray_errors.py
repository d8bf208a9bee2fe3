"""Ray's exceptions by name, and what each means for a task: a `TaskError`.

Only the words of torch and of Ray's own reasons are read in a text; everything else goes by class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray import ObjectRef
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskUnschedulableError,
    WorkerCrashedError,
)

from actors.errors import BottegaError
from jobs.execution.executor import ErrorKind, TaskError

NODE_DIED = "its node has died"
"""In Ray's message on an actor that died with its node; its exception says so no other way."""

TORCH_OUT_OF_MEMORY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "HIP out of memory",
    "HIP error: out of memory",
    "MPS backend out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)
"""The beginnings of torch's own messages, on GPUs and on CPUs, where it raises a RuntimeError."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """Of an exception of Ray's, for an actor's task and for a file task.

    `reason`: the log's words in place of Ray's, where those name files and settings that are not
    the user's.
    """

    of_actor: ErrorKind
    of_file_task: ErrorKind
    reason: str | None = None


RAY_ERRORS: dict[type[RayError], Meaning] = {
    # Also ActorDiedError: its process was killed, crashed or ended. More on it in `task_error`.
    RayActorError: Meaning(ErrorKind.DIED, ErrorKind.DIED),
    # Ours are never restarted, so an actor that cannot be reached is given up.
    ActorUnavailableError: Meaning(ErrorKind.UNREACHABLE, ErrorKind.UNREACHABLE),
    WorkerCrashedError: Meaning(
        ErrorKind.DIED, ErrorKind.DIED, "its worker process died (a crash, or a signal)"
    ),
    # The memory monitor of a node that is nearly full kills a process of its choice; every
    # later call to an actor that it killed raises this again. Nothing to do with a GPU.
    OutOfMemoryError: Meaning(
        ErrorKind.EVICTED,
        ErrorKind.EVICTED,
        "its node ran out of main memory, and Ray's memory monitor killed it",
    ),
    NodeDiedError: Meaning(ErrorKind.NODE_LOST, ErrorKind.NODE_LOST),
    LocalRayletDiedError: Meaning(
        ErrorKind.NODE_LOST, ErrorKind.NODE_LOST, "the raylet of its node died"
    ),
    # The node that it was sent to went meanwhile.
    TaskUnschedulableError: Meaning(ErrorKind.NODE_LOST, ErrorKind.NODE_LOST),
    # What it made had no place, after Ray had spilled and tried again; its process lives.
    ObjectStoreFullError: Meaning(
        ErrorKind.NODE_FULL, ErrorKind.NODE_FULL, "the object store of its node is full"
    ),
    OutOfDiskError: Meaning(
        ErrorKind.NODE_FULL,
        ErrorKind.NODE_FULL,
        "the object store of its node is full, and so is the disk that it spills to",
    ),
    # Also ObjectFetchTimedOutError, ObjectFreedError, OwnerDiedError,
    # ObjectReconstructionFailedError and ReferenceCountingAssertionError, its subclasses.
    ObjectLostError: Meaning(ErrorKind.OBJECT_LOST, ErrorKind.OBJECT_LOST),
}
"""The class of an exception that is not here, or the next of its bases that is; all others RAISED.

Among those: RuntimeEnvSetupError and ActorUnschedulableError, which the next try would raise as
well.
"""


def task_error(error: RayError, inputs: Sequence[ObjectRef[Any]], of_actor: bool) -> TaskError:
    """The meaning of an exception for the task that raised it, and for its actor if any."""
    cause = _cause(error)
    if error is not cause and not isinstance(
        cause, ObjectLostError | ObjectStoreFullError | OutOfDiskError
    ):
        # Raised by our code: by Ray, in a worker that lives, come only those three.
        return TaskError(_kind_of_raised(cause), _reason(error))
    meaning = next((RAY_ERRORS[kind] for kind in type(cause).__mro__ if kind in RAY_ERRORS), None)
    if meaning is None:
        return TaskError(_kind_of_raised(cause), _reason(error))
    kind = meaning.of_actor if of_actor else meaning.of_file_task
    reason = meaning.reason or _reason(error)
    if isinstance(cause, ObjectLostError):
        lost = (ref for ref in inputs if ref.hex() == cause.object_ref_hex)
        return TaskError(kind, reason, lost=next(lost, None))
    if isinstance(error, ActorDiedError):
        if error.actor_init_failed:
            return TaskError(ErrorKind.RAISED, reason)
        if error.preempted or NODE_DIED in str(error):
            return TaskError(ErrorKind.NODE_LOST, reason)
    return TaskError(kind, reason)


def _kind_of_raised(error: BaseException) -> ErrorKind:
    """OUT_OF_MEMORY if torch says so, or Python does of main memory: fewer rows at once may fit."""
    torchs = any(
        kind.__module__.partition(".")[0] == "torch" and kind.__name__ == "OutOfMemoryError"
        for kind in type(error).__mro__
    )
    text = str(error)
    words = isinstance(error, RuntimeError) and any(each in text for each in TORCH_OUT_OF_MEMORY)
    if torchs or words or isinstance(error, MemoryError):
        return ErrorKind.OUT_OF_MEMORY
    return ErrorKind.RAISED


def _cause(error: RayError) -> BaseException:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def _reason(error: RayError) -> str:
    """The last line of the error: the exception itself, without Ray's stack."""
    cause = _cause(error)
    if isinstance(cause, BottegaError):
        return str(cause)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    if isinstance(error, RayTaskError) and cause is not error:
        return f"{type(cause).__name__}: {lines[0] if lines else 'no message'}"
    return lines[-1] if lines else type(error).__name__

"""The events that observers of a job see; public, as the names of `jobs` are (docs/python.md)."""

from jobs.execution.executor import ErrorKind
from jobs.execution.observers import (
    ActorDied,
    ActorLoaded,
    ActorNotLoaded,
    ActorReplaced,
    CallEnded,
    CallFailed,
    CallSent,
    JobEvent,
    MicroBatchHalved,
    PartCommitted,
    SizesChanged,
    Stopping,
    StoreMeasured,
)
from jobs.execution.progress import Progress

__all__ = [
    "ActorDied",
    "ActorLoaded",
    "ActorNotLoaded",
    "ActorReplaced",
    "CallEnded",
    "CallFailed",
    "CallSent",
    "ErrorKind",
    "JobEvent",
    "MicroBatchHalved",
    "PartCommitted",
    "Progress",
    "SizesChanged",
    "Stopping",
    "StoreMeasured",
]

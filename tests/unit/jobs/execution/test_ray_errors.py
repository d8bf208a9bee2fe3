"""The kinds of task errors that Ray's exceptions become."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ray import exceptions
from ray.core.generated.common_pb2 import ActorDiedErrorContext, NodeDeathInfo
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectFetchTimedOutError,
    ObjectFreedError,
    ObjectLostError,
    ObjectReconstructionFailedError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    OwnerDiedError,
    RayActorError,
    RayError,
    RaySystemError,
    RayTaskError,
    ReferenceCountingAssertionError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)

from jobs.execution.executor import GONE, ErrorKind
from jobs.execution.ray_errors import RAY_ERRORS, task_error


class Ref:
    def __init__(self, name: str) -> None:
        self.name = name

    def hex(self) -> str:
        return self.name


INPUTS: list[Any] = [Ref("aa"), Ref("bb"), Ref("cc")]

MONITOR = (
    "Task was killed due to the node running low on memory.\nMemory on the node was 15.3GB / "
    "16.0GB (0.95), which exceeds the memory usage threshold of 0.95. Refer to the documentation "
    "on how to address the out of memory issue: https://docs.ray.io."
)
"""What Ray's memory monitor says; torch has the same words for a GPU."""


def raised(cause: Exception) -> RayTaskError:
    return RayTaskError("refine", "a long traceback", cause)


def dead(words: str, **fields: Any) -> ActorDiedError:
    context = ActorDiedErrorContext(error_message=words, actor_id=b"0" * 16, **fields)
    return ActorDiedError(context)


PREEMPTED = NodeDeathInfo(reason=NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED)


@pytest.mark.parametrize(
    ("error", "of_actor", "of_file_task"),
    [
        (RayActorError(), ErrorKind.DIED, ErrorKind.DIED),
        (ActorDiedError(), ErrorKind.DIED, ErrorKind.DIED),
        (dead("Worker exits with an exit code 137."), ErrorKind.DIED, ErrorKind.DIED),
        (dead("", node_death_info=PREEMPTED), ErrorKind.NODE_LOST, ErrorKind.NODE_LOST),
        (
            dead("The actor died because its node has died. Node Id: 0000"),
            ErrorKind.NODE_LOST,
            ErrorKind.NODE_LOST,
        ),
        (ActorDiedError(raised(OSError("no such model"))), ErrorKind.RAISED, ErrorKind.RAISED),
        (
            ActorUnavailableError("gone", b"0" * 16),
            ErrorKind.UNREACHABLE,
            ErrorKind.UNREACHABLE,
        ),
        (WorkerCrashedError(), ErrorKind.DIED, ErrorKind.DIED),
        (OutOfMemoryError(MONITOR), ErrorKind.EVICTED, ErrorKind.EVICTED),
        (NodeDiedError("gone"), ErrorKind.NODE_LOST, ErrorKind.NODE_LOST),
        (LocalRayletDiedError(), ErrorKind.NODE_LOST, ErrorKind.NODE_LOST),
        (ObjectStoreFullError("full"), ErrorKind.NODE_FULL, ErrorKind.NODE_FULL),
        (raised(ObjectStoreFullError("full")), ErrorKind.NODE_FULL, ErrorKind.NODE_FULL),
        (OutOfDiskError("full"), ErrorKind.NODE_FULL, ErrorKind.NODE_FULL),
        (raised(OutOfDiskError("full")), ErrorKind.NODE_FULL, ErrorKind.NODE_FULL),
        (RuntimeEnvSetupError("no pip"), ErrorKind.RAISED, ErrorKind.RAISED),
        (RaySystemError("out of memory"), ErrorKind.RAISED, ErrorKind.RAISED),
    ],
)
def test_each_of_rays_exceptions_has_its_meaning(
    error: RayError, of_actor: ErrorKind, of_file_task: ErrorKind
) -> None:
    assert task_error(error, INPUTS, of_actor=True).kind is of_actor
    assert task_error(error, INPUTS, of_actor=False).kind is of_file_task


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (ValueError("bad"), ErrorKind.RAISED),
        (torch.OutOfMemoryError("Tried to allocate 2.00 GiB."), ErrorKind.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: out of memory"), ErrorKind.OUT_OF_MEMORY),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate "
                "memory: you tried to allocate 4611686018427387904 bytes."
            ),
            ErrorKind.OUT_OF_MEMORY,
        ),
        (MemoryError(), ErrorKind.OUT_OF_MEMORY),
        (RuntimeError("the tokenizer ran out of memory tokens"), ErrorKind.RAISED),
        (OSError("out of memory"), ErrorKind.RAISED),
        # Of a task that an oracle of the user's own started: our actor lives.
        (OutOfMemoryError(MONITOR), ErrorKind.RAISED),
        (ActorDiedError(), ErrorKind.RAISED),
    ],
)
def test_what_our_code_raises_is_out_of_memory_only_where_torch_or_python_says_so(
    cause: Exception, kind: ErrorKind
) -> None:
    assert task_error(raised(cause), INPUTS, of_actor=True).kind is kind


def test_every_exception_of_rays_that_says_that_something_is_gone_is_in_the_table() -> None:
    """A new one in a later version of Ray should be looked at."""
    words = ("Died", "Crashed", "Full", "OutOf", "Lost")
    for name, kind in vars(exceptions).items():
        if not isinstance(kind, type) or not issubclass(kind, RayError):
            continue
        if any(word in name for word in words):
            assert any(base in RAY_ERRORS for base in kind.__mro__), name


def test_after_a_death_of_any_kind_the_actor_is_gone() -> None:
    kinds = {meaning.of_actor for meaning in RAY_ERRORS.values()}
    assert kinds - GONE == {ErrorKind.NODE_FULL, ErrorKind.OBJECT_LOST}


@pytest.mark.parametrize(
    "lost",
    [
        ObjectReconstructionFailedError,
        OwnerDiedError,
        ObjectLostError,
        ObjectFetchTimedOutError,
        ObjectFreedError,
        ReferenceCountingAssertionError,
    ],
)
@pytest.mark.parametrize("wrapped", [True, False])
def test_of_several_inputs_the_lost_one_is_found(lost: Any, wrapped: bool) -> None:
    error = lost("bb", None, "")
    error = task_error(raised(error) if wrapped else error, INPUTS, of_actor=True)
    assert error.kind is ErrorKind.OBJECT_LOST
    assert error.lost is INPUTS[1]


def test_a_lost_thing_that_is_no_input_is_not_guessed() -> None:
    error = ObjectReconstructionFailedError("ee", None, "")
    assert task_error(error, INPUTS, of_actor=True).lost is None


def test_the_reason_is_what_happened_and_not_the_stack() -> None:
    assert task_error(raised(ValueError("bad")), INPUTS, True).reason == "ValueError: bad"
    evicted = task_error(OutOfMemoryError(MONITOR), INPUTS, True)
    assert evicted.reason == "its node ran out of main memory, and Ray's memory monitor killed it"

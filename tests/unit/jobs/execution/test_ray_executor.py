"""The kinds of task errors that Ray's exceptions become."""

from __future__ import annotations

from typing import Any

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    ObjectReconstructionFailedError,
    OwnerDiedError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from jobs.execution.executor import ErrorKind
from jobs.execution.ray_executor import _task_error


class Ref:
    def __init__(self, name: str) -> None:
        self.name = name

    def hex(self) -> str:
        return self.name


INPUTS: list[Any] = [Ref("aa"), Ref("bb"), Ref("cc")]


def raised(cause: Exception) -> RayTaskError:
    return RayTaskError("refine", "a long traceback", cause)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (raised(ValueError("bad")), ErrorKind.RAISED),
        (raised(RuntimeError("CUDA error: out of memory")), ErrorKind.OUT_OF_MEMORY),
        (raised(RuntimeError("[enforce fail] can't allocate memory")), ErrorKind.OUT_OF_MEMORY),
        (raised(MemoryError()), ErrorKind.OUT_OF_MEMORY),
        (ActorDiedError(), ErrorKind.DIED),
        (ActorDiedError(raised(OSError("no such model"))), ErrorKind.RAISED),
        (ActorUnavailableError("node gone", b"0" * 16), ErrorKind.DIED),
        (NodeDiedError("gone"), ErrorKind.NODE_LOST),
        (WorkerCrashedError(), ErrorKind.RAISED),
    ],
)
def test_each_error_is_trouble_of_its_kind(error: RayError, kind: ErrorKind) -> None:
    assert _task_error(error, INPUTS).kind is kind


@pytest.mark.parametrize("lost", [ObjectReconstructionFailedError, OwnerDiedError])
@pytest.mark.parametrize("wrapped", [True, False])
def test_of_several_inputs_the_lost_one_is_found(lost: Any, wrapped: bool) -> None:
    error = lost("bb", None, "")
    error = _task_error(raised(error) if wrapped else error, INPUTS)
    assert error.kind is ErrorKind.OBJECT_LOST
    assert error.lost is INPUTS[1]


def test_a_lost_thing_that_is_no_input_is_not_guessed() -> None:
    assert _task_error(ObjectReconstructionFailedError("ee", None, ""), INPUTS).lost is None


def test_the_reason_is_what_happened_and_not_the_stack() -> None:
    assert _task_error(raised(ValueError("bad")), INPUTS).reason == "ValueError: bad"

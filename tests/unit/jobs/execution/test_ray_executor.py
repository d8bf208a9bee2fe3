"""What Ray's errors mean to the crew."""

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

from jobs.execution.executor import Kind
from jobs.execution.ray_executor import _trouble


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
        (raised(ValueError("bad")), Kind.RAISED),
        (raised(RuntimeError("CUDA error: out of memory")), Kind.OUT_OF_MEMORY),
        (raised(RuntimeError("[enforce fail] can't allocate memory")), Kind.OUT_OF_MEMORY),
        (raised(MemoryError()), Kind.OUT_OF_MEMORY),
        (ActorDiedError(), Kind.DIED),
        (ActorDiedError(raised(OSError("no such model"))), Kind.RAISED),
        (ActorUnavailableError("node gone", b"0" * 16), Kind.DIED),
        (NodeDiedError("gone"), Kind.UNLUCKY),
        (WorkerCrashedError(), Kind.RAISED),
    ],
)
def test_each_error_is_trouble_of_its_kind(error: RayError, kind: Kind) -> None:
    assert _trouble(error, INPUTS).kind is kind


@pytest.mark.parametrize("lost", [ObjectReconstructionFailedError, OwnerDiedError])
@pytest.mark.parametrize("wrapped", [True, False])
def test_of_several_inputs_the_lost_one_is_found(lost: Any, wrapped: bool) -> None:
    error = lost("bb", None, "")
    trouble = _trouble(raised(error) if wrapped else error, INPUTS)
    assert trouble.kind is Kind.INPUT_LOST
    assert trouble.lost is INPUTS[1]


def test_a_lost_thing_that_is_no_input_is_not_guessed() -> None:
    assert _trouble(ObjectReconstructionFailedError("ee", None, ""), INPUTS).lost is None


def test_the_reason_is_what_happened_and_not_the_stack() -> None:
    assert _trouble(raised(ValueError("bad")), INPUTS).reason == "ValueError: bad"

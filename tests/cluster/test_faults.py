"""Faults of actors on a real Ray: rows that break them, actors that are broken, that hang, and
devices without room. Nodes and drivers die in tests/chaos."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from actors.actor_classes import actor_classes
from actors.settings import ModelSettings
from actors.teacher import Teacher
from actors.timed import TimedOracle, TimedStudent, TimedTeacher
from jobs.execution.progress import Progress
from jobs.resolution import Job
from tests.cluster.conftest import CAPTIONS, FIELDS, RunJob, hashes, rows_of
from tests.cluster.idle_actors import IdleActors

Strike = Callable[[Sequence[str], int], None]


def struck(kind: type, method: str, strike: Strike) -> type:
    """The class of actors with a method that first calls `strike(prompts, micro_batch_size)`."""
    original = getattr(kind, method)

    def do(
        self: Any, prompts: Sequence[str], *rest: Any, micro_batch_size: int, **options: Any
    ) -> Any:
        strike(prompts, micro_batch_size)
        return original(self, prompts, *rest, micro_batch_size=micro_batch_size, **options)

    return type(kind.__name__, (kind,), {method: do})


def play(patch: pytest.MonkeyPatch, **roles: type) -> None:
    """Have these classes play their roles on the real Ray."""

    def kinds(models: ModelSettings) -> dict[str, type]:
        return {**actor_classes(models), **roles}

    patch.setattr("jobs.execution.ray_executor.actor_classes", kinds)


def at_its_threshold(done: tuple[Job, Progress], out: Path) -> dict[str, Any]:
    """The fields of the job of `done`, without its calibration: faults are for the job itself."""
    job, _ = done
    budget = {"threshold": float(job.output.require_job()["threshold"])}
    own = {"input": job.spec.input, "output": str(out), "models": job.spec.models.model_dump()}
    return {**FIELDS, **own, "budget": budget}


def test_a_poison_row_of_each_pool_fails_alone_and_a_retry_mends_it(
    done_by_stand_ins: tuple[Job, Progress], run_here: RunJob, tmp_path: Path
) -> None:
    """One row raises when it is drawn, one when it is scored, and one kills the teacher."""
    done = done_by_stand_ins
    faultless = rows_of(done[0].output.path)
    rejected = [n for n, row in enumerate(faultless) if row["source"] == "teacher"]
    drawn, scored, refined = 3, 13, next(n for n in rejected if n not in (3, 13))

    def poison(row: int) -> Strike:
        prompt = CAPTIONS[row]

        def strike(prompts: Sequence[str], _: int) -> None:
            if prompt in prompts:
                raise ValueError("poison")

        return strike

    killing = CAPTIONS[refined]

    def kill(prompts: Sequence[str], _: int) -> None:
        if killing in prompts:
            os.kill(os.getpid(), signal.SIGKILL)

    fields = {**at_its_threshold(done, tmp_path / "out"), "max_attempts": 1, "max_failed": 3}
    with pytest.MonkeyPatch.context() as patch:
        play(
            patch,
            student=struck(TimedStudent, "draw", poison(drawn)),
            oracle=struck(TimedOracle, "score", poison(scored)),
            teacher=struck(TimedTeacher, "refine", kill),
        )
        job, progress = run_here(**fields)
    assert progress.failed_rows == 3
    rows = rows_of(job.output.path)
    assert {n: rows[n]["error"] for n in range(22) if rows[n]["status"] == "failed"} == {
        drawn: "draw: ValueError: poison",
        scored: "score drawn: ValueError: poison",
        refined: "refine: its actor died",
    }
    good = set(range(22)) - {drawn, scored, refined}
    assert [rows[n] for n in good] == [faultless[n] for n in good]
    _, progress = run_here(retry=True, **fields)
    assert progress.failed_rows == 0
    assert hashes(job.output.path) == hashes(done[0].output.path)


def test_an_actor_that_raises_at_everything_and_one_that_hangs_change_no_byte(
    done_by_stand_ins: tuple[Job, Progress],
    run_here: RunJob,
    idle_actors: IdleActors,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first of two students is broken; the first busy teacher is stopped (SIGSTOP)."""
    idle_actors.clear()
    done = done_by_stand_ins
    first, stopped = str(tmp_path / "first"), list[psutil.Process]()

    def broken(_prompts: Sequence[str], _: int) -> None:
        pid = str(os.getpid())
        try:
            with open(first, "x") as file:
                file.write(pid)
        except FileExistsError:
            with open(first) as file:
                if file.read() != pid:
                    return
        raise RuntimeError("CUDA error: device-side assert triggered")

    def stop(dispatcher: Any) -> None:
        if not stopped and any(actor.calls for actor in dispatcher.pools["teacher"].actors):
            stopped.extend(_actors("ray::TimedTeacher"))
            stopped[0].suspend()

    with pytest.MonkeyPatch.context() as patch:
        play(patch, student=struck(TimedStudent, "draw", broken))
        run_here(
            watch=stop,
            call_timeout_seconds=10,
            pools={"student": {"size": 2}, "oracle": {"size": 1}, "teacher": {"size": 1}},
            **at_its_threshold(done, tmp_path / "out"),
        )
    assert hashes(tmp_path / "out") == hashes(done[0].output.path)
    assert "student: an actor is replaced: 2 calls in a row failed on it" in caplog.text
    assert "teacher: an actor is replaced: no answer for 10 s" in caplog.text
    assert psutil.wait_procs(stopped, timeout=60)[1] == [], "it holds memory or a GPU"


def _actors(name: str) -> list[psutil.Process]:
    """Ray's workers call themselves by what they do: `ray::Teacher.refine`."""
    below = psutil.Process().children(recursive=True)
    return [process for process in below if " ".join(process.cmdline()).startswith(name)]


def test_a_device_without_room_computes_fewer_rows_at_once(
    done: tuple[Job, Progress], run_here: RunJob, tmp_path: Path
) -> None:
    """A teacher with room for one row where three are asked of it; every row is refined."""

    def full(_prompts: Sequence[str], micro_batch_size: int) -> None:
        if micro_batch_size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.MonkeyPatch.context() as patch:
        play(patch, teacher=struck(Teacher, "refine", full))
        job, progress = run_here(**at_its_threshold(done, tmp_path / "out"))
    assert progress.failed_rows == 0
    smaller = [record.get("smaller_batches") for record in job.output.records().values()]
    assert {"teacher": 1} in smaller
    for row, faultless in zip(rows_of(tmp_path / "out"), rows_of(done[0].output.path), strict=True):
        if row["source"] == "student":
            assert row == faultless
        else:
            # Another batch size changes the last bits of a float, and so now and then a rounding.
            assert np.abs(_pixels(row) - _pixels(faultless)).max() <= 1


def _pixels(row: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(BytesIO(row["image"]["bytes"])), dtype=int)

"""Real Ray, real pipelines (the embedded ones), small jobs."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from actors.errors import InterruptedJobError
from cluster.cli import main
from cluster.session import ray_session
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.launch import dispatcher_on_ray
from jobs.execution.progress import Progress
from jobs.execution.resources import Resources
from jobs.execution.run import retry_job, run_job
from jobs.resolution import Job, resolve
from jobs.spec.job_spec import make_spec
from tests.cluster.head import Head, head_in
from tests.cluster.idle_actors import IdleActors, keeping_actors
from tests.stand_ins import STAND_INS

CAPTIONS = [
    f"a {size} {colour} {shape} on a {ground} background"
    for size in ("small", "large")
    for colour in ("red", "blue", "green")
    for shape in ("circle", "square")
    for ground in ("gray", "white")
]

FAST: dict[str, Any] = {
    "models": {
        "preset": "shapes",
        "student": {"steps": 2, "batch_size": 4},
        "oracle": {"batch_size": 4},
        "teacher": {"batch_size": 3},
    },
    "pools": {name: {"size": 1} for name in ("student", "oracle", "teacher")},
    "teacher_steps": 3,
    "seed": 7,
    "rows_per_part": 8,
    "calibration_rows": 8,
}
"""A job that is cheap but has everything: several parts, short batches, some rows refined."""


FIELDS: dict[str, Any] = {"budget": {"refine": 0.4}, "save_student": True, "id_column": "id"}
"""The fields that the job of `done` adds to FAST."""


@pytest.fixture(scope="package")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder from which the driver and the workers of `ray_here` import."""
    return tmp_path_factory.mktemp("modules")


@pytest.fixture(scope="package")
def ray_here(modules: Path) -> Iterator[Resources]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(modules), prepend=os.pathsep)
        patch.syspath_prepend(modules)
        with ray_session(None) as have:
            yield have


@pytest.fixture(scope="package")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """The head of the tests that submit jobs; it starts in ten seconds or more."""
    with head_in(tmp_path_factory.mktemp("head")) as head:
        yield head


@pytest.fixture(scope="package")
def idle_actors(ray_here: Resources) -> Iterator[IdleActors]:
    with keeping_actors() as idle:
        yield idle


@pytest.fixture(scope="package")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """22 prompts (two parts of 8 and one of 6) with columns of the user's own."""
    file = tmp_path_factory.mktemp("input") / "prompts.parquet"
    prompts = CAPTIONS[:22]
    table = pa.table({"id": [f"row-{n}" for n in range(22)], "prompt": prompts, "n": range(22)})
    pq.write_table(table, file)
    return file


RunJob = Callable[..., tuple[Job, Progress]]
RunCommand = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="package")
def run_here(ray_here: Resources, idle_actors: IdleActors) -> RunJob:
    """Run a job in this process, with actors of earlier jobs; fields replace those of FAST."""

    def run(
        watch: Callable[[Dispatcher], None] | None = None,
        extend: bool = False,
        retry: bool = False,
        wait_for_all: bool = False,
        **fields: Any,
    ) -> tuple[Job, Progress]:
        """watch: called again and again. wait_for_all: go on when every actor has loaded."""
        job = resolve(make_spec({**FAST, **fields}))
        dispatchers: list[Dispatcher] = []

        def make_dispatcher(job: Job) -> Dispatcher:
            dispatchers.append(dispatcher_on_ray(job, ray_here, stop))
            return dispatchers[-1]

        def stop() -> bool:
            nonlocal wait_for_all
            if wait_for_all:
                wait_for_all = False
                _wait_for_actors(dispatchers[-1])
            if watch:
                watch(dispatchers[-1])
            return False

        if retry:
            return job, retry_job(job, make_dispatcher)
        return job, run_job(job, make_dispatcher, extend=extend)

    return run


def _wait_for_actors(dispatcher: Dispatcher) -> None:
    """Or those that were idle would have done the job before the others have loaded."""
    loading = [actor.loading for pool in dispatcher.pools.values() for actor in pool.actors]
    ray.wait(loading, num_returns=len(loading))


def bottega_in_process(
    *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end in this process, as `bottega` of test_command does in its own.

    Raises KeyboardInterrupt after a signal: no test sends one here, so it is for pytest, and the
    test did not fail because its job ended cleanly.
    """
    out, err, code = StringIO(), StringIO(), 0
    logger = logging.getLogger("bottega")
    handlers, level = logger.handlers, logger.level
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        patch.setenv("COLUMNS", "160")
        patch.setattr("sys.argv", ["bottega", *map(str, arguments)])
        patch.chdir(cwd or Path.cwd())
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            logger.handlers = handlers
            logger.setLevel(level)
    if code == InterruptedJobError.exit_code:
        raise KeyboardInterrupt
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.fixture
def sessions_here(
    ray_here: Resources, idle_actors: IdleActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have `ray_session` attach to the Ray of these tests: nothing starts or loads twice."""
    monkeypatch.setattr("cluster.session.ray_session", lambda *_: nullcontext(ray_here))


@pytest.fixture
def bottega_here(sessions_here: None) -> RunCommand:
    """`bottega_in_process` on the Ray of these tests."""
    return bottega_in_process


@pytest.fixture(scope="package")
def fetched() -> list[object]:
    """Everything that the driver of `done` fetched from Ray."""
    return []


@pytest.fixture(scope="package")
def done(
    run_here: RunJob,
    captions: Path,
    tmp_path_factory: pytest.TempPathFactory,
    fetched: list[object],
) -> tuple[Job, Progress]:
    """One whole job with one actor of each kind: what other runs are compared with."""
    out = tmp_path_factory.mktemp("job") / "out"
    original = ray.get

    def spy(*args: Any, **kwargs: Any) -> Any:
        value = original(*args, **kwargs)
        fetched.append(value)
        return value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "get", spy)
        return run_here(input=str(captions), output=str(out), **FIELDS)


@pytest.fixture(scope="package")
def done_by_stand_ins(
    run_here: RunJob, captions: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Job, Progress]:
    """The same with models that wait instead of computing, for what is to be seen without them."""
    out = tmp_path_factory.mktemp("stand-ins") / "out"
    return run_here(input=str(captions), output=str(out), models=STAND_INS["models"], **FIELDS)


def hashes(folder: Path) -> dict[str, str]:
    """The data files of an output folder, by content."""
    return {
        file.name: sha256(file.read_bytes()).hexdigest()
        for file in sorted((folder / "data").rglob("*.parquet"))
    }


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Every row of an output folder, in order."""
    files = sorted((folder / "data").rglob("*.parquet"))
    rows: list[dict[str, Any]] = pa.concat_tables([pq.read_table(f) for f in files]).to_pylist()
    return rows

"""Real Ray, real pipelines (the embedded ones), small jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from cluster.session import ray_session
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.launch import Resources, dispatcher_on_ray
from jobs.execution.progress import Progress
from jobs.execution.run import retry_job, run_job
from jobs.resolution import Job, resolve
from jobs.spec.job_spec import make_spec

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
"""What the job of `done` adds to FAST."""


@pytest.fixture(scope="session")
def ray_here() -> Iterator[Resources]:
    with ray_session(None) as have:
        yield have


@pytest.fixture(scope="session")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """22 prompts (two parts of 8 and one of 6) with columns of the user's own."""
    file = tmp_path_factory.mktemp("input") / "prompts.parquet"
    prompts = CAPTIONS[:22]
    table = pa.table({"id": [f"row-{n}" for n in range(22)], "prompt": prompts, "n": range(22)})
    pq.write_table(table, file)
    return file


RunJob = Callable[..., tuple[Job, Progress]]


@pytest.fixture(scope="session")
def run_here(ray_here: Resources) -> RunJob:
    """Run a job in this process; fields replace those of FAST."""

    def run(
        watch: Callable[[Dispatcher], None] | None = None,
        extend: bool = False,
        retry: bool = False,
        **fields: Any,
    ) -> tuple[Job, Progress]:
        job = resolve(make_spec({**FAST, **fields}))
        dispatchers: list[Dispatcher] = []

        def make_dispatcher() -> Dispatcher:
            dispatchers.append(dispatcher_on_ray(job, ray_here, stop))
            return dispatchers[0]

        def stop() -> bool:
            if watch:
                watch(dispatchers[0])
            return False

        if retry:
            return job, retry_job(job, make_dispatcher)
        return job, run_job(job, make_dispatcher, extend=extend)

    return run


@pytest.fixture(scope="session")
def fetched() -> list[object]:
    """Everything that the driver of `done` fetched from Ray."""
    return []


@pytest.fixture(scope="session")
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


def hashes(folder: Path) -> dict[str, str]:
    """The data files of an output folder, by content."""
    return {
        file.name: sha256(file.read_bytes()).hexdigest()
        for file in sorted((folder / "data").glob("*.parquet"))
    }


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Every row of an output folder, in order."""
    files = sorted((folder / "data").glob("*.parquet"))
    rows: list[dict[str, Any]] = pa.concat_tables([pq.read_table(f) for f in files]).to_pylist()
    return rows

"""How long a resumed job takes until its actors would start, and until its parts are there.

    python -m benchmarks.resume --parts 100000 --holes 100

It makes a dataset of many small parts, removes the records of some that are spread over all, and
times resolving the job, the checks, and reading every record; then reading the input's rows of the
missing parts. The first start reads the records one by one; later ones read their index.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.execution.calibration import Calibration
from jobs.execution.run import run_job
from jobs.identity import write_job
from jobs.output.columns import RowResult
from jobs.output.encode import encode_one
from jobs.output.folder import PARTS_PER_FOLDER
from jobs.output.writer import write_part
from jobs.resolution import Job, resolve
from jobs.spec.job_spec import make_spec
from jobs.spec.picture_formats import PNG

REPEATS = 3
"""The fastest counts: other processes only add time."""


class ReadyToWorkError(Exception):
    """The actors would start now."""


def make_dataset(folder: Path, num_parts: int, holes: int) -> Callable[[], Job]:
    """Make a dataset of one-row parts without some; returns what resolves its job.

    Every part is a link to the first: a start looks at names, sizes and records.
    """
    prompts = folder / "prompts.parquet"
    text = "a small red circle on a gray background"
    pq.write_table(pa.table({"prompt": [f"{text} {n}" for n in range(num_parts)]}), prompts)

    def resolved() -> Job:
        one = {"batch_size": 1}
        models = {"preset": "shapes", "student": one, "teacher": one}
        fields = {"input": str(prompts), "output": str(folder / "out"), "models": models}
        return resolve(make_spec({**fields, "rows_per_part": 1, "budget": {"threshold": 0.0}}))

    job = resolved()
    job.output.path.mkdir()
    write_job(job, Calibration((), 0.0, 0.0, 0, {}, 0.0).as_json(), replace=False)
    png = pa.array([encode_one(np.zeros((64, 64, 3), np.uint8), PNG)])
    (first,) = job.prompts.parts(only=[0])
    row = RowResult(first.seeds[0], 0.5, None, "student", 2, False, None, (0, 0), None)
    record = write_part(job.output, 0, 0, first.table, [row], "png", False, {}, png)
    missing = {num_parts - 1 - num_parts * hole // holes for hole in range(holes)}
    original = job.output.path / job.output.part_name(0)
    for index in range(1, num_parts):
        file, place = (
            job.output.path / name
            for name in (job.output.part_name(index), job.output.record_name(index))
        )
        if index % PARTS_PER_FOLDER == 0:
            file.parent.mkdir(parents=True)
            place.parent.mkdir(parents=True)
        if index in missing:
            continue
        # File systems have a most number of links to a file.
        if index % PARTS_PER_FOLDER in (0, 1):
            shutil.copy(job.output.path / job.output.part_name(0), file)
            original = file
        else:
            file.hardlink_to(original)
        place.write_text(json.dumps({**record, "part": index, "first_row": index}))
    return resolved


def seconds_to_read(job: Job, missing: list[int]) -> float:
    """Seconds to read the input's rows of these parts."""
    begin = perf_counter()
    assert [part.index for part in job.prompts.parts(only=missing)] == missing
    return perf_counter() - begin


def seconds_to_work(resolved: Callable[[], Job]) -> float:
    """Seconds from the job's fields to the start of its actors."""

    def dispatcher(_: object) -> None:
        raise ReadyToWorkError

    begin = perf_counter()
    try:
        run_job(resolved(), dispatcher)  # type: ignore[arg-type]
    except ReadyToWorkError:
        return perf_counter() - begin
    raise AssertionError("there was nothing to do")


def main() -> None:
    """Print a line for each number of parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--holes", type=int, default=1)
    args = parser.parse_args()
    for num_parts in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            resolved = make_dataset(Path(folder), num_parts, args.holes)
            times = [seconds_to_work(resolved) for _ in range(1 + REPEATS)]
            job = resolved()
            there = job.output.records()
            missing = [index for index in range(num_parts) if index not in there]
            reading = seconds_to_read(job, missing)
        shown = ", ".join(f"{seconds:.2f}" for seconds in times)
        print(
            f"{num_parts:7,} parts, {len(missing):,} missing: {times[0]:.2f} s the first time, "
            f"{median(times[1:]):.2f} s later (of {shown}); their rows are read in {reading:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()

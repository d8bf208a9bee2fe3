"""How long a resumed job takes until its actors would start: `python benchmarks/resume.py`.

It makes a dataset of many small parts, removes one record, and times resolving the job, the checks,
and reading every record.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pyarrow as pa

from jobs.execution.calibration import Calibration
from jobs.execution.run import run_job
from jobs.identity import write_job
from jobs.output.columns import RowResult
from jobs.output.encode import encode_one
from jobs.output.writer import write_part
from jobs.resolution import Job, resolve
from jobs.spec.job_spec import make_spec
from jobs.spec.picture_formats import PNG

REPEATS = 3
"""The fastest counts: other processes only add time."""


class ReadyToWorkError(Exception):
    """The actors would start now."""


def make_dataset(folder: Path, num_parts: int) -> Callable[[], Job]:
    """Make a dataset of one-row parts without the last; returns what resolves its job."""
    prompts = folder / "prompts.txt"
    prompts.write_text("a small red circle on a gray background\n" * num_parts)

    def resolved() -> Job:
        one = {"batch_size": 1}
        models = {"preset": "shapes", "student": one, "teacher": one}
        fields = {"input": str(prompts), "output": str(folder / "out"), "models": models}
        return resolve(make_spec({**fields, "rows_per_part": 1, "budget": {"threshold": 0.0}}))

    job = resolved()
    job.output.path.mkdir()
    write_job(job, Calibration((), 0.0, 0.0, 0, {}, 0.0).as_json(), replace=False)
    png = pa.array([encode_one(np.zeros((64, 64, 3), np.uint8), PNG)])
    for part in job.prompts.parts():
        row = RowResult(part.seeds[0], 0.5, None, "student", 2, False, None, (0, 0), None)
        write_part(job.output, part.index, part.first_row, part.table, [row], "png", False, {}, png)
    (job.output.path / job.output.record_name(num_parts - 1)).unlink()
    return resolved


def seconds_to_work(resolved: Callable[[], Job]) -> float:
    """Seconds from the job's fields to the start of its actors."""

    def dispatcher() -> None:
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
    for num_parts in parser.parse_args().parts:
        with tempfile.TemporaryDirectory() as folder:
            resolved = make_dataset(Path(folder), num_parts)
            times = [seconds_to_work(resolved) for _ in range(REPEATS)]
        shown = ", ".join(f"{seconds:.2f}" for seconds in times)
        print(f"{num_parts:6,} parts: {median(times):.2f} s (of {shown})", flush=True)


if __name__ == "__main__":
    main()

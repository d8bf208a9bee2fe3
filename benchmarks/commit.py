"""The memory of a commit: the peak of the task's process over the part's size.

    python -m benchmarks.commit [--rows 1024] [--megabytes 2]

A Ray with one worker makes the files, batch by batch, and one commits them, as in a job. Counted is
all that the process has in memory, with the pages of the object store that it reads: the files.
"""

from __future__ import annotations

import argparse
import resource
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from cluster.session import ray_session
from jobs.output.columns import RowResult
from jobs.output.folder import OutputFolder
from jobs.output.writer import write_part

BATCH = 16


def files(seed: int, count: int, size: int) -> pa.BinaryArray:
    """So many files of `size` random bytes, as an encoding task returns them."""
    random = np.random.default_rng(seed)
    return pa.array([random.bytes(size) for _ in range(count)], pa.binary())


def commit(*part: Any) -> tuple[int, int, int, float]:
    """Bytes of the part; peak memory of this process before and after, in bytes; seconds."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = perf_counter()
    record = write_part(*part)
    seconds = perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return record["bytes"], before, after, seconds


def measure(folder: Path, rows: int, size: int) -> tuple[int, int, int, float]:
    """As `commit`, of a part of so many rows, on the Ray that is there."""
    made = [
        ray.remote(files).remote(first, min(BATCH, rows - first), size)
        for first in range(0, rows, BATCH)
    ]
    results = [
        RowResult(
            seed=row,
            student_score=0.5,
            teacher_score=None,
            source="student",
            nfe=4,
            truncated=False,
            error=None,
            image=divmod(row, BATCH),
            student_image=None,
        )
        for row in range(rows)
    ]
    table = pa.table({"prompt": [f"picture {row}" for row in range(rows)]})
    output, last = OutputFolder(folder), ("png", False, {})
    ray.wait(made, num_returns=len(made))
    found: tuple[int, int, int, float] = ray.get(
        ray.remote(commit).remote(output, 0, 0, table, results, *last, *made)
    )
    return found


def main() -> None:
    """Print peak memory over part size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--megabytes", type=float, default=2.0)
    args = parser.parse_args()
    with ray_session(None), TemporaryDirectory() as folder:
        part, before, after, seconds = measure(Path(folder), args.rows, round(args.megabytes * 1e6))
    print(
        f"a part of {part / 1e6:,.0f} MB ({args.rows:,} rows): written in {seconds:.1f} s; the "
        f"process had {before / 1e6:,.0f} MB before and {after / 1e6:,.0f} MB at its peak, which "
        f"is {after / part:.2f} times the part, {(after - before) / part:.2f} times more than "
        "before"
    )


if __name__ == "__main__":
    main()

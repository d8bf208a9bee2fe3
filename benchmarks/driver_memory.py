"""The driver's memory while it runs a million rows: `python benchmarks/driver_memory.py`.

Real Ray, stand-ins that take no time and draw pictures of 8x8, batches of 256, real parts. It
prints the memory of the driver's own process at each tenth of the rows.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from driver import make_dispatcher, make_job
from timed_jobs import memory_bytes, write_result

from cluster.session import ray_session
from jobs.execution.observers import JobEvent
from jobs.execution.progress import Progress
from jobs.execution.run import run_job

BATCH = {"batch_size": 256}
ACTORS = 4
"""Chosen: a million rows then take about a minute on two cores."""


class Watch:
    """Records the memory at each tenth. The runner calls it a few times a second."""

    def __init__(self) -> None:
        self.megabytes: list[tuple[int, float]] = []
        self._start, self._next = perf_counter(), 1

    def __call__(self, progress: JobEvent) -> None:
        if not isinstance(progress, Progress):
            return
        if progress.done_rows < self._next * progress.num_rows / 10:
            return
        self._next = 1 + 10 * progress.done_rows // progress.num_rows
        held = memory_bytes() / 1e6
        self.megabytes.append((progress.done_rows, round(held, 1)))
        seconds = perf_counter() - self._start
        print(f"{progress.done_rows:9,} rows  {seconds:6.0f} s  {held:6.0f} MB", flush=True)


def main() -> None:
    """Run one job, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rows-per-part", type=int, default=8192)
    args = parser.parse_args()
    logging.disable()
    watch = Watch()
    with TemporaryDirectory() as folder, ray_session(None) as have:
        job = make_job(
            Path(folder), args.rows, args.rows_per_part, student=BATCH, oracle=BATCH, teacher=BATCH
        )
        dispatcher = make_dispatcher(job, have, ACTORS)
        end = run_job(job, lambda _: dispatcher, [watch])
        watch(end)
    held = [megabytes for _, megabytes in watch.megabytes]
    grown = held[-1] - held[1]
    print(
        f"{end.done_rows:,} rows in {dispatcher.seconds:.0f} s; "
        f"from the second tenth on {grown:+.0f} MB"
    )
    found = {
        "rows": end.done_rows,
        "seconds": round(dispatcher.seconds, 1),
        "megabytes": watch.megabytes,
    }
    write_result("driver_memory", found)


if __name__ == "__main__":
    main()

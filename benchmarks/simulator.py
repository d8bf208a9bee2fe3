"""How large a cluster the simulator simulates: `python benchmarks/simulator.py`.

The real runner, dispatcher, pools and cascades on a virtual clock, with the published times of
SD-Turbo and SD 1.5 (`models: timed`; a rejected picture is drawn anew with 50 steps); the scaling
policy deals out the GPUs. It prints a line for each tenth of the rows: the seconds it took here,
the memory of the process, the rows that are drawn and not committed yet, and the completions of
actor and file tasks a second. At the end it compares the virtual time with the bound: the seconds
of all batches of students and teachers, were they full, over the GPUs. The oracles share GPUs with
the others, each with a tenth.

With `--ladder` a row takes the rungs of LADDER instead. As many rows as it says are below the first
threshold; of those that took a rung, `AGAIN` take the next (jobs/scaling/rungs.py). Each picture of
the teacher's takes as long as its whole drawing.
"""

from __future__ import annotations

import argparse
import gc
import logging
from dataclasses import replace
from math import ceil
from time import perf_counter, process_time

from timed_jobs import memory_bytes, timings_of, write_result

from actors.refinement import Refinement
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.executor import Completion
from jobs.execution.observers import JobEvent
from jobs.execution.progress import Progress
from jobs.execution.runner import Runner
from jobs.scaling.initial_sizes import guess_loads, plan_pools
from jobs.simulation.executor import Durations
from jobs.simulation.job import simulated_job
from jobs.simulation.light_executor import LightExecutor, LightPrompts
from jobs.spec.job_spec import make_spec

FILE_SECONDS = 0.1
"""Encoding a batch, on one core. Chosen: about what 16 JPEGs of 512x512 take
(docs/plan.md).
"""


LADDER: list[dict[str, object]] = [
    {"draw": 3, "until": 0.25},
    {"refine": {"strength": 0.8, "steps": 8}, "below": 0.2},
    {"regenerate": {"steps": 12}, "below": 0.15, "keep": "best"},
]
"""The example of docs/ladder.md."""


class CountingExecutor(LightExecutor):
    """Counts its completions."""

    completions = 0

    def deliver(self, completion: Completion) -> None:
        self.completions += 1
        super().deliver(completion)


class Watch:
    """Prints a line for each tenth of the rows. Called a few times a virtual second."""

    def __init__(self, executor: CountingExecutor) -> None:
        self._executor, self._tenth, self._completions = executor, 1, 0
        self._start = self._last = perf_counter()
        self.tenths: list[dict[str, float]] = []
        print("      rows  seconds  memory MB  rows waiting  completions/s", flush=True)

    def __call__(self, progress: JobEvent) -> None:
        if not isinstance(progress, Progress):
            return
        if progress.done_rows < self._tenth * progress.num_rows / 10:
            return
        now, completions = perf_counter(), self._executor.completions
        rate = (completions - self._completions) / (now - self._last)
        self._tenth = 1 + 10 * progress.done_rows // progress.num_rows
        self._last, self._completions = now, completions
        held = memory_bytes() / 1e6
        done, took = progress.done_rows, now - self._start
        waiting = progress.judged_rows - done
        self.tenths.append(
            {
                "rows": done,
                "seconds": round(took, 1),
                "megabytes": round(held, 1),
                "waiting": waiting,
                "completions_per_second": round(rate),
            }
        )
        print(f"{done:10,}  {took:7.1f}  {held:9.0f}  {waiting:12,}  {rate:9,.0f}", flush=True)


def main() -> None:
    """Run one job, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--gpus", type=int, default=4096)
    parser.add_argument("--refine", type=float, default=0.3)
    parser.add_argument("--rows-per-part", type=int, default=8192)
    parser.add_argument("--ladder", action="store_true")
    args = parser.parse_args()
    logging.disable()
    # The scheduling code makes no cycles, and looking for some takes a seventh of the time.
    gc.disable()
    fields = {"input": "-", "output": "-", "models": "timed", "rows_per_part": args.rows_per_part}
    pair = {"strategy": "regenerate", "budget": {"refine": args.refine}}
    spec = make_spec({**fields, **({"ladder": LADDER} if args.ladder else pair)})
    steps = spec.models.teacher.steps
    # The scores are even in [0, 1): a quantile is its own threshold.
    passing = [one.passing for one in spec.attempts[1:]] if args.ladder else [args.refine]
    job = replace(
        simulated_job(spec, args.rows, "latents", frozenset()),
        prompts=LightPrompts(spec, args.rows, frozenset()),
        refinements=tuple(
            Refinement("regenerate", 1.0, steps, "latents", attempt=number)
            for number in range(sum(one.make != "draw" for one in spec.attempts))
        ),
    )
    timings = timings_of(job)
    seconds = {
        name: timings[name].seconds(1, model.batch_size, key=0) for name, model in spec.models
    }
    loading = timings["teacher"].loading
    executor = CountingExecutor(
        Durations(load=loading, batch=seconds, files=FILE_SECONDS), num_nodes=8
    )
    plans = plan_pools(spec.pools, 2 * args.gpus, args.gpus, loads=guess_loads(job))
    # Twice the file tasks that the batches of a second need, so that none waits.
    task_slots = ceil(4 * FILE_SECONDS * args.gpus / seconds["student"])

    watch = Watch(executor)
    start, cpu = perf_counter(), process_time()
    with Dispatcher(job, executor, plans.sizes, task_slots, capacity=plans.capacity) as dispatcher:
        dispatcher.observers.add(watch, only=(Progress,))
        runner = Runner(job)
        runner.run(dispatcher, job.rules(*passing))
    wall, cpu = perf_counter() - start, process_time() - cpu
    end = runner.progress()
    rungs = end.rungs or (end.num_rows, end.refined_rows)
    takes = {"draw": "student", "refine": "teacher", "regenerate": "teacher"}
    full = sum(
        rows / spec.batch_sizes[takes[one.make]] * seconds[takes[one.make]]
        for rows, one in zip(rungs, spec.attempts, strict=True)
    )
    bound = full / args.gpus
    efficiency, loaded = bound / executor.now(), bound / (executor.now() - loading)
    changes = len(job.output.timeline) - 1  # type: ignore[attr-defined]
    print(
        f"{end.num_rows:,} rows on {args.gpus} GPUs, by rung {rungs}: {wall:.1f} s "
        f"here ({cpu:.1f} s of one core), {executor.completions / wall:,.0f} completions/s\n"
        f"virtual time {executor.now():.1f} s, of which {loading:.0f} s to load; "
        f"bound {bound:.1f} s; "
        f"{changes} changes of size; efficiency {efficiency:.4f}, without loading {loaded:.4f}"
    )
    write_result(
        "simulator-ladder" if args.ladder else "simulator",
        {
            "rungs": rungs,
            "rows": end.num_rows,
            "gpus": args.gpus,
            "refined_rows": end.refined_rows,
            "seconds": round(wall, 1),
            "core_seconds": round(cpu, 1),
            "completions": executor.completions,
            "tenths": watch.tenths,
            "virtual_seconds": round(executor.now(), 1),
            "loading_seconds": loading,
            "bound_seconds": round(bound, 1),
            "efficiency": round(efficiency, 4),
            "efficiency_without_loading": round(loaded, 4),
        },
    )


if __name__ == "__main__":
    main()

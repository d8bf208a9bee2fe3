"""How large a cluster the simulator simulates: `python benchmarks/simulator.py`.

The real runner, crew, pools and cascades on a virtual clock, with the published times of SD-Turbo
and SD 1.5 (`models: timed`; every rejected picture is drawn anew with 50 steps) and the best fixed
split of the GPUs. A line for each tenth of the rows: how long it took here, how much memory the
process holds, and how many answers of actors and files it handled a second. At the end the virtual
time against the bound: the seconds that all batches take, were they all full, over the GPUs.
"""

from __future__ import annotations

import argparse
import logging
from math import ceil
from pathlib import Path
from resource import getpagesize
from time import perf_counter, process_time

from actors.timed import timing_of
from jobs.crew import Crew
from jobs.hands import Answer
from jobs.light_hands import LightHands
from jobs.progress import Progress
from jobs.runner import Runner
from jobs.simulation import Times, simulated_job
from jobs.spec import JobSpec, make_spec

POOLS = ("student", "oracle", "teacher")
FILE_SECONDS = 0.1
"""That encoding a batch takes one core."""


class CountingHands(LightHands):
    """Counts its answers."""

    answers = 0

    def deliver(self, answer: Answer) -> None:
        self.answers += 1
        super().deliver(answer)


class Watch:
    """Prints a line for each tenth of the rows; is told a few times a virtual second."""

    def __init__(self, hands: CountingHands) -> None:
        self._hands, self._tenth, self._answers = hands, 1, 0
        self._start = self._last = perf_counter()
        print("    rows  seconds  memory MB  answers/s", flush=True)

    def __call__(self, progress: Progress) -> None:
        if progress.done_rows < self._tenth * progress.num_rows / 10:
            return
        now, answers = perf_counter(), self._hands.answers
        rate = (answers - self._answers) / (now - self._last)
        self._tenth = 1 + 10 * progress.done_rows // progress.num_rows
        self._last, self._answers = now, answers
        print(
            f"{progress.done_rows:8,}  {now - self._start:7.1f}  {memory_bytes() / 1e6:9.0f}  "
            f"{rate:9,.0f}",
            flush=True,
        )


def memory_bytes() -> int:
    """What this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()


def batch_seconds(spec: JobSpec) -> dict[str, float]:
    """By pool: seconds of a full batch."""
    timings = {
        "student": timing_of(spec.models.student),
        "oracle": timing_of(spec.models.oracle),
        "teacher": timing_of(spec.models.teacher, spec.models.teacher.steps),
    }
    sizes = {name: model.batch_size for name, model in spec.models}
    return {name: t.seconds(sizes[name], sizes[name], key=0) for name, t in timings.items()}


def best_split(loads: dict[str, float], gpus: int) -> dict[str, int]:
    """The whole numbers of GPUs by pool that make the busiest pool least busy."""
    sizes = dict.fromkeys(loads, 1)
    for _ in range(gpus - len(sizes)):
        sizes[max(loads, key=lambda name: loads[name] / sizes[name])] += 1
    return sizes


def main() -> None:
    """Run it once, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--gpus", type=int, default=4096)
    parser.add_argument("--refine", type=float, default=0.3)
    parser.add_argument("--rows-per-part", type=int, default=4096)
    args = parser.parse_args()
    logging.disable()
    spec = make_spec(
        {
            "input": "-",
            "output": "-",
            "models": "timed",
            "strategy": "regenerate",
            "rows_per_part": args.rows_per_part,
        }
    )
    seconds = batch_seconds(spec)
    row_seconds = {name: seconds[name] / model.batch_size for name, model in spec.models}
    expected = {"student": 1.0, "oracle": 1 + args.refine, "teacher": args.refine}
    sizes = best_split({name: n * row_seconds[name] for name, n in expected.items()}, args.gpus)
    task_slots = ceil(4 * args.gpus * FILE_SECONDS / min(seconds.values()))

    job = simulated_job(spec, args.rows, "latents", frozenset())
    load = spec.models.student.timed.load_seconds  # type: ignore[union-attr]
    hands = CountingHands(Times(load=load, batch=seconds, files=FILE_SECONDS), num_nodes=8)
    watch = Watch(hands)
    start, cpu = perf_counter(), process_time()
    with Crew(job, hands, sizes, task_slots) as crew:
        runner = Runner(job, watch)
        runner.run(crew, job.rules(args.refine))
    wall, cpu = perf_counter() - start, process_time() - cpu
    end = runner.progress()
    rows = {"student": end.num_rows, "teacher": end.refined_rows}
    rows["oracle"] = rows["student"] + rows["teacher"]
    bound = sum(rows[name] * row_seconds[name] for name in POOLS) / args.gpus
    print(
        f"{end.num_rows:,} rows on {args.gpus} GPUs {sizes}, {end.refined_rows:,} refined: "
        f"{wall:.1f} s here ({cpu:.1f} s of one core), {hands.answers / wall:,.0f} answers/s\n"
        f"virtual time {hands.now():.1f} s, of which {load:.0f} s to load; bound {bound:.1f} s; "
        f"efficiency {bound / hands.now():.4f}, without loading {bound / (hands.now() - load):.4f}"
    )


if __name__ == "__main__":
    main()

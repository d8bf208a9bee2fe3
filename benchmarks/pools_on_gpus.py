"""Whole jobs on pretend GPUs, compared with the bound and with the best fixed split of the GPUs.

    python benchmarks/pools_on_gpus.py sd-8        # or sd-16, sdxl-8, sdxl-16, moving: see CASES
    python benchmarks/pools_on_gpus.py --virtual   # every case on the virtual clock, in a minute

Each case runs on a real Ray with balanced pools, and then with the fixed splits that are fastest in
hindsight: every split runs on the virtual clock, and the fastest ones (`--splits`) on Ray, in the
same session. `--short` shows that it works.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from timed_jobs import (
    Case,
    Outcome,
    on_ray,
    on_virtual_clock,
    pretend_gpus,
    timings_of,
    write_result,
)

Sizes = tuple[int, int, int]
"""Actors: student, oracle, teacher."""


def moving(rows: int, before: float = 0.05, after: float = 0.75) -> tuple[tuple[int, float], ...]:
    """A rejected fraction that changes halfway."""
    return ((0, before), (rows // 2, after))


CASES = {
    case.name: case
    for case in (
        Case(name="sd-8", models="timed", gpus=8, rows=16384),
        Case(name="moving", models="timed", gpus=8, rows=12288, rejected=moving(12288), speed=5),
        Case(name="sd-16", models="timed", gpus=16, rows=32768),
        Case(name="sdxl-8", models="timed-sdxl", gpus=8, rows=9216, speed=40),
        Case(name="sdxl-16", models="timed-sdxl", gpus=16, rows=18432, speed=40),
    )
}
"""The bound of each is a minute; of `moving` two, since starting an actor takes real seconds."""


SHORT = {
    name: Case(
        name=name, models="timed", gpus=8, rows=1200, rejected=rejected, speed=1,
        row_seconds=(0.4, 0.02, 2.0), batch=8, load_batches=5 / 3.2, rows_per_part=1024,
    )
    for name, rejected in (("short", 0.3), ("short-moving", moving(1200)))
}  # fmt: skip
"""Jobs of three minutes, in real time: beginning and end count for more than what is between."""


def scaled(case: Case, by: int) -> Case:
    """The case with rows divided by `by`."""
    rows = case.rows // by
    rejected = case.rejected if isinstance(case.rejected, float) else moving(rows)
    return replace(case, rows=rows, rejected=rejected)


def shorter(case: Case) -> Case:
    """The case in a few seconds on four GPUs."""
    case = replace(case, name=f"{case.name}-short", rows_per_part=256)
    return replace(scaled(case, 4 * case.gpus), gpus=4)


def splits(case: Case, folder: Path) -> Iterator[Sizes]:
    """Every split of the GPUs between students and teachers, with twice the oracles that it needs.

    Oracles share GPUs with the others and take none from them.
    """
    job = case.job(folder)
    oracle, student = (timings_of(job)[name] for name in ("oracle", "student"))
    batch = job.spec.models.student.batch_size
    for students in range(1, case.gpus):
        drawn = students / student.seconds(1, batch, key=0)
        oracles = ceil(2 * drawn * oracle.seconds(1, batch, key=0))
        yield students, min(oracles, case.gpus), case.gpus - students


def virtually(case: Case, sizes: Sizes | None = None) -> Outcome:
    """Run a case on the virtual clock."""
    with TemporaryDirectory() as folder:
        return on_virtual_clock(case.job(Path(folder), sizes), case.gpus)


def fastest_fixed_splits(case: Case) -> list[tuple[Sizes, Outcome]]:
    """Run every split on the virtual clock; the fastest first."""
    with TemporaryDirectory() as folder:
        tried = [(sizes, virtually(case, sizes)) for sizes in splits(case, Path(folder))]
    return sorted(tried, key=lambda one: one[1].seconds)


def show(name: str, seconds: float, bound: float, loading: float, rest: str = "") -> None:
    """Print a line of the table."""
    print(f"{name:40} {seconds:7.1f} {seconds / bound:7.3f} {loading:7.1f}   {rest}", flush=True)


def heading(case: Case, bound: float) -> None:
    """Print the case and the table's heading."""
    print(
        f"\n{case.name}: {case.rows:,} rows, {case.gpus} GPUs, {case.models}, rejected "
        f"{case.rejected}, {case.speed:g} times as fast as real; bound {bound:.1f} s\n"
        f"{'':40} seconds  /bound loading",
        flush=True,
    )


def summary(outcome: Outcome) -> str:
    """The other figures of a run."""
    return (
        f"{max(0, len(outcome.timeline) - 1)} changes of size; teacher: {outcome.padded:.1%} "
        f"padding, {outcome.half_empty:.1%} of calls under half full"
    )


def run_here(case: Case, have: Any, sizes: Sizes | None = None) -> Outcome:
    """Run a case on the Ray that runs."""
    with TemporaryDirectory() as folder:
        return on_ray(case.job(Path(folder), sizes), have)


def measure(case: Case, num_splits: int) -> dict[str, Any]:
    """Run the case on Ray: balanced, and at the fastest fixed splits."""
    fixed = fastest_fixed_splits(case)[:num_splits] if num_splits else []
    found: dict[str, Any] = {"rows": case.rows, "gpus": case.gpus, "models": case.models}
    with pretend_gpus(case.gpus) as have:
        ours = run_here(case, have)
        heading(case, ours.bound_seconds)
        show("balanced", ours.seconds, ours.bound_seconds, ours.loading_seconds, summary(ours))
        found["balanced"] = ours.as_json()
        found["fixed"] = {}
        write_result(case.name, found)
        for sizes, _ in fixed:
            outcome = run_here(case, have, sizes)
            name = "fixed " + "/".join(map(str, sizes))
            show(
                name, outcome.seconds, ours.bound_seconds, outcome.loading_seconds, summary(outcome)
            )
            found["fixed"][name] = outcome.as_json()
            best = min(one["seconds"] for one in found["fixed"].values())
            found["over_best_fixed"] = round(ours.seconds / best, 4)
            write_result(case.name, found)
        if fixed:
            print(f"balanced over the best fixed split: {found['over_best_fixed']:.3f}")
    return found


def on_paper(case: Case) -> dict[str, Any]:
    """Run the case on the virtual clock, with every fixed split."""
    ours = virtually(case)
    heading(case, ours.bound_seconds)
    show("balanced", ours.seconds, ours.bound_seconds, ours.loading_seconds, summary(ours))
    fixed = fastest_fixed_splits(case)
    for sizes, outcome in fixed[:3]:
        name = "fixed " + "/".join(map(str, sizes))
        show(name, outcome.seconds, ours.bound_seconds, outcome.loading_seconds)
    return {
        "balanced": ours.as_json(),
        "fixed": {"/".join(map(str, sizes)): outcome.as_json() for sizes, outcome in fixed},
    }


def main() -> None:
    """Run the named cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], metavar="case")
    parser.add_argument("--virtual", action="store_true")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--splits", type=int, default=2, help="fixed splits to run; 0: none")
    given = parser.parse_args()
    logging.getLogger("bottega").setLevel(logging.ERROR)
    cases = [CASES[name] for name in given.cases or CASES]
    cases = [shorter(case) if given.short else case for case in cases]
    if given.virtual:
        write_result("virtual", {case.name: on_paper(case) for case in cases})
        return
    for case in cases:
        measure(case, given.splits)


if __name__ == "__main__":
    main()

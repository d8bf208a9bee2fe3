"""How much slower is a job than the best plan by hindsight? `python benchmarks/regret.py`.

Jobs on the virtual clock, over a grid drawn at random: rows (100 to 10^6), the rejected fraction
(constant, jumping, in waves), seconds, batches, loading times, GPUs (2 to 512), the oracle's share,
the object store. Each runs as it does for everybody, and by a dozen plans that know all of it
(`hindsight`): fixed splits, drawing first with all GPUs, one change of the sizes, two changes. The
regret is the time beyond the fastest of these. A job of more than `--most-calls` calls is made
smaller (`regret_cases.smaller`). It prints the distribution and the worst ten; `--found` keeps
the best plans, which take most of the time, for another run.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hindsight import look_back
from regret_cases import NAMED, Case, affordable_cases, run
from timed_jobs import write_result

WRITE_EVERY = 50
"""Cases after which the result so far is written."""


def hindsight(case: Case, kept: dict[str, Any]) -> dict[str, Any]:
    """The best plan of a case: its seconds and its moves. `kept`: those that were found before."""
    key = repr(case)
    if key not in kept:
        found = look_back(case)
        seconds, moves = found.best
        kept[key] = {
            **{"seconds": seconds, "moves": moves, "plans": len(found.ran)},
            **{"fixed": found.best_fixed, "drawing_first": found.drawing_first},
        }
    return dict(kept[key])


def shown(timeline: list[Any]) -> str:
    """The first changes of the sizes, each with its second."""
    each = [
        f"{one['sizes']['student']}/{one['sizes']['teacher']} at {one['seconds']:.0f}"
        for one in timeline[:7]
    ]
    return ", ".join(each)


def summary(results: list[tuple[float, Any, Any, Case]]) -> dict[str, Any]:
    """The distribution of the regrets, and the worst ten cases."""
    results = sorted(results, key=lambda one: one[0])
    regrets = [one[0] for one in results]

    def percentile(part: float) -> float:
        return round(regrets[int(part * (len(regrets) - 1))], 5)

    worst = [
        {"regret": round(regret, 4), "seconds": ours.seconds, "best": best, "case": asdict(case),
         "sizes": shown(ours.timeline)}
        for regret, ours, best, case in reversed(results[-10:])
    ]  # fmt: skip
    return {
        "cases": len(results),
        "mean": round(sum(regrets) / len(regrets), 5),
        **{f"p{part:g}": percentile(part / 100) for part in (50, 90, 95, 99)},
        "worst": regrets[-1],
        "over_3_percent": sum(one > 0.03 for one in regrets) / len(regrets),
        "over_8_percent": sum(one > 0.08 for one in regrets) / len(regrets),
        "against_fixed_p99": sorted(
            ours.seconds / best["fixed"] - 1 for _, ours, best, _ in results
        )[int(0.99 * (len(results) - 1))],
        "worst_ten": worst,
    }


def main() -> None:
    """Print the regrets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most-calls", type=int, default=250, help="of a case's students")
    parser.add_argument("--found", type=Path, help="a file that keeps the best plans")
    args = parser.parse_args()
    logging.disable()
    gc.disable()  # the scheduling code makes no cycles, and looking for some takes a seventh
    kept: dict[str, Any] = {}
    if args.found and args.found.exists():
        kept = dict(json.loads(line) for line in args.found.read_text().splitlines())
    for name, case in NAMED.items():
        ours, best = run(case), hindsight(case, {})
        print(
            f"{name}: {ours.seconds:.1f} s ({shown(ours.timeline)}); drawing first "
            f"{best['drawing_first']:.1f} s, the best split {best['fixed']:.1f} s, the best plan "
            f"{best['seconds']:.1f} s, the work is {case.work_seconds:.0f} s",
            flush=True,
        )
    results: list[tuple[float, Any, Any, Case]] = []
    about = {"seed": args.seed, "most_calls": args.most_calls}
    for case in affordable_cases(args.cases, args.seed, args.most_calls):
        known = len(kept)
        best = hindsight(case, kept)
        if args.found and len(kept) > known:
            with args.found.open("a") as file:
                file.write(json.dumps([repr(case), best]) + "\n")
        ours = run(case)
        results.append((ours.seconds / best["seconds"] - 1, ours, best, case))
        if len(results) % WRITE_EVERY == 0 or len(results) == args.cases:
            write_result("regret", {**about, **summary(results)})
    found = summary(results)
    print(
        f"{found['cases']} cases: regret {found['mean']:.2%} on average, {found['p50']:.1%} in the "
        f"middle, 90th percentile {found['p90']:.1%}, 95th {found['p95']:.1%}, 99th "
        f"{found['p99']:.1%}, worst {found['worst']:.1%}; {found['over_3_percent']:.1%} of the "
        f"cases over 3 %, {found['over_8_percent']:.1%} over 8 %; against fixed splits alone the "
        f"99th percentile is {found['against_fixed_p99']:.1%}"
    )
    for one in found["worst_ten"]:
        print(
            f"{one['regret']:+.1%}: {one['seconds']:.1f} s ({one['sizes']}); by hindsight "
            f"{one['best']['seconds']:.1f} s with {one['best']['moves']}\n        {one['case']}"
        )


if __name__ == "__main__":
    main()

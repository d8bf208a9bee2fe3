"""How much slower is a job than the best plan by hindsight? `python benchmarks/regret.py`.

Jobs on the virtual clock, over a grid drawn at random: rows, the rejected fraction (constant,
jumping, in waves), seconds, batches, loading times, GPUs, the oracle's share, the object store.
Each runs as it does for everybody, and with every number of students from the beginning to the last
drawn row, after which the teachers get what helps them; with all GPUs drawing, that is drawing
first. With `--moves 20` also by 20 plans with one change of the sizes, and by 20 with another one.
The regret is the time beyond the fastest of these. It prints the distribution and the worst ten.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from regret_cases import NAMED, Case, best_fixed, best_moves, random_cases, run
from timed_jobs import write_result


def hindsight(case: Case, tries: int, kept: dict[str, Any]) -> dict[str, Any]:
    """The best plan of a case: its seconds and its moves. `kept`: those that were found before."""
    key = f"{tries} {case!r}"
    if key not in kept:
        fixed = best_fixed(case)
        seconds, moves = best_moves(case, fixed, tries)
        kept[key] = {
            "seconds": seconds,
            "moves": moves,
            "fixed": min(fixed.values()),
            "drawing_first": fixed[case.gpus],
        }
    return dict(kept[key])


def shown(timeline: list[Any]) -> str:
    """The first changes of the sizes, each with its second."""
    each = [
        f"{one['sizes']['student']}/{one['sizes']['teacher']} at {one['seconds']:.0f}"
        for one in timeline[:7]
    ]
    return ", ".join(each)


def main() -> None:
    """Print the regrets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most-calls", type=int, default=2000, help="of a case's students")
    parser.add_argument("--moves", type=int, default=0, help="plans with changes to try, twice")
    parser.add_argument("--hindsight", type=Path, help="a file that keeps the best plans")
    args = parser.parse_args()
    logging.disable()
    gc.disable()  # the scheduling code makes no cycles, and looking for some takes a seventh
    kept: dict[str, Any] = {}
    if args.hindsight and args.hindsight.exists():
        for line in args.hindsight.read_text().splitlines():
            key, found = json.loads(line)
            kept[key] = found
    for name, case in NAMED.items():
        ours, best = run(case), hindsight(case, 0, {})
        print(
            f"{name}: {ours.seconds:.1f} s ({shown(ours.timeline)}); drawing first "
            f"{best['drawing_first']:.1f} s, the best split {best['fixed']:.1f} s, the work is "
            f"{case.work_seconds:.0f} s",
            flush=True,
        )
    results = []
    for case in random_cases(args.cases, args.seed, args.most_calls):
        known = len(kept)
        best = hindsight(case, args.moves, kept)
        if args.hindsight and len(kept) > known:
            with args.hindsight.open("a") as file:
                file.write(json.dumps([f"{args.moves} {case!r}", best]) + "\n")
        ours = run(case)
        results.append((ours.seconds / best["seconds"] - 1, ours, best, case))
    results.sort(key=lambda one: one[0])
    regrets = [one[0] for one in results]
    middle, high = regrets[len(results) // 2], regrets[int(0.99 * (len(results) - 1))]
    mean = sum(regrets) / len(regrets)
    over = sum(one > 0.03 for one in regrets) / len(regrets)
    print(
        f"{len(results)} cases: regret {mean:.2%} on average, {middle:.1%} in the middle, 90th "
        f"percentile {regrets[int(0.9 * (len(results) - 1))]:.1%}, 99th {high:.1%}, worst "
        f"{regrets[-1]:.1%}; {over:.1%} of the cases over 3 %"
    )
    worst = []
    for regret, ours, best, case in reversed(results[-10:]):
        print(
            f"{regret:+.1%}: {ours.seconds:.1f} s; by hindsight {best['seconds']:.1f} s with "
            f"{best['moves']}, work {case.work_seconds:.1f} s; {len(ours.timeline) - 1} changes: "
            f"{shown(ours.timeline)}\n        {case}"
        )
        worst.append({"regret": round(regret, 4), "seconds": ours.seconds, "best": best,
                      "case": asdict(case), "sizes": shown(ours.timeline)})  # fmt: skip
    write_result(
        "regret",
        {
            **{"cases": len(results), "seed": args.seed, "moves_tried": args.moves},
            **{"mean": mean, "median": middle, "p99": high, "worst": regrets[-1]},
            **{"over_3_percent": over, "worst_ten": worst},
        },
    )


if __name__ == "__main__":
    main()

"""Measure ladders on the embedded set with real jobs: `python benchmarks/ladder_jobs.py`.

Each policy is a job on held-out captions, run by the product on a local Ray: its own calibration,
its own commits. The verifier then reads every picture of the datasets. The captions are held out
and new: none of them is among those of `benchmarks/embedded.py`, and none chose a ladder. The
datasets stay (`--outputs`), so that a stopped run continues, and the verifier reads them each time.
Writes `benchmarks/results/embedded/ladder_jobs.json` and `ladders.svg`.
"""

from __future__ import annotations

import argparse
import csv
import json
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from embedded_figures import Flags, Point, bootstrap, svg, wilson
from numpy.typing import NDArray
from PIL import Image

from actors.models.shapes import verifier, world
from cluster.session import ray_session
from jobs import Resources, open_output, resolve, run
from jobs.spec.job_spec import make_spec

RESULTS = Path(__file__).parent / "results" / "embedded"
STRONG = {"strength": 0.8, "steps": 8}
PAIR = {"rollback": {"strength": 0.8}, "teacher_steps": 8}
TEACHER = {"budget": {"refine": 1.0}, "strategy": "regenerate"}
ANEW = {"regenerate": {"steps": 12}, "below": 0.15, "keep": "best"}

SAMPLED = 1024
"""Rows of each job's calibration: as many as a job of a hundred thousand rows has by default. By
256 a quantile is off by some percent, and where the teacher has a third of the rows that is half a
network evaluation."""

KNOWN_BEFORE = 4800
"""The captions of earlier choices of ladders, of which it is known what came out. There are few
captions with one object, and not many with two: whoever takes only those that are new gets more and
more with three, which are harder (of the first 1,000 held-out ones 29 %, of number 3,200 to 4,800
49 %)."""

POOLS = {role: {"size": 1} for role in ("student", "oracle", "teacher")}
"""The actors of a job load for longer than they work."""


@dataclass(frozen=True)
class Policy:
    """A job. `kind`: its curve in the figure. `alone`: of its evaluations the student's do not
    count: it draws nothing that stays."""

    kind: str
    fields: dict[str, Any]
    alone: bool = False


POLICIES: dict[str, Policy] = {
    "ladder: nfe-8": Policy("the preset's ladders", {"ladder": "nfe-8"}),
    "teacher alone, 25 steps": Policy(
        "teacher alone", {**TEACHER, "teacher_steps": 25}, alone=True
    ),
    "student alone": Policy("student alone", {"budget": {"refine": 0.0}}),
    "ladder: nfe-4": Policy("the preset's ladders", {"ladder": "nfe-4"}),
    "ladder: nfe-3": Policy("the preset's ladders", {"ladder": "nfe-3"}),
    "draw until 0.15, at most 4": Policy("draw again", {"ladder": [{"draw": 4, "until": 0.15}]}),
    "draw until 0.25, at most 4": Policy("draw again", {"ladder": [{"draw": 4, "until": 0.25}]}),
    "draw until 0.25, at most 4; refine below 0.20, better kept": Policy(
        "other ladders",
        {
            "ladder": [
                {"draw": 4, "until": 0.25},
                {"refine": STRONG, "below": 0.2, "keep": "best"},
            ]
        },
    ),
    "draws: 4": Policy("draw again", {"budget": {"refine": 0.0}, "draws": 4}),
    "pair, 0.15 refined": Policy("pair", {**PAIR, "budget": {"refine": 0.15}}),
    "pair, 0.30 refined": Policy("pair", {**PAIR, "budget": {"refine": 0.3}}),
    "refine below 0.25; anew below 0.15, better kept": Policy(
        "other ladders", {"ladder": [{"draw": 1}, {"refine": STRONG, "below": 0.25}, ANEW]}
    ),
    "refine below 0.30; anew below 0.15, better kept": Policy(
        "other ladders", {"ladder": [{"draw": 1}, {"refine": STRONG, "below": 0.3}, ANEW]}
    ),
    "teacher alone, 8 steps": Policy("teacher alone", {**TEACHER, "teacher_steps": 8}, alone=True),
}
"""The most important first."""

COMPARED = (
    ("ladder: nfe-8", "teacher alone, 25 steps"),
    ("ladder: nfe-4", "teacher alone, 25 steps"),
    ("ladder: nfe-3", "teacher alone, 25 steps"),
    ("ladder: nfe-4", "teacher alone, 8 steps"),
    ("ladder: nfe-3", "teacher alone, 8 steps"),
    ("ladder: nfe-8", "pair, 0.30 refined"),
    ("ladder: nfe-4", "pair, 0.15 refined"),
)
"""Pairs on the same captions: how much more the first is right."""

REFERENCE = "teacher alone, 8 steps"
"""What every policy is compared with: 16 network evaluations."""


def new_captions(count: int) -> list[str]:
    """Held-out captions that `benchmarks/embedded.py` does not use, and no choice has seen; as many
    of them with three objects as of those, and the rest with two."""
    usual = world.sample_captions(np.random.default_rng(2026), 1000, "heldout")
    known = {str(one) for one in usual}
    three = round(count * sum(len(one.things) == 3 for one in usual) / len(usual))
    room = {2: count - three, 3: three}
    found: list[str] = []
    drawn = world.sample_captions(np.random.default_rng(2028), KNOWN_BEFORE + 5 * count, "heldout")
    for caption in [one for one in drawn if str(one) not in known][KNOWN_BEFORE:]:
        if room.get(len(caption.things), 0):
            room[len(caption.things)] -= 1
            found.append(str(caption))
    if len(found) < count:
        raise SystemExit(f"the world has no {count} new captions of this mix, only {len(found)}")
    return found


def draw(policy: Policy, prompts: Path, output: Path, have: Resources) -> None:
    """Run the job, unless its dataset is there. have: of the Ray that runs."""
    spec = make_spec(
        {"input": str(prompts), "output": str(output), "models": "shapes", "seed": 1}
        | {"rows_per_part": 256, "calibration_rows": SAMPLED, "pools": POOLS, **policy.fields}
    )
    run(resolve(spec), session=nullcontext(have))


def read(policy: Policy, output: Path) -> tuple[dict[str, Any], Flags]:
    """What came out, and which pictures are right."""
    there = open_output(str(output))
    rows = ds.dataset(str(output / "data")).to_table().to_pylist()
    right = np.array(
        [
            verifier.verify(
                np.asarray(Image.open(BytesIO(row["image"]["bytes"])).convert("RGB")),
                world.parse(row["prompt"]),
            ).right
            for row in rows
        ]
    )
    spent = np.array([row["nfe"] for row in rows], dtype=float)
    if policy.alone:
        spent -= there.spec.models.student.steps
    found = {
        "rows": len(rows),
        "nfe": float(spent.mean()),
        "right": wilson(right),
        "from_teacher": sum(row["source"] == "teacher" for row in rows),
        "spending": there.spending_line(),
        **policy.fields,
    }
    return found, right


def more(one: Flags, other: Flags) -> tuple[float, float, float]:
    """How much more often the first is right, with its 95 % interval; paired."""
    difference: NDArray[np.float64] = one.astype(float) - other.astype(float)
    return bootstrap(difference)


def write(found: dict[str, Any], flags: dict[str, Flags], results: Path) -> None:
    """The figures of all policies so far, and the figure."""
    for name, one in found.items():
        if REFERENCE in flags:
            one[f"more_than {REFERENCE}"] = more(flags[name], flags[REFERENCE])
    compared = {
        f"{one}, less {other}": more(flags[one], flags[other])
        for one, other in COMPARED
        if one in flags and other in flags
    }
    packed = {name: "".join("01"[int(flag)] for flag in right) for name, right in flags.items()}
    results.mkdir(parents=True, exist_ok=True)
    content = {"policies": found, "compared": compared, "right": packed}
    (results / "ladder_jobs.json").write_text(json.dumps(content, indent=1) + "\n")
    curves: dict[str, list[Point]] = {}
    for name, one in found.items():
        point = Point(one["nfe"], *one["right"], note=name)
        curves.setdefault(POLICIES[name].kind, []).append(point)
    ordered = {
        kind: sorted(points, key=lambda point: point.evaluations) for kind, points in curves.items()
    }
    (results / "ladders.svg").write_text(svg(ordered, "Ladders: captions drawn wholly right"))


def main() -> None:
    """Run the jobs that are asked for, and write the results of all that are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1600)
    parser.add_argument("--only", nargs="*", default=list(POLICIES))
    parser.add_argument("--outputs", type=Path, default=Path("out/ladder-jobs"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.outputs.mkdir(parents=True, exist_ok=True)
    captions = new_captions(args.rows)
    prompts = args.outputs / f"captions-{args.rows}.csv"
    with prompts.open("w", newline="") as file:
        csv.writer(file).writerows([["prompt"], *([one] for one in captions)])
    found: dict[str, Any] = {}
    flags: dict[str, Flags] = {}
    with ExitStack() as stack:
        have: Resources | None = None
        for name, policy in POLICIES.items():
            number = "".join(c if c.isalnum() else "-" for c in name)
            output = args.outputs / f"{args.rows}-{number}"
            if name in args.only and not (output / "_SUCCESS").exists():
                have = have or stack.enter_context(ray_session(None, print))
                draw(policy, prompts, output, have)
            if not (output / "_SUCCESS").exists():
                continue
            found[name], flags[name] = read(policy, output)
            value, low, high = found[name]["right"]
            shown = f"N {found[name]['nfe']:.2f}, right {value:.1%} ({low:.1%} to {high:.1%})"
            print(f"{name}: {shown}", flush=True)
            write(found, flags, args.results)


if __name__ == "__main__":
    main()

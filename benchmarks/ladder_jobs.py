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
from jobs import open_output, resolve, run
from jobs.spec.job_spec import make_spec

RESULTS = Path(__file__).parent / "results" / "embedded"
STRONG = {"strength": 0.8, "steps": 8}
PAIR = {"rollback": {"strength": 0.8}, "teacher_steps": 8}
TEACHER = {"budget": {"refine": 1.0}, "strategy": "regenerate"}
ANEW = {"regenerate": {"steps": 12}, "below": 0.15, "keep": "best"}

COSTLY = 400
"""Captions of the teacher alone: a picture of it takes as long as sixteen of the student's."""


@dataclass(frozen=True)
class Policy:
    """A job. `kind`: its curve in the figure. `alone`: of its evaluations the student's do not
    count: it draws nothing that stays. `most`: it draws the first so many captions only; what is
    compared with it is compared on those."""

    kind: str
    fields: dict[str, Any]
    alone: bool = False
    most: int = 1_000_000


POLICIES: dict[str, Policy] = {
    "ladder: nfe-3": Policy("the preset's ladders", {"ladder": "nfe-3"}),
    "ladder: nfe-4": Policy("the preset's ladders", {"ladder": "nfe-4"}),
    "ladder: nfe-8": Policy("the preset's ladders", {"ladder": "nfe-8"}),
    "draw until 0.25, at most 3; refine below 0.35; anew below 0.20, better kept": Policy(
        "other ladders",
        {
            "ladder": [
                {"draw": 3, "until": 0.25},
                {"refine": STRONG, "below": 0.35},
                {**ANEW, "below": 0.2},
            ]
        },
    ),
    "student alone": Policy("student alone", {"budget": {"refine": 0.0}}),
    "teacher alone, 8 steps": Policy(
        "teacher alone", {**TEACHER, "teacher_steps": 8}, alone=True, most=COSTLY
    ),
    "teacher alone, 25 steps": Policy(
        "teacher alone", {**TEACHER, "teacher_steps": 25}, alone=True, most=COSTLY
    ),
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
    "refine below 0.25; anew below 0.15, better kept": Policy(
        "other ladders", {"ladder": [{"draw": 1}, {"refine": STRONG, "below": 0.25}, ANEW]}
    ),
    "refine below 0.30; anew below 0.15, better kept": Policy(
        "other ladders", {"ladder": [{"draw": 1}, {"refine": STRONG, "below": 0.3}, ANEW]}
    ),
    "pair, 0.15 refined": Policy("pair", {**PAIR, "budget": {"refine": 0.15}}),
    "pair, 0.30 refined": Policy("pair", {**PAIR, "budget": {"refine": 0.3}}),
    "pair, 0.30 refined, better kept": Policy(
        "pair, better kept", {**PAIR, "budget": {"refine": 0.3}, "keep": "best"}
    ),
    "pair, 0.50 refined": Policy("pair", {**PAIR, "budget": {"refine": 0.5}}),
    "pair, 0.50 refined, better kept": Policy(
        "pair, better kept", {**PAIR, "budget": {"refine": 0.5}, "keep": "best"}
    ),
    "draws: 4": Policy("draw again", {"budget": {"refine": 0.0}, "draws": 4}),
    "teacher alone, 5 steps": Policy("teacher alone", {**TEACHER, "teacher_steps": 5}, alone=True),
    "teacher alone, 3 steps": Policy("teacher alone", {**TEACHER, "teacher_steps": 3}, alone=True),
}
"""The most important first."""

COMPARED = (
    ("ladder: nfe-3", "teacher alone, 8 steps"),
    ("ladder: nfe-4", "teacher alone, 8 steps"),
    ("ladder: nfe-4", "teacher alone, 25 steps"),
    ("ladder: nfe-8", "teacher alone, 25 steps"),
    ("ladder: nfe-8", "pair, 0.30 refined"),
    ("pair, 0.30 refined, better kept", "pair, 0.30 refined"),
    ("pair, 0.50 refined, better kept", "pair, 0.50 refined"),
)
"""Pairs on the same captions: how much more the first is right."""

REFERENCE = "teacher alone, 8 steps"
"""What every policy is compared with: 16 network evaluations."""


def new_captions(count: int) -> list[str]:
    """Held-out captions that `benchmarks/embedded.py` does not use."""
    known = {
        str(one) for one in world.sample_captions(np.random.default_rng(2026), 1000, "heldout")
    }
    drawn = world.sample_captions(np.random.default_rng(2028), count + 2000, "heldout")
    return [text for one in drawn if (text := str(one)) not in known][:count]


def draw(policy: Policy, prompts: Path, output: Path) -> None:
    """Run the job, unless its dataset is there."""
    spec = make_spec(
        {"input": str(prompts), "output": str(output), "models": "shapes", "seed": 1}
        | {"rows_per_part": 256, **policy.fields}
    )
    run(resolve(spec), session=ray_session(None, print))


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
    """How much more often the first is right, with its 95 % interval; paired, on the captions that
    both have drawn."""
    both = min(len(one), len(other))
    difference: NDArray[np.float64] = one[:both].astype(float) - other[:both].astype(float)
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
    found: dict[str, Any] = {}
    flags: dict[str, Flags] = {}
    for name, policy in POLICIES.items():
        number = "".join(c if c.isalnum() else "-" for c in name)
        rows = min(args.rows, policy.most)
        output = args.outputs / f"{rows}-{number}"
        if name in args.only:
            prompts = args.outputs / f"captions-{rows}.csv"
            with prompts.open("w", newline="") as file:
                csv.writer(file).writerows([["prompt"], *([one] for one in captions[:rows])])
            draw(policy, prompts, output)
        if not (output / "_SUCCESS").exists():
            continue
        found[name], flags[name] = read(policy, output)
        value, low, high = found[name]["right"]
        print(f"{name}: N {found[name]['nfe']:.2f}, right {value:.1%} ({low:.1%} to {high:.1%})",
              flush=True)  # fmt: skip
        write(found, flags, args.results)


if __name__ == "__main__":
    main()

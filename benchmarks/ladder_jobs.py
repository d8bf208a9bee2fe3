"""Measure ladders on the embedded set with real jobs: `python benchmarks/ladder_jobs.py`.

Each ladder is a job on held-out captions, run by the product on a local Ray: its own calibration,
its own commits. The verifier then reads every picture of the dataset. The captions are held out and
new: none of them is among those of `benchmarks/embedded.py`, and none chose a ladder. Writes
`benchmarks/results/embedded/ladder_jobs.json`.
"""

from __future__ import annotations

import argparse
import csv
import json
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from embedded_figures import bootstrap, wilson
from PIL import Image

from actors.models.shapes import verifier, world
from cluster.session import ray_session
from jobs import resolve, run
from jobs.spec.job_spec import make_spec

RESULTS = Path(__file__).parent / "results" / "embedded"
STRONG = {"strength": 0.8, "steps": 8}
LADDERS: dict[str, dict[str, Any]] = {
    "draw until 0.15, at most 4": {"ladder": [{"draw": 4, "until": 0.15}]},
    "draw until 0.25, at most 4, the teacher below 0.20": {
        "ladder": [
            {"draw": 4, "until": 0.25},
            {"refine": STRONG, "below": 0.2, "keep": "best"},
        ]
    },
    "refine below 0.25, anew in 12 below 0.15": {
        "ladder": [
            {"draw": 1},
            {"refine": STRONG, "below": 0.25},
            {"regenerate": {"steps": 12}, "below": 0.15, "keep": "best"},
        ]
    },
    "student alone": {"budget": {"refine": 0.0}},
}


def new_captions(count: int) -> list[str]:
    """Held-out captions that `benchmarks/embedded.py` does not use."""
    known = {
        str(one) for one in world.sample_captions(np.random.default_rng(2026), 1000, "heldout")
    }
    drawn = world.sample_captions(np.random.default_rng(2028), count + 200, "heldout")
    return [text for one in drawn if (text := str(one)) not in known][:count]


def measure(fields: dict[str, Any], captions: list[str], folder: Path) -> dict[str, Any]:
    """Run a job, and read its pictures: the right ones, and its network evaluations."""
    prompts = folder / "captions.csv"
    with prompts.open("w", newline="") as file:
        csv.writer(file).writerows([["prompt"], *([one] for one in captions)])
    spec = make_spec(
        {"input": str(prompts), "output": str(folder / "out"), "models": "shapes", "seed": 1}
        | {"rows_per_part": 256, **fields}
    )
    job = resolve(spec)
    run(job, session=ray_session(None, print))
    rows = ds.dataset(str(folder / "out" / "data")).to_table().to_pylist()
    right = np.array(
        [
            verifier.verify(
                np.asarray(Image.open(BytesIO(row["image"]["bytes"])).convert("RGB")),
                world.parse(row["prompt"]),
            ).right
            for row in rows
        ]
    )
    written = job.output.require_job()
    return {
        "rows": len(rows),
        "nfe": float(np.mean([row["nfe"] for row in rows])),
        "right": wilson(right),
        "flags": "".join("01"[int(flag)] for flag in right),
        "from_teacher": sum(row["source"] == "teacher" for row in rows),
        "sampled": written["calibration"]["rows"],
        **fields,
    }


def main() -> None:
    """Run the jobs that are asked for, and write the results of all so far."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=list(LADDERS))
    parser.add_argument("--results", type=Path, default=RESULTS / "ladder_jobs.json")
    args = parser.parse_args()
    captions = new_captions(args.rows)
    found: dict[str, Any] = json.loads(args.results.read_text()) if args.results.exists() else {}
    for name in args.only:
        with TemporaryDirectory() as folder:
            found[name] = measure(LADDERS[name], captions, Path(folder))
        flags = {one: np.array([flag == "1" for flag in found[one]["flags"]]) for one in found}
        alone = flags.get("student alone")
        if alone is not None and len(alone) == len(flags[name]):
            gain = flags[name].astype(float) - alone.astype(float)
            found[name]["more_than_student_alone"] = bootstrap(gain)
        low, high = found[name]["right"][1:]
        print(f"{name}: N {found[name]['nfe']:.2f}, right {flags[name].mean():.1%} "
              f"({low:.1%} to {high:.1%})", flush=True)  # fmt: skip
        args.results.parent.mkdir(parents=True, exist_ok=True)
        args.results.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

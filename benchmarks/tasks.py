"""Editing, control and several drawings on the embedded set: the pair's gain and its cost.

    python benchmarks/tasks.py              # some ten minutes on two cores
    python benchmarks/tasks.py edit --rows 64

Whole jobs on Ray: the student alone, the pair at several budgets, and the teacher alone, which
edits and draws anew. A picture is right if the verifier finds everything that the target caption
names, and in place if every object also lies where the row's picture has it. No caption is from the
training.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from timed_jobs import RESULTS, write_result

from actors.models.shapes import verifier, world
from actors.models.shapes.edits import PicturedRow, control_row, edit_row
from actors.models.shapes.world import Caption
from cluster.session import ray_session
from jobs.execution.launch import dispatcher_on_ray
from jobs.execution.resources import Resources
from jobs.execution.run import run_job
from jobs.resolution import resolve
from jobs.spec.job_spec import make_spec

RESULT = RESULTS / "tasks.json"

SEED = 501
SPLIT: world.Split = "validation"


Row = Caption | PicturedRow
"""A caption alone, or with a picture."""


def plain_row(rng: np.random.Generator, split: world.Split) -> Caption:
    """A caption."""
    return world.sample_captions(rng, 1, split)[0]


@dataclass(frozen=True, slots=True)
class Task:
    """`fields`: of the job file, for each way to run it."""

    make: Callable[[np.random.Generator, world.Split], Row]
    ways: dict[str, dict[str, Any]]


def ways(**fields: Any) -> dict[str, dict[str, Any]]:
    """The student alone, the pair at three budgets, and the teacher alone."""
    anew = {"strategy": "regenerate", "budget": {"refine": 1.0}}
    return {
        "student": {**fields, "budget": {"refine": 0.0}},
        **{f"pair, {p:.0%} refined": {**fields, "budget": {"refine": p}} for p in (0.15, 0.3, 0.5)},
        "teacher": {**fields, **anew},
    }


TASKS = {
    "edit": Task(
        edit_row, ways(task="edit", image_column="picture", models="shapes", edit={"strength": 0.6})
    ),
    "control": Task(
        control_row,
        ways(
            task="control",
            image_column="picture",
            models="shapes-control",
            control={"preprocess": "canny"},
        ),
    ),
    "draws": Task(
        plain_row,
        {
            f"{name}, draws: {draws}": {**fields, "draws": draws}
            for draws in (1, 2, 4)
            for name, fields in list(ways(models="shapes").items())[:3:2]
        },
    ),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one way: fractions of all rows; network evaluations and actor-seconds a row."""

    right: float
    in_place: float | None
    nfe: float
    actor_seconds: float
    refined: float


def measure(have: Resources, rows: list[Row], fields: dict[str, Any], folder: Path) -> Figures:
    """Run a job and verify its pictures."""
    source, output = folder / "rows.parquet", folder / "out"
    targets = [row.target if isinstance(row, PicturedRow) else row for row in rows]
    pictured = [row for row in rows if isinstance(row, PicturedRow)]
    columns: dict[str, list[Any]] = {"prompt": [str(target) for target in targets]}
    if pictured:
        columns["picture"] = [row.png for row in pictured]
    pq.write_table(pa.table(columns), source)
    job = resolve(make_spec({"input": str(source), "output": str(output), "seed": SEED, **fields}))
    run_job(job, lambda _: dispatcher_on_ray(job, have))
    made = pq.read_table(output / "data").to_pylist()
    sights = [verifier.look(_open(each["image"]["bytes"])) for each in made]
    right = [
        verifier.judge(sight, target).right for sight, target in zip(sights, targets, strict=True)
    ]
    in_place = [
        verifier.is_scene(sight, row.scene)
        for sight, row in zip(sights, pictured, strict=bool(pictured))
    ]
    records = [json.loads(file.read_text()) for file in (output / "records").rglob("part-*.json")]
    spent = sum(
        seconds
        for record in records
        for pool, seconds in record["seconds"].items()
        if pool != "files"
    )
    return Figures(
        right=float(np.mean(right)),
        in_place=float(np.mean(in_place)) if in_place else None,
        nfe=float(np.mean([each["nfe"] for each in made])),
        actor_seconds=spent / len(rows),
        refined=float(np.mean([each["teacher_score"] is not None for each in made])),
    )


def _open(png: bytes) -> world.Picture:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", choices=[[], *TASKS], metavar="task")
    parser.add_argument("--rows", type=int, default=512)
    args = parser.parse_args()
    logging.disable()
    before = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    # Results on the same number of rows stay: the tasks can run one by one.
    results: dict[str, Any] = {"rows": args.rows}
    if before.get("rows") == args.rows:
        results |= {name: before[name] for name in TASKS if name in before}
    with ray_session(None) as have:
        for name in args.tasks or TASKS:
            task, rng = TASKS[name], np.random.default_rng(SEED)
            rows = [task.make(rng, SPLIT) for _ in range(args.rows)]
            print(f"\n{name}, {args.rows} rows")
            print(f"{'':28}  right  in place  evaluations  actor-seconds a row", flush=True)
            results[name] = {}
            for way, fields in task.ways.items():
                with TemporaryDirectory() as folder:
                    found = measure(have, rows, fields, Path(folder))
                place = "" if found.in_place is None else f"{found.in_place:.1%}"
                print(
                    f"{way:28} {found.right:6.1%} {place:>9} {found.nfe:12.2f} "
                    f"{found.actor_seconds:20.3f}",
                    flush=True,
                )
                results[name][way] = {
                    what: value and round(value, 4) for what, value in asdict(found).items()
                }
            write_result("tasks", results)


if __name__ == "__main__":
    main()

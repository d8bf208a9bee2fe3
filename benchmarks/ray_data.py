"""The same work in Ray Data: student -> oracle -> teacher as `map_batches` actor pools.

    python benchmarks/ray_data.py moving --sweep      # every setting, on a quarter of the rows
    python benchmarks/ray_data.py moving --two-pass   # ours, and the sweep's best settings, in full

Same stand-ins, pretend GPUs, rows and pictures as `pools_on_gpus.py`, and Parquet with PNGs at the
end. Where the two differ, Ray Data has less to do: its refined pictures are not scored again, its
short batches are not padded, and nothing is calibrated, checked or recorded. Its clock starts
when its first student's first call begins and stops when the last file is written.

Shapes:

    through   one pipeline; every row passes the teachers, which refine the rejected ones
    split     the oracles write accepted rows; only rejected ones go on, in batches of their own
    two pass  draw and score everything first, and keep it; then refine with all GPUs. That is no
              pipeline: no row is finished until all are drawn, and all of them are held.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pools_on_gpus import CASES, SHORT, heading, scaled, shorter, show, summary
from timed_jobs import CORES, RESULTS, TASK_SLOTS, Case, on_ray, pretend_gpus, write_result

from actors.settings import ModelSettings
from actors.timed import TimedOracle, TimedStudent, TimedTeacher
from jobs.output.encode import encode_one
from jobs.resolution import Job
from jobs.spec.picture_formats import PNG

Batch = dict[str, Any]

SWEEP = RESULTS / "ray_data_sweep.json"

THRESHOLD = 0.5

KINDS = {"pipeline": ("through", "split"), "two passes": ("two pass",)}

MAIN_SHARE, ORACLE_SHARE = 0.9, 0.1
"""Of a GPU, as in our pools: a GPU has room for a student or a teacher, and for an oracle."""

ACTOR_CORES, FILE_CORES = 0.1, CORES / (2 * TASK_SLOTS)
"""As many file tasks at once as in our runs; two cores have no use for more."""

Size = int | tuple[int, int]
"""A fixed pool, or the fewest and the most actors of one that scales itself."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Ray Data's settings.

    `block_rows`: rows of an input block. `teacher_rows`: rows of a teacher's batch, of which it
    refines the rejected ones, sixteen at once. `in_flight`: tasks of an actor at once; None: Ray
    Data's own choice. `fused`: the oracle in the student's actor. `block_bytes`: the size at which
    a task's output is cut.
    """

    shape: Literal["through", "split", "two pass"] = "through"
    students: Size = (1, 8)
    oracles: Size = 1
    teachers: Size = (1, 8)
    block_rows: int = 16
    teacher_rows: int = 64
    in_flight: int | None = None
    fused: bool = False
    block_bytes: int | None = None
    up_at: float | None = None
    """Utilisation from which a pool grows; None: Ray Data's own choice."""

    @property
    def name(self) -> str:
        """The settings that differ from the defaults."""
        default = asdict(Setting())
        changed = {k: v for k, v in asdict(self).items() if v != default[k] or k == "shape"}
        return ", ".join(f"{k} {v}".replace("_", " ") for k, v in changed.items())


# ---- the three roles, for map_batches


class CallLog:
    """Appends a line for each call to a file that only this process writes."""

    def __init__(self, folder: str) -> None:
        self._file = (Path(folder) / f"{os.getpid()}.jsonl").open("a", buffering=1)

    def add(self, stage: str, begin: float, rows: int) -> None:
        """Log a call that has ended."""
        self._file.write(json.dumps([stage, begin, time(), rows]) + "\n")


class Draw:
    """Prompts in, latents and pictures out; with `fused` also scores."""

    def __init__(self, models: ModelSettings, log: str, fused: bool) -> None:
        self._student, self._log = TimedStudent(models.student), CallLog(log)
        self._oracle = TimedOracle(models.oracle) if fused else None

    def __call__(self, batch: Batch) -> Batch:
        """Draw every row."""
        begin, rows = time(), len(batch["row"])
        prompts, seeds = list(batch["prompt"]), batch["row"].tolist()
        latents, pictures, _ = self._student.draw(prompts, seeds, micro_batch_size=rows)
        self._log.add("student", begin, rows)
        drawn = {**batch, "latents": latents, "picture": pictures}
        return drawn if self._oracle is None else scored(self._oracle, self._log, drawn)


class Score:
    """Adds scores. With a folder `accepted` it writes accepted rows there; the rest goes on."""

    def __init__(self, models: ModelSettings, log: str, accepted: str | None) -> None:
        self._oracle, self._log = TimedOracle(models.oracle), CallLog(log)
        self._accepted = accepted

    def __call__(self, batch: Batch) -> Batch:
        """Score every row; return all, or the rejected ones."""
        batch = scored(self._oracle, self._log, batch)
        if self._accepted is None:
            return batch
        good = batch["score"] >= THRESHOLD
        if good.any():
            file = Path(self._accepted) / f"{batch['row'][0]:08}.parquet"
            table = encoded({name: column[good] for name, column in batch.items()})
            pq.write_table(pa.table({k: list(v) for k, v in table.items()}), file)
        return {name: column[~good] for name, column in batch.items()}


class Refine:
    """Refines the rejected rows of a batch, up to a teacher's batch at once."""

    def __init__(self, job: Job, log: str) -> None:
        teacher = job.spec.models.teacher
        self._teacher, self._log = TimedTeacher(teacher), CallLog(log)
        self._most, self._plan = teacher.batch_size, job.refinement

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """Return every row, accepted ones unchanged."""
        pictures = batch["picture"].copy()
        rejected = np.flatnonzero(batch["score"] < THRESHOLD)
        for first in range(0, len(rejected), self._most):
            chosen, begin = rejected[first : first + self._most], time()
            refined, _ = self._teacher.refine(
                batch["prompt"][chosen].tolist(),
                batch["row"][chosen].tolist(),
                [(0, row) for row in chosen],
                batch["latents"],
                micro_batch_size=len(chosen),
                plan=self._plan,
            )
            pictures[chosen] = refined
            self._log.add("teacher", begin, len(chosen))
        kept = {name: column for name, column in batch.items() if name != "latents"}
        yield {**kept, "picture": pictures}


def scored(oracle: TimedOracle, log: CallLog, batch: Batch) -> Batch:
    """The batch with scores."""
    begin, rows = time(), len(batch["row"])
    picks = [(0, row) for row in range(rows)]
    scores, _ = oracle.score(list(batch["prompt"]), picks, batch["picture"], micro_batch_size=rows)
    log.add("oracle", begin, rows)
    return {**batch, "score": np.array(scores)}


def encoded(batch: Batch) -> Batch:
    """The batch with PNGs in place of pictures, and without latents."""
    pngs = [encode_one(picture, PNG) for picture in batch["picture"]]
    kept = {k: v for k, v in batch.items() if k not in ("picture", "latents")}
    return {**kept, "image": np.array(pngs, dtype=object)}


# ---- the pipeline


@dataclass(frozen=True, kw_only=True)
class Found:
    """The result of a setting. `calls`: (stage, begin, end, rows)."""

    setting: Setting
    seconds: float
    loading_seconds: float
    calls: list[tuple[str, float, float, int]]

    @property
    def half_empty(self) -> float:
        """The fraction of the teacher's calls with fewer than 8 of 16 rows."""
        rows = [rows for stage, _, _, rows in self.calls if stage == "teacher"]
        return sum(n < 8 for n in rows) / len(rows) if rows else 0.0

    @property
    def busy(self) -> dict[str, float]:
        """Seconds of calls by stage."""
        stages = ("student", "oracle", "teacher")
        return {s: sum(e - b for stage, b, e, _ in self.calls if stage == s) for s in stages}

    def as_json(self, bound_seconds: float) -> dict[str, Any]:
        """For the results file."""
        return {
            "setting": asdict(self.setting),
            "seconds": round(self.seconds, 2),
            "ratio": round(self.seconds / bound_seconds, 4),
            "loading_seconds": round(self.loading_seconds, 2),
            "busy_seconds": {stage: round(s, 1) for stage, s in self.busy.items()},
            "teacher_calls_under_half": round(self.half_empty, 4),
        }


def run(job: Job, prompts: Path, setting: Setting, folder: Path) -> Found:
    """Run a setting. Raises ValueError if a row is missing at the end."""
    import ray

    log, out, accepted = folder / "log", folder / "out", folder / "accepted"
    for each in (log, accepted):
        each.mkdir(parents=True)
    # Importing ray.data sets up its log, so levels are set after that.
    context = ray.data.DataContext.get_current()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    before = context.target_max_block_size, context.autoscaling_config
    if setting.block_bytes is not None:
        context.target_max_block_size = setting.block_bytes
    if setting.up_at is not None:
        context.autoscaling_config = replace(
            context.autoscaling_config, actor_pool_util_upscaling_threshold=setting.up_at
        )
    begin = time()
    try:
        _execute(job, prompts, setting, log, out, accepted)
    finally:
        context.target_max_block_size, context.autoscaling_config = before
    end = time()
    calls = [
        tuple(json.loads(line))
        for file in log.glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    rows = sum(pq.read_metadata(f).num_rows for d in (out, accepted) for f in d.rglob("*.parquet"))
    if rows != job.prompts.num_rows:
        raise ValueError(f"{rows} rows came out of {job.prompts.num_rows}")
    first = min(call[1] for call in calls)
    return Found(setting=setting, seconds=end - first, loading_seconds=first - begin, calls=calls)


def _execute(
    job: Job, prompts: Path, setting: Setting, log: Path, out: Path, accepted: Path
) -> None:
    import ray

    models, batch = job.spec.models, job.spec.models.student.batch_size
    table, size = pq.read_table(prompts), setting.block_rows
    # In memory: read_parquet makes one block of a small file, and then one actor does everything.
    rows = ray.data.from_arrow([table.slice(at, size) for at in range(0, len(table), size)])
    split = setting.shape == "split"
    drawn = rows.map_batches(
        Draw,
        fn_constructor_args=(models, str(log), setting.fused),
        batch_size=batch,
        **_pool(setting, setting.students, MAIN_SHARE),
    )
    if not setting.fused:
        drawn = drawn.map_batches(
            Score,
            fn_constructor_args=(models, str(log), str(accepted) if split else None),
            batch_size=batch,
            **_pool(setting, setting.oracles, ORACLE_SHARE),
        )
    if setting.shape == "two pass":
        drawn = drawn.materialize()
    if split:
        drawn = drawn.repartition(target_num_rows_per_block=setting.teacher_rows, strict=True)
    refined = drawn.map_batches(
        Refine,
        fn_constructor_args=(job, str(log)),
        batch_size=setting.teacher_rows,
        **_pool(setting, setting.teachers, MAIN_SHARE),
    )
    files = refined.map_batches(encoded, batch_size=None, num_cpus=FILE_CORES)
    files.write_parquet(str(out), ray_remote_args={"num_cpus": FILE_CORES})


def _pool(setting: Setting, size: Size, share: float) -> dict[str, Any]:
    import ray

    sizes = (
        {"size": size}
        if isinstance(size, int)
        else dict(zip(("min_size", "max_size"), size, strict=True))
    )
    pool = ray.data.ActorPoolStrategy(**sizes, max_tasks_in_flight_per_actor=setting.in_flight)
    return {"compute": pool, "num_gpus": share, "num_cpus": ACTOR_CORES}


# ---- which settings


def settings(gpus: int) -> list[Setting]:
    """The settings to try: fixed splits, pools that scale themselves, and each knob at both."""
    some = max(1, gpus // 4)
    fixed = Setting(students=some, teachers=gpus - some)
    scaling = Setting(students=(1, gpus), teachers=(1, gpus))
    return [
        fixed,
        replace(fixed, students=some + 1, teachers=gpus - some - 1),
        replace(fixed, students=max(1, some - 1), teachers=gpus - max(1, some - 1)),
        replace(fixed, teacher_rows=16),
        replace(fixed, teacher_rows=128),
        replace(fixed, in_flight=4),
        replace(fixed, in_flight=4, block_rows=64, block_bytes=256 * 1024),
        replace(fixed, block_rows=64),
        replace(fixed, oracles=2),
        replace(fixed, fused=True),
        replace(fixed, shape="split", teacher_rows=16),
        replace(fixed, shape="split", teacher_rows=16, in_flight=4),
        scaling,
        replace(scaling, in_flight=4),
        replace(scaling, in_flight=8, teacher_rows=16),
        replace(scaling, up_at=1.0),
        replace(scaling, students=(1, some), teachers=(1, gpus - 1)),
        replace(scaling, students=(1, some + 1), teachers=(gpus - some - 1, gpus - 1)),
        replace(scaling, shape="split", teacher_rows=16),
        replace(scaling, shape="split", teacher_rows=16, in_flight=4),
        Setting(shape="two pass", students=gpus, teachers=gpus),
    ]


def short_settings(case: Case) -> list[Setting]:
    """By hand, for jobs of minutes: the best fixed split and pools that scale themselves, with
    teachers' batches cut from 4 or 16 of the students', or filled with rejected rows alone."""
    split = Setting(
        shape="split", students=3, teachers=5, block_rows=case.batch, teacher_rows=case.batch
    )
    through = replace(split, shape="through", teacher_rows=4 * case.batch)
    fixed = [split, through, replace(through, teacher_rows=16 * case.batch)]
    return [
        replace(setting, students=students, teachers=teachers)
        for students, teachers in ((3, 5), ((1, case.gpus), (1, case.gpus)))
        for setting in fixed
    ]


def best_of_sweep(gpus: int, number: int) -> list[Setting]:
    """The fastest pipelines of the last sweep; without one, the first settings."""
    if not SWEEP.exists():
        return settings(gpus)[:number]
    runs = [run for run in json.loads(SWEEP.read_text())["runs"] if "seconds" in run]
    runs.sort(key=lambda run: run["seconds"])
    found = [
        Setting(**{k: tuple(v) if isinstance(v, list) else v for k, v in run["setting"].items()})
        for run in runs
    ]
    return [setting for setting in found if setting.shape != "two pass"][:number]


def measure(job: Job, prompts: Path, setting: Setting) -> Found | str:
    """Run a setting. Where Ray Data cannot carry it out, the result is its error."""
    with TemporaryDirectory() as folder:
        try:
            return run(job, prompts, setting, Path(folder))
        except Exception as error:  # noqa: BLE001 - whatever it says is printed and kept
            lines = [line for line in str(error).splitlines() if line.strip()]
            return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]


def compare(case: Case, tried: list[Setting], result: str) -> None:
    """Run ours, and Ray Data at each setting, on one Ray; write each result as it comes."""
    with TemporaryDirectory() as folder, pretend_gpus(case.gpus) as have:
        job = case.job(Path(folder))
        ours = on_ray(job, have)
        bound = ours.bound_seconds
        heading(case, bound)
        show("Bottega", ours.seconds, bound, ours.loading_seconds, summary(ours))
        found: dict[str, Any] = {"case": case.name, "rows": case.rows, "gpus": case.gpus}
        found |= {"bottega": ours.as_json(), "runs": []}
        for setting in tried:
            one = measure(job, Path(folder) / "prompts.parquet", setting)
            if isinstance(one, str):
                print(f"{setting.name}: {one}", flush=True)
                found["runs"].append({"setting": asdict(setting), "error": one})
            else:
                rest = f"{one.half_empty:.1%} of the teacher's calls under half full"
                show(setting.name, one.seconds, bound, one.loading_seconds, rest)
                found["runs"].append(one.as_json(bound))
            for kind, shapes in KINDS.items():
                times = [
                    r["seconds"]
                    for r in found["runs"]
                    if "seconds" in r and r["setting"]["shape"] in shapes
                ]
                if times:
                    found[f"best_{kind}_over_bottega"] = round(min(times) / ours.seconds, 4)
            write_result(result, found)
    for kind in KINDS:
        if ratio := found.get(f"best_{kind}_over_bottega"):
            print(f"Ray Data's best {kind} takes {ratio:.3f} times as long as Bottega")


def main() -> None:
    """Run the sweep, or compare in full."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", nargs="?", choices=[*CASES, *SHORT], default="moving")
    parser.add_argument("--sweep", action="store_true", help="every setting, on a quarter of rows")
    parser.add_argument("--best", type=int, default=3, help="settings of the sweep to run in full")
    parser.add_argument("--two-pass", action="store_true", help="and in two passes")
    parser.add_argument("--short", action="store_true", help="a short run that shows that it works")
    given = parser.parse_args()
    logging.getLogger("bottega").setLevel(logging.ERROR)
    case = {**CASES, **SHORT}[given.case]
    if given.sweep:
        case = replace(scaled(case, 4), speed=2 * case.speed)
    if given.short:
        case = shorter(case)
    if given.sweep:
        compare(case, settings(case.gpus), SWEEP.stem + "-short" * given.short)
        return
    tried = best_of_sweep(case.gpus, given.best)
    if given.case in SHORT:
        tried = short_settings(case)
    if given.two_pass:
        tried.append(Setting(shape="two pass", students=case.gpus, teachers=case.gpus))
    compare(case, tried, f"ray_data_{case.name}")


if __name__ == "__main__":
    main()

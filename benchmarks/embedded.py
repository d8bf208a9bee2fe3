"""Evaluate the embedded set: `python benchmarks/embedded.py`.

Draws 1,000 held-out captions with the product's own `Student`, `Oracle` and `Teacher`, reads every
picture with the verifier, and writes the figures to `benchmarks/results/embedded/`. The pictures of
every batch are cached (`--cache`), so a stopped run continues, and the verifier reads them each
time. docs/embedded.md explains the figures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from embedded_figures import (
    Flags,
    Point,
    bootstrap,
    bootstrap_area,
    mixture,
    svg,
    wilson,
)
from numpy.typing import NDArray

from actors.models.presets import PRESETS
from actors.models.shapes import verifier, world
from actors.oracle import Oracle
from actors.refinement import Refinement
from actors.seeds import row_seed
from actors.student import Student
from actors.teacher import Teacher

RESULTS = Path(__file__).parent / "results" / "embedded"
SEEDS = (1, 2, 3)
NUM_HELDOUT = 1000
NUM_CALIBRATION = 500
NUM_QUICK = 200
BATCH = 50

STUDENT_STEPS = PRESETS["shapes"].student.steps
TEACHER_STEPS = 25
CURVE_STEPS = (3, 4, 5, 6, 8, 10, 12, 16)
DDIM_STEPS = (3, 4, 5, 6, 8, 10)
"""With few steps a deterministic sampler may be the better one for the teacher alone."""
REFINEMENTS = ((0.5, 4), (0.6, 4), (0.6, 6), (0.7, 6), (0.8, 8))
REGENERATIONS = (6, 10)
"""Steps in which a rejected picture is drawn anew: by a run of the teacher alone."""
FRACTIONS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0)


@dataclass(frozen=True)
class Run:
    """One way of drawing all captions of a split once."""

    kind: str
    steps: int
    seed: int = 1
    strength: float = 1.0
    split: world.Split = "heldout"

    @property
    def name(self) -> str:
        """For the cache and the results."""
        back = f"-{self.strength:g}" if self.kind == "refine" else ""
        return f"{self.split}-{self.kind}{back}-{self.steps}-seed{self.seed}"

    @property
    def captions(self) -> list[str]:
        """The captions to draw."""
        return captions_of(self.split)

    @property
    def cost(self) -> int:
        """Network evaluations per picture of this run alone; guidance doubles a step."""
        return self.steps if self.kind == "student" else 2 * self.steps


@dataclass(frozen=True)
class Result:
    """A run's results for each caption."""

    right: Flags
    holding: NDArray[np.int64]
    scores: NDArray[np.float64]


@cache
def captions_of(split: world.Split) -> list[str]:
    """The first captions of a split: fixed by their own seed, never seen in training."""
    num_captions = NUM_HELDOUT if split == "heldout" else NUM_CALIBRATION
    rng = np.random.default_rng(2026)
    return [str(caption) for caption in world.sample_captions(rng, num_captions, split)]


@cache
def _student(steps: int) -> Student:
    settings = PRESETS["shapes"].student.model_copy(update={"batch_size": BATCH, "steps": steps})
    return Student(settings, threads=1)


@cache
def _oracle() -> Oracle:
    return Oracle(PRESETS["shapes"].oracle.model_copy(update={"batch_size": BATCH}), threads=1)


@cache
def _teacher(kind: str) -> Teacher:
    settings = PRESETS["shapes"].teacher.model_copy(update={"batch_size": BATCH})
    teacher = Teacher(settings, threads=1)
    if kind == "teacher-ddim":
        pipe = teacher.diffusion.pipe
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    return teacher


def draw_batch(run: Run, start: int, folder: Path) -> Path:
    """Draw and score one batch of a run, unless its file exists. Returns the file."""
    file = folder / run.name / f"{start:04d}.npz"
    if file.exists():
        return file
    texts = run.captions[start : start + BATCH]
    seeds = [row_seed(run.seed, text) for text in texts]
    picks = [(0, row) for row in range(len(texts))]
    latents: NDArray[Any] = np.zeros(0)
    if run.kind == "student":
        drawn, pictures, _ = _student(run.steps).draw(texts, seeds)
        latents = drawn.numpy()
    elif run.kind == "refine":
        before = draw_batch(Run("student", STUDENT_STEPS, run.seed, split=run.split), start, folder)
        with np.load(before) as stored:
            starts = torch.from_numpy(stored["latents"])
        plan = Refinement("refine", run.strength, run.steps, "latents")
        pictures, _ = _teacher(run.kind).refine(texts, seeds, picks, starts, plan=plan)
    else:
        plan = Refinement("regenerate", 1.0, run.steps, "latents")
        pictures, _ = _teacher(run.kind).refine(texts, seeds, picks, plan=plan)
    scores, _ = _oracle().score(texts, picks, pictures)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial.npz")
    np.savez(partial, pictures=pictures, scores=np.array(scores), latents=latents)
    partial.replace(file)
    return file


def read(run: Run, files: list[Path]) -> Result:
    """A run's results, with the verifier's reading of its pictures."""
    stored = [np.load(file) for file in files]
    pictures = np.concatenate([one["pictures"] for one in stored])
    verdicts = [
        verifier.verify(picture, world.parse(text))
        for picture, text in zip(pictures, run.captions, strict=False)
    ]
    return Result(
        right=np.array([verdict.right for verdict in verdicts]),
        holding=np.array([verdict.num_holding for verdict in verdicts]),
        scores=np.concatenate([one["scores"] for one in stored]),
    )


def draw_runs(
    runs: list[Run], folder: Path, processes: int, most: int = NUM_HELDOUT
) -> dict[Run, Result]:
    """Carry out runs, in order, one batch per process at a time, `most` captions of each."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures: dict[Run, list[Future[Path]]] = {
            run: [
                pool.submit(draw_batch, run, start, folder)
                for start in range(0, min(most, len(run.captions)), BATCH)
            ]
            for run in runs
        }
        results = {}
        for run, batches in futures.items():
            results[run] = read(run, [batch.result() for batch in batches])
            print(f"{run.name}: {results[run].right.mean():.3f} right", flush=True)
    return results


def measure_cost(repeats: int = 5) -> dict[str, Any]:
    """Time student and teacher in turn on the same captions, in one thread of one process."""
    texts = captions_of("demo")[:BATCH]
    seeds = [row_seed(0, text) for text in texts]
    picks = [(0, row) for row in range(BATCH)]
    teacher = _teacher("teacher")
    plan = Refinement("regenerate", 1.0, TEACHER_STEPS, "latents")
    pictures = _student(STUDENT_STEPS).draw(texts, seeds)[1]
    work: dict[str, Callable[[], object]] = {
        "student": lambda: _student(STUDENT_STEPS).draw(texts, seeds),
        "teacher": lambda: teacher.refine(texts, seeds, picks, plan=plan),
        "oracle": lambda: _oracle().score(texts, picks, pictures),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, call in work.items():
            begin = perf_counter()
            call()
            seconds[name].append((perf_counter() - begin) / BATCH)
    return {
        "seconds_per_picture": {name: median(values) for name, values in seconds.items()},
        "seconds_ratio": median(
            t / s for t, s in zip(seconds["teacher"], seconds["student"], strict=True)
        ),
        "evaluations": {"student": STUDENT_STEPS, "teacher": 2 * TEACHER_STEPS},
        "evaluations_ratio": 2 * TEACHER_STEPS / STUDENT_STEPS,
    }


def headline(results: dict[Run, Result]) -> dict[str, Any]:
    """The figures over three seeds, each as (value, low, high) with a 95 % interval."""
    students = [results[Run("student", STUDENT_STEPS, seed)] for seed in SEEDS]
    teachers = [results[Run("teacher", TEACHER_STEPS, seed)] for seed in SEEDS]

    def stack(runs: list[Result], name: str) -> NDArray[Any]:
        return np.stack([getattr(run, name) for run in runs])

    student_right, teacher_right = stack(students, "right"), stack(teachers, "right")
    student_holding, teacher_holding = stack(students, "holding"), stack(teachers, "holding")
    return {
        "teacher_right": bootstrap(teacher_right.astype(float)),
        "teacher_right_by_seed": [float(row.mean()) for row in teacher_right],
        "student_right": bootstrap(student_right.astype(float)),
        "student_right_by_seed": [float(row.mean()) for row in student_right],
        "student_as_good_or_better": bootstrap((student_holding >= teacher_holding).astype(float)),
        "student_strictly_better": bootstrap((student_holding > teacher_holding).astype(float)),
        "oracle_auroc_on_student": bootstrap_area(stack(students, "scores"), student_right),
        "oracle_auroc_on_teacher": bootstrap_area(stack(teachers, "scores"), teacher_right),
    }


def curve_points(
    results: dict[Run, Result], refined: Run, thresholds: dict[float, float]
) -> tuple[list[Point], list[Point]]:
    """Adaptive points at calibrated thresholds, and rejection at random of as many pictures."""
    student = results[Run("student", STUDENT_STEPS)]
    adaptive, control = [], []
    for fraction, threshold in thresholds.items():
        rejected = student.scores < threshold
        cost, right = mixture(
            rejected, student.right, results[refined].right, STUDENT_STEPS, refined.cost
        )
        adaptive.append(Point(cost, *wilson(right), note=f"refine {fraction:g}"))
        share = rejected.mean()
        expected = (1 - share) * student.right + share * results[refined].right
        control.append(Point(cost, *bootstrap(expected), note=f"refine {fraction:g}"))
    return adaptive, control


def label_of(run: Run) -> str:
    """The name of a variant: how the teacher treats a rejected picture."""
    kind = "refine" if run.kind == "refine" else "regenerate"
    return f"{kind} {run.strength:g} x {run.steps}"


def against_teacher(
    results: dict[Run, Result], refined: Run, thresholds: dict[float, float]
) -> list[dict[str, Any]]:
    """Adaptive at a mean of N evaluations against the teacher alone at 2N or more, paired."""
    student = results[Run("student", STUDENT_STEPS)]
    rows = []
    for fraction, threshold in thresholds.items():
        cost, right = mixture(
            student.scores < threshold,
            student.right,
            results[refined].right,
            STUDENT_STEPS,
            refined.cost,
        )
        enough = [run for run in teachers_alone() if run.cost >= 2 * cost]
        if not enough:
            continue
        cheapest = min(run.cost for run in enough)
        # Where two samplers were tried at this cost, the better one stands for the teacher.
        alone = max(
            (run for run in enough if run.cost == cheapest),
            key=lambda run: results[run].right.mean(),
        )
        teacher = results[alone]
        difference = right.astype(float) - teacher.right.astype(float)
        rows.append(
            {
                "refine": fraction,
                "evaluations": cost,
                "right": float(right.mean()),
                "teacher": alone.name,
                "teacher_evaluations": alone.cost,
                "teacher_right": float(teacher.right.mean()),
                "difference": bootstrap(difference),
            }
        )
    return rows


def teachers_alone() -> list[Run]:
    """The teacher without a student, at every number of steps."""
    alone = [Run("teacher", steps) for steps in sorted({*CURVE_STEPS, TEACHER_STEPS})]
    return alone + [Run("teacher-ddim", steps) for steps in DDIM_STEPS]


def all_runs() -> list[Run]:
    """All runs, the most important first."""
    runs = [Run("student", STUDENT_STEPS, split="demo")]
    runs += [Run("student", STUDENT_STEPS, seed) for seed in SEEDS]
    runs += [Run("teacher", TEACHER_STEPS)]
    runs += [Run("refine", steps, strength=strength) for strength, steps in REFINEMENTS]
    runs += [run for run in teachers_alone() if run not in runs]
    return runs + [Run("teacher", TEACHER_STEPS, seed) for seed in SEEDS[1:]]


def quick(folder: Path, processes: int) -> dict[str, Any]:
    """Some figures: a few ways of drawing the first held-out captions, once."""
    runs = [Run("student", STUDENT_STEPS), Run("teacher", TEACHER_STEPS)]
    runs += [Run("teacher", 5), Run("teacher", 10), Run("refine", 6, strength=0.6)]
    results = draw_runs(runs, folder, processes, NUM_QUICK)
    student, teacher = results[runs[0]], results[runs[1]]
    return {
        "captions": len(student.right),
        "right": {run.name: wilson(result.right) for run, result in results.items()},
        "evaluations": {run.name: run.cost for run in runs},
        "student_as_good_or_better": wilson(student.holding >= teacher.holding),
        "student_strictly_better": wilson(student.holding > teacher.holding),
        "oracle_auroc": bootstrap_area(student.scores[None], student.right[None]),
    }


def write(name: str, content: object) -> None:
    """Write one result file."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / name).write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    """Run, or continue, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("out/embedded-benchmark"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="some figures in a minute or two")
    arguments = parser.parse_args()
    if arguments.quick:
        write("quick.json", quick(arguments.cache, arguments.processes))
        return
    results = draw_runs(all_runs(), arguments.cache, arguments.processes)
    write("headline.json", headline(results))
    write("cost.json", measure_cost())

    scores = results[Run("student", STUDENT_STEPS, split="demo")].scores
    thresholds = {fraction: float(np.quantile(scores, fraction)) for fraction in FRACTIONS[:-1]}
    thresholds[1.0] = float("inf")
    student = results[Run("student", STUDENT_STEPS)]
    curves = {
        "student alone": [Point(STUDENT_STEPS, *wilson(student.right))],
    } | {
        f"{kind} alone": [
            Point(run.cost, *wilson(results[run].right), note=f"{run.steps} steps")
            for run in teachers_alone()
            if run.kind == kind
        ]
        for kind in ("teacher", "teacher-ddim")
    }
    comparisons = {}
    variants = [Run("refine", steps, strength=strength) for strength, steps in REFINEMENTS]
    variants += [Run("teacher", steps) for steps in REGENERATIONS]
    for run in variants:
        label = label_of(run)
        adaptive, control = curve_points(results, run, thresholds)
        curves |= {f"adaptive, {label}": adaptive, f"random, {label}": control}
        comparisons[label] = against_teacher(results, run, thresholds)
    write("curve.json", {name: [vars(p) for p in points] for name, points in curves.items()})
    write("against_teacher.json", comparisons)
    write(
        "runs.json",
        {
            run.name: {
                "right": "".join("01"[int(flag)] for flag in result.right),
                "parts_holding": result.holding.tolist(),
                "scores": [round(float(score), 3) for score in result.scores],
            }
            for run, result in results.items()
        },
    )
    shown = [run for run in variants if (run.strength, run.steps) in ((0.6, 6), (1.0, 10))]
    names = ["student alone", "teacher alone", "teacher-ddim alone"]
    for run in shown:
        names += [f"adaptive, {label_of(run)}", f"random, {label_of(run)}"]
    (RESULTS / "curve.svg").write_text(
        svg({name: curves[name] for name in names}, "Captions drawn wholly right, held out")
    )


if __name__ == "__main__":
    main()

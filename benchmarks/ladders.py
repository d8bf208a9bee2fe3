"""Choose ladders for the embedded set: `python benchmarks/ladders.py`.

Draws captions of the split `demo`, which is never held out, several times, has the teacher refine
and draw anew all of them, and finds the ladder that is right most often within each budget of
network evaluations. It writes `benchmarks/results/embedded/ladders.json`;
`benchmarks/ladder_jobs.py` measures ladders with real jobs on held-out captions. Every batch is
cached (`--cache`), so a stopped run continues.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from embedded_figures import wilson
from numpy.typing import NDArray

from actors.models.presets import PRESETS
from actors.models.shapes import verifier, world
from actors.oracle import Oracle
from actors.refinement import DrawPlan, Refinement
from actors.seeds import row_seed
from actors.student import Student
from actors.teacher import Teacher
from jobs.spec.climb import Ladder, Rung, climb
from jobs.spec.quantile import threshold_for

RESULTS = Path(__file__).parent / "results" / "embedded"
BATCH = 50
BUDGETS = (3.0, 4.0, 8.0)
"""Mean network evaluations of a picture."""

DRAWS = 4
REFINEMENTS = ((0.8, 8),)
REGENERATIONS = (12,)
QUANTILES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)


@dataclass(frozen=True)
class Attempt:
    """One way to make a picture. `number`: of the drawing. `strength`, `steps`: of the teacher."""

    make: str
    number: int = 0
    strength: float = 1.0
    steps: int = 0

    @property
    def name(self) -> str:
        return f"{self.make}-{self.number}-{self.strength:g}-{self.steps}"

    @property
    def cost(self) -> int:
        """Network evaluations; the teacher is guided, which doubles a step."""
        return PRESETS["shapes"].student.steps if self.make == "draw" else 2 * self.steps


DRAWINGS = [Attempt("draw", number) for number in range(DRAWS)]
REFINED = [Attempt("refine", 0, *how) for how in REFINEMENTS]
ANEW = [Attempt("regenerate", 0, 1.0, steps) for steps in REGENERATIONS]


@dataclass(frozen=True)
class Made:
    """Of each caption: the oracle's score, and whether the verifier finds the caption right."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]


def make_all(folder: Path, num_captions: int) -> dict[Attempt, Made]:
    """Every attempt at every caption. The teacher refines the first drawing."""
    rng = np.random.default_rng(2027)
    captions = [str(one) for one in world.sample_captions(rng, num_captions, "demo")]
    preset = PRESETS["shapes"]
    student = Student(preset.student.model_copy(update={"batch_size": BATCH}), threads=1)
    teacher = Teacher(preset.teacher.model_copy(update={"batch_size": BATCH}), threads=1)
    oracle = Oracle(preset.oracle.model_copy(update={"batch_size": BATCH}), threads=1)
    found: dict[Attempt, list[dict[str, Any]]] = {}
    for start in range(0, num_captions, BATCH):
        texts = captions[start : start + BATCH]
        seeds = [row_seed(11, text) for text in texts]
        picks = [(0, row) for row in range(len(texts))]
        first: torch.Tensor | None = None
        for attempt in (*DRAWINGS, *REFINED, *ANEW):
            file = folder / f"{attempt.name}-{start:04d}.npz"
            if not file.exists():
                if attempt.make == "draw":
                    plan = DrawPlan(first=attempt.number)
                    latents, pictures, _ = student.draw(texts, seeds, plan=plan)
                    first = latents if attempt.number == 0 else first
                else:
                    if first is None and attempt.make == "refine":
                        first = student.draw(texts, seeds)[0]
                    how = "refine" if attempt.make == "refine" else "regenerate"
                    task = Refinement(how, attempt.strength, attempt.steps, "latents")
                    starts = [first] if how == "refine" else []
                    pictures, _ = teacher.refine(texts, seeds, picks, *starts, plan=task)
                scores, _ = oracle.score(texts, picks, pictures)
                right = [
                    verifier.verify(picture, world.parse(text)).right
                    for picture, text in zip(pictures, texts, strict=True)
                ]
                folder.mkdir(parents=True, exist_ok=True)
                partial = file.with_suffix(".partial.npz")
                np.savez(partial, scores=np.array(scores), right=np.array(right))
                partial.replace(file)
            with np.load(file) as stored:
                found.setdefault(attempt, []).append(dict(stored))
        print(f"{start + len(texts)} of {num_captions} captions", flush=True)
    joined = {
        attempt: [np.concatenate([one[name] for one in parts]) for name in ("scores", "right")]
        for attempt, parts in found.items()
    }
    return {attempt: Made(*arrays) for attempt, arrays in joined.items()}


def candidates() -> Iterator[tuple[list[Attempt], list[float], list[str]]]:
    """Ladders: the attempts, the quantile of each after the first, and what each keeps."""
    teachers: list[list[tuple[Attempt, str]]] = [[]]
    teachers += [[(one, keep)] for one in (*REFINED, *ANEW) for keep in ("teacher", "best")]
    teachers += [[(refined, "teacher"), (anew, "best")] for refined, anew in product(REFINED, ANEW)]
    for draws, teacher in product(range(1, DRAWS + 1), teachers):
        again = QUANTILES if draws > 1 else (0.0,)
        below = [QUANTILES] * len(teacher)
        for until, *quantiles in product(again, *below):
            if quantiles != sorted(quantiles, reverse=True):
                continue
            attempts = [*DRAWINGS[:draws], *(one for one, _ in teacher)]
            keeps = ["best"] * draws + [keep for _, keep in teacher]
            yield attempts, [until] * (draws - 1) + quantiles, keeps


def outcome(
    made: dict[Attempt, Made], attempts: list[Attempt], quantiles: list[float], keeps: list[str]
) -> tuple[float, NDArray[np.bool_]]:
    """Mean network evaluations, and which captions end right."""
    scores = sorted(made[DRAWINGS[0]].scores.tolist())
    below = [float("inf"), *(threshold_for(scores, quantile) for quantile in quantiles)]
    ladder: Ladder = tuple(
        Rung(make=attempt.make, below=at, keep=keep)  # type: ignore[arg-type]
        for attempt, at, keep in zip(attempts, below, keeps, strict=True)
    )
    of_rung = [made[attempt] for attempt in attempts]
    spent, right = 0, np.zeros(len(scores), np.bool_)
    columns = zip(*(one.scores.tolist() for one in of_rung), strict=True)
    for row, each in enumerate(columns):
        ended = climb(ladder, each)
        assert ended.has is not None
        spent += sum(attempts[rung].cost for rung in ended.taken)
        right[row] = of_rung[ended.has].right[row]
    return spent / len(scores), right


def as_ladder(attempts: list[Attempt], quantiles: list[float], keeps: list[str]) -> list[Any]:
    """As a job file has it."""
    draws = sum(attempt.make == "draw" for attempt in attempts)
    rungs: list[dict[str, Any]] = [{"draw": draws}]
    if draws > 1:
        rungs[0]["until"] = quantiles[0]
    for attempt, quantile, keep in zip(
        attempts[draws:], quantiles[draws - 1 :], keeps[draws:], strict=True
    ):
        settings = {"steps": attempt.steps}
        if attempt.make == "refine":
            settings = {"strength": attempt.strength, **settings}
        rungs.append({attempt.make: settings, "below": quantile, "keep": keep})
    return rungs


def main() -> None:
    """Run, or continue, and write the best ladders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("out/ladders-benchmark"))
    parser.add_argument("--captions", type=int, default=1000, help="a multiple of the batch, 50")
    args = parser.parse_args()
    made = make_all(args.cache, args.captions)
    tried = [(*outcome(made, *one), one) for one in candidates()]
    best: dict[str, Any] = {
        "captions": args.captions,
        "split": "demo",
        "ladders_tried": len(tried),
        "right": {attempt.name: float(one.right.mean()) for attempt, one in made.items()},
    }
    for budget in BUDGETS:
        within = [one for one in tried if one[0] <= budget]
        nfe, right, ladder = max(within, key=lambda one: (float(one[1].mean()), -one[0]))
        best[f"nfe {budget:g}"] = {
            "nfe": round(nfe, 3),
            "right": wilson(right),
            "ladder": as_ladder(*ladder),
        }
        print(json.dumps(best[f"nfe {budget:g}"]))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "ladders.json").write_text(json.dumps(best, indent=1) + "\n")


if __name__ == "__main__":
    main()

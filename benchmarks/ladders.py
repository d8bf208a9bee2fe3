"""Choose the ladders of the preset `shapes`: `python benchmarks/ladders.py`.

Draws captions of the split `demo`, which is never held out, several times, has the teacher refine
and draw anew all of them, and finds the ladder that is right most often within each budget, by the
search of `bottega calibrate --search` with the verifier in the oracle's place; and the ladder that
the oracle itself chooses there. It writes `benchmarks/results/embedded/ladders.json`;
`benchmarks/ladder_jobs.py` measures ladders with real jobs on held-out captions. The pictures of
every batch are cached (`--cache`), so a stopped run continues; the verifier reads them each time.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from embedded_figures import bootstrap, wilson
from numpy.typing import NDArray

from actors.models.presets import PRESETS
from actors.models.shapes import verifier, world
from actors.oracle import Oracle
from actors.refinement import DrawPlan, Refinement
from actors.seeds import row_seed
from actors.student import Student
from actors.teacher import Teacher
from jobs.spec.ladder import LadderRung, Refine, Regenerate, attempts_of, thresholds_of
from jobs.spec.ladder_search import (
    Candidate,
    SampledAttempts,
    Tried,
    best_ladders,
    candidates,
    outcome,
)

RESULTS = Path(__file__).parent / "results" / "embedded"
BATCH = 50
BUDGETS = {3.0: 0.95, 4.0: 0.95, 8.0: 0.875}
"""Mean network evaluations of a picture, and the fraction of them that a ladder may spend here: of
other captions it spends more or less. The one for 8 has its thresholds as scores, so that harder
captions get more of the teacher: it may spend an evaluation less."""

REFINED = Refine(strength=0.8, steps=8)
TRIED = Tried(4, (REFINED, Regenerate(steps=12)))


def make_all(folder: Path, num_captions: int) -> SampledAttempts:
    """Every attempt at every caption; right pictures are the merit."""
    rng = np.random.default_rng(2027)
    captions = [str(one) for one in world.sample_captions(rng, num_captions, "demo")]
    preset = PRESETS["shapes"]
    student = Student(preset.student.model_copy(update={"batch_size": BATCH}), threads=1)
    teacher = Teacher(preset.teacher.model_copy(update={"batch_size": BATCH}), threads=1)
    oracle = Oracle(preset.oracle.model_copy(update={"batch_size": BATCH}), threads=1)

    def made(texts: list[str], first: torch.Tensor | None, attempt: int) -> list[NDArray[Any]]:
        seeds = [row_seed(11, text) for text in texts]
        picks = [(0, row) for row in range(len(texts))]
        if attempt < TRIED.drawings:
            latents, pictures, _ = student.draw(texts, seeds, plan=DrawPlan(first=attempt))
        else:
            way = TRIED.ways[attempt - TRIED.drawings]
            latents = torch.zeros(0)
            plan = Refinement("regenerate", 1.0, way.steps or 1, "latents")
            starts = []
            if isinstance(way, Refine):
                plan = replace(plan, strategy="refine", strength=way.strength or 1.0)
                starts = [student.draw(texts, seeds)[0] if first is None else first]
            pictures, _ = teacher.refine(texts, seeds, picks, *starts, plan=plan)
        scores, _ = oracle.score(texts, picks, pictures)
        return [np.array(scores), np.stack(list(pictures)), latents.numpy()]

    attempts = TRIED.drawings + len(TRIED.ways)
    scores, right = np.zeros((2, num_captions, attempts))
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, num_captions, BATCH):
        texts, first = captions[start : start + BATCH], None
        for attempt in range(attempts):
            file = folder / f"{attempt}-{start:04d}.npz"
            if not file.exists():
                arrays = made(texts, first, attempt)
                partial = file.with_suffix(".partial.npz")
                np.savez(partial, *arrays)
                partial.replace(file)
            with np.load(file) as stored:
                scored, pictures, latents = (stored[f"arr_{n}"] for n in range(3))
            first = torch.from_numpy(latents) if attempt == 0 else first
            here = slice(start, start + len(texts))
            scores[here, attempt] = scored
            right[here, attempt] = [
                verifier.verify(picture, world.parse(text)).right
                for picture, text in zip(pictures, texts, strict=True)
            ]
        print(f"{start + len(texts)} of {num_captions} captions", flush=True)
    student_nfe = preset.student.steps
    nfe = [student_nfe] * TRIED.drawings + [2 * (way.steps or 1) for way in TRIED.ways]
    return SampledAttempts(TRIED, tuple(nfe), scores, right)


KEPT_AT = (0.15, 0.3, 0.5)
"""Fractions that are refined, to see which of two pictures is the better one to keep."""


def kept(sample: SampledAttempts) -> dict[str, Any]:
    """By fraction refined: how often the teacher's picture is right, how often the better scored
    one, and how much more often that is, with the 95 % interval; paired."""
    found = {}
    for below in KEPT_AT:
        right = {}
        for keep in ("teacher", "best"):
            rung = LadderRung(refine=REFINED, below=below, keep=keep)
            one = Candidate((LadderRung(draw=1), rung), (0, TRIED.drawings))
            thresholds = thresholds_of(attempts_of(one.ladder), sample.first_scores)
            right[keep] = outcome(sample, one, thresholds)[1]
        found[f"{below:g}"] = {
            **{keep: float(flags.mean()) for keep, flags in right.items()},
            "more": bootstrap(right["best"] - right["teacher"]),
        }
    return found


def as_written(candidate: Candidate) -> list[dict[str, Any]]:
    """As a job file has it."""
    return [rung.model_dump(exclude_none=True) for rung in candidate.ladder]


def main() -> None:
    """Run, or continue, and write the best ladders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("out/ladders-benchmark"))
    parser.add_argument("--captions", type=int, default=1000, help="a multiple of the batch, 50")
    args = parser.parse_args()
    sample = make_all(args.cache, args.captions)
    first = sample.first_scores
    tried = []
    for candidate in candidates(TRIED):
        thresholds = thresholds_of(attempts_of(candidate.ladder), first)
        spent, right = outcome(sample, candidate, thresholds)
        tried.append((float(right.mean()), -float(spent.mean()), candidate, right))
    names = [f"draw {n + 1}" for n in range(TRIED.drawings)]
    names += [str(way.model_dump(exclude_none=True)) for way in TRIED.ways]
    best: dict[str, Any] = {
        "captions": args.captions,
        "split": "demo",
        "ladders_tried": len(tried),
        "right": dict(zip(names, sample.merits.mean(axis=0).tolist(), strict=True)),
        "kept": kept(sample),
    }
    for budget, room in BUDGETS.items():
        within = [one for one in tried if -one[1] <= room * budget]
        _, cost, chosen, flags = max(within, key=lambda one: one[:2])
        best[f"nfe {budget:g}"] = {
            "nfe": round(-cost, 3),
            "right": wilson(flags > 0),
            "ladder": as_written(chosen),
            "thresholds": [
                round(one, 2) for one in thresholds_of(attempts_of(chosen.ladder), first)
            ],
        }
        print(json.dumps(best[f"nfe {budget:g}"]))
    by_score = best_ladders(replace(sample, merits=sample.scores), list(BUDGETS))
    best["chosen by the oracle"] = {}
    for found in by_score:
        (candidate,) = (one for one in candidates(TRIED) if one.ladder == found.ladder)
        thresholds = thresholds_of(attempts_of(candidate.ladder), first)
        spent, right = outcome(sample, candidate, thresholds)
        best["chosen by the oracle"][f"nfe {found.budget:g}"] = {
            "nfe": round(float(spent.mean()), 3),
            "right": wilson(right > 0),
            "ladder": as_written(candidate),
        }
        print("by the oracle:", json.dumps(best["chosen by the oracle"][f"nfe {found.budget:g}"]))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "ladders.json").write_text(json.dumps(best, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Negative prompts on the embedded set: `python benchmarks/negatives.py`.

Held-out captions of two objects, each drawn by the embedded teacher without a negative prompt and
with one that names the second object, from the same noise, at the preset's guidance and at a higher
one. The verifier looks whether each of the two objects, by its colour and its shape, is there. The
negative prompt is a caption of that object alone on another background, since the text encoder
knows captions and no single words. Writes `benchmarks/results/embedded/negatives.json`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from embedded_figures import Flags, bootstrap, wilson

from actors.models.presets import PRESETS
from actors.models.shapes import verifier, world
from actors.refinement import Refinement, RowOptions
from actors.seeds import row_seed
from actors.teacher import Teacher

RESULTS = Path(__file__).parent / "results" / "embedded"

GUIDANCES = (1.5, 3.0)
"""The preset's own, and twice that, at which this teacher paints objects twice."""

BATCH = 12


def captions_of_two(count: int) -> list[world.Caption]:
    """Held-out captions of two objects that differ in colour and in shape."""
    found: list[world.Caption] = []
    for caption in world.sample_captions(np.random.default_rng(17), 12 * count, "heldout"):
        if len(caption.things) == 2:
            one, other = caption.things
            if one.color != other.color and one.shape != other.shape:
                found.append(caption)
    assert len(found) >= count, "too few captions were sampled"
    return found[:count]


def naming_the_second(caption: world.Caption) -> str:
    """The caption of its second object alone, on another background."""
    others = [name for name in world.BACKGROUNDS if name != caption.background]
    return str(replace(caption, things=caption.things[1:], relations=(), background=others[0]))


def shown(sight: verifier.Sight, thing: world.Thing) -> bool:
    """Whether an object of this colour and shape is there, of whatever size."""
    return any((one.color, one.shape) == (thing.color, thing.shape) for one in sight.objects)


def drawn(
    teacher: Teacher,
    captions: list[world.Caption],
    negatives: list[str],
    guidance: float,
    steps: int,
) -> list[verifier.Sight]:
    """What the verifier sees in each caption's picture."""
    options = RowOptions(guidance_scale=guidance)
    plan = Refinement("regenerate", 1.0, steps, "latents", options=options)
    sights: list[verifier.Sight] = []
    for first in range(0, len(captions), BATCH):
        these = [str(caption) for caption in captions[first : first + BATCH]]
        seeds = [row_seed(1, text) for text in these]
        avoided = negatives[first : first + BATCH]
        pictures, _ = teacher.refine(these, seeds, [], plan=plan, negatives=avoided)
        sights += [verifier.look(picture) for picture in pictures]
    return sights


def compared(plain: Flags, avoided: Flags) -> dict[str, Any]:
    """How often an object is there without and with the negative prompt; the difference by caption,
    with a 95 % interval."""
    change = avoided.astype(np.float64) - plain.astype(np.float64)
    return {
        "without": [round(x, 3) for x in wilson(plain)],
        "with": [round(x, 3) for x in wilson(avoided)],
        "change": [round(x, 3) for x in bootstrap(change)],
    }


def main() -> None:
    """Draws, prints, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=120)
    parser.add_argument("--steps", type=int, default=12)
    asked = parser.parse_args()
    captions = captions_of_two(asked.captions)
    settings = PRESETS["shapes"].teacher.model_copy(update={"batch_size": BATCH})
    teacher = Teacher(settings, threads=1)
    found: dict[str, Any] = {"captions": len(captions), "steps": asked.steps, "guidance": {}}
    for guidance in GUIDANCES:
        sights = [
            drawn(teacher, captions, negatives, guidance, asked.steps)
            for negatives in ([""] * len(captions), [naming_the_second(one) for one in captions])
        ]
        lines: dict[str, Any] = {}
        for place, what in ((1, "named"), (0, "other")):
            plain, avoided = (
                np.array([shown(s, c.things[place]) for s, c in zip(seen, captions, strict=True)])
                for seen in sights
            )
            lines[what] = compared(plain, avoided)
            print(f"guidance {guidance}, the {what} object: {lines[what]}", flush=True)
        found["guidance"][str(guidance)] = lines
    (RESULTS / "negatives.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

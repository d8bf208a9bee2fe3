"""Negative prompts on the embedded set: `python benchmarks/negatives.py`.

The embedded teacher draws the same noise without and with negative prompts, at the preset's own
guidance, and the verifier looks what is there:

- `open`: nothing is asked for (the teacher was trained with captions left out, too), and the
  negative prompt is a caption with a colour and a background. How often is that colour, that
  background there?
- `asked_for`: held-out captions of two objects, and the negative prompt is a caption of the second
  one alone. How often is each of the two there, by its colour and its shape?

Negative prompts are captions, since the text encoder knows captions and no single words. Writes
`benchmarks/results/embedded/negatives.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import numpy as np
from embedded_figures import bootstrap, wilson

from actors.models.presets import PRESETS
from actors.models.shapes import verifier, world
from actors.refinement import Refinement
from actors.seeds import row_seed
from actors.teacher import Teacher

RESULTS = Path(__file__).parent / "results" / "embedded"
BATCH = 12


class Drawing:
    """The teacher, in so many steps from noise."""

    def __init__(self, steps: int) -> None:
        settings = PRESETS["shapes"].teacher.model_copy(update={"batch_size": BATCH})
        self.teacher = Teacher(settings, threads=1)
        self.plan = Refinement("regenerate", 1.0, steps, "latents")

    def seen(self, prompts: Sequence[str], negatives: Sequence[str]) -> list[verifier.Sight]:
        """What the verifier sees in each picture; row n has the same noise whatever its texts."""
        sights: list[verifier.Sight] = []
        for first in range(0, len(prompts), BATCH):
            rows = range(first, min(first + BATCH, len(prompts)))
            pictures, _ = self.teacher.refine(
                [prompts[row] for row in rows],
                [row_seed(1, str(row)) for row in rows],
                [],
                plan=self.plan,
                negatives=[negatives[row] for row in rows],
            )
            sights += [verifier.look(picture) for picture in pictures]
        return sights


def compared(without: Sequence[bool], with_it: Sequence[bool]) -> dict[str, list[float]]:
    """How often something is there without and with a negative prompt, and the change by picture;
    each with its 95 % interval."""
    change = np.array(with_it, np.float64) - np.array(without, np.float64)
    return {
        "without": [round(x, 3) for x in wilson(np.array(without))],
        "with": [round(x, 3) for x in wilson(np.array(with_it))],
        "change": [round(x, 3) for x in bootstrap(change)],
    }


def nothing_asked_for(drawing: Drawing, count: int) -> dict[str, Any]:
    """Each colour and background is named as often as every other."""
    named = list(islice(cycle(product(world.COLORS, world.BACKGROUNDS)), count))
    texts = [f"a large {color} circle on a {ground} background" for color, ground in named]
    nothing = [""] * count
    sights = [drawing.seen(nothing, nothing), drawing.seen(nothing, texts)]
    colors, grounds = (
        [[holds(sight, one) for sight, one in zip(seen, named, strict=True)] for seen in sights]
        for holds in (
            lambda sight, one: any(thing.color == one[0] for thing in sight.objects),
            lambda sight, one: sight.background == one[1],
        )
    )
    return {
        "pictures": count,
        "the named colour": compared(*colors),
        "the named background": compared(*grounds),
    }


def asked_for(drawing: Drawing, count: int) -> dict[str, Any]:
    """Held-out captions of two objects that differ in colour and in shape."""
    captions: list[world.Caption] = []
    for caption in world.sample_captions(np.random.default_rng(17), 12 * count, "heldout"):
        if len(caption.things) == 2 and len(captions) < count:
            one, other = caption.things
            if one.color != other.color and one.shape != other.shape:
                captions.append(caption)
    assert len(captions) == count, "too few captions were sampled"
    prompts = [str(caption) for caption in captions]
    second = [str(replace(one, things=one.things[1:], relations=())) for one in captions]
    sights = [drawing.seen(prompts, [""] * count), drawing.seen(prompts, second)]
    there = [
        [
            [shown(s, c.things[place]) for s, c in zip(seen, captions, strict=True)]
            for seen in sights
        ]
        for place in (1, 0)
    ]
    return {
        "captions": count,
        "the named object": compared(*there[0]),
        "the other object": compared(*there[1]),
    }


def shown(sight: verifier.Sight, thing: world.Thing) -> bool:
    """Whether an object of this colour and shape is there, of whatever size."""
    return any((one.color, one.shape) == (thing.color, thing.shape) for one in sight.objects)


def main() -> None:
    """Draws, prints, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=108)
    parser.add_argument("--captions", type=int, default=60)
    parser.add_argument("--steps", type=int, default=12)
    asked = parser.parse_args()
    drawing = Drawing(asked.steps)
    found = {
        "steps": asked.steps,
        "guidance_scale": PRESETS["shapes"].teacher.guidance_scale,
        "open": nothing_asked_for(drawing, asked.pictures),
        "asked_for": asked_for(drawing, asked.captions),
    }
    print(json.dumps(found, indent=1))
    (RESULTS / "negatives.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

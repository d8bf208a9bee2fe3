"""Rows for editing and control in the world of shapes: a target caption, and a picture beside it.

An edit changes one thing of a right picture's caption: a colour, a shape, a size or the background.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from actors.models.shapes import world
from actors.models.shapes.world import Caption, Scene, Split


@dataclass(frozen=True, slots=True)
class PicturedRow:
    """The caption of the wanted picture, its scene, and the picture that the job starts from."""

    target: Caption
    scene: Scene
    picture: world.Picture

    @property
    def png(self) -> bytes:
        """The picture as a file."""
        file = BytesIO()
        Image.fromarray(self.picture).save(file, "PNG")
        return file.getvalue()


def edit_row(rng: np.random.Generator, split: Split) -> PicturedRow:
    """A right picture, and a caption of that split in which one thing differs."""
    while True:
        caption = world.sample_caption(rng)
        target = changed(caption, rng)
        if world.split_of(str(target)) == split and len(set(target.things)) == len(target.things):
            break
    scene = world.place(caption, rng)
    wanted = [
        replace(placed, thing=thing, radius=world.RADII[thing.size])
        for placed, thing in zip(scene.placed, target.things, strict=True)
    ]
    return PicturedRow(target, Scene(tuple(wanted), target.background), world.render(scene))


def control_row(rng: np.random.Generator, split: Split) -> PicturedRow:
    """A caption of that split, and a right picture of it, for its edges."""
    (caption,) = world.sample_captions(rng, 1, split)
    scene = world.place(caption, rng)
    return PicturedRow(caption, scene, world.render(scene))


def changed(caption: Caption, rng: np.random.Generator) -> Caption:
    """The caption with one thing changed."""
    choices: dict[str, tuple[str, ...]] = {
        "color": tuple(world.COLORS),
        "shape": world.SHAPES,
        "size": world.SIZES,
        "background": tuple(world.BACKGROUNDS),
    }
    what = list(choices)[rng.integers(len(choices))]
    where = int(rng.integers(len(caption.things)))
    subject: Any = caption if what == "background" else caption.things[where]
    others = [choice for choice in choices[what] if choice != getattr(subject, what)]
    other: dict[str, Any] = {what: others[rng.integers(len(others))]}
    if what == "background":
        return replace(caption, **other)
    things = list(caption.things)
    things[where] = replace(things[where], **other)
    return replace(caption, things=tuple(things))

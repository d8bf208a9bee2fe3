"""The world of shapes: its captions, its scenes, and how a scene becomes a picture.

A caption describes one to three objects on a plain background::

    a small red circle left of a large blue ring on a gray background
    a large cyan cross below a small red square and right of a small red ring on a black background

Both relations of a three-object caption are about its first object. Captions are split by a hash
of their text (`split_of`), so that no caption of one split ever occurs in another.

Pure numpy. Reading a picture is `verifier`'s work.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(64, 64, 3) uint8, RGB."""

Size = Literal["small", "large"]
Split = Literal["train", "heldout", "validation", "demo"]

SIDE: Final = 64
SIZES: Final[tuple[Size, ...]] = ("small", "large")
SHAPES: Final = ("circle", "square", "triangle", "ring", "cross")
COLORS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (225, 40, 40),
    "green": (35, 165, 65),
    "blue": (45, 80, 230),
    "yellow": (245, 210, 45),
    "purple": (190, 60, 210),
    "cyan": (55, 210, 225),
}
BACKGROUNDS: Final[dict[str, tuple[int, int, int]]] = {
    "white": (245, 245, 245),
    "gray": (128, 128, 128),
    "black": (15, 15, 15),
}
RELATIONS: Final[dict[str, tuple[int, int]]] = {
    "left of": (-1, 0),
    "right of": (1, 0),
    "above": (0, -1),
    "below": (0, 1),
}
"""Relation -> the direction (x, y) in which the first object lies, y pointing down."""

RADII: Final[dict[Size, float]] = {"small": 6.0, "large": 9.5}
"""Half the width of an object, in pixels."""

CELLS: Final = (12.0, 32.0, 52.0)
"""Where centres lie in both directions, in pixels: one object to a cell of a board of 3x3.

Multiples of 4, the autoencoder's factor: an object's latents are the same wherever it lies.
"""

GAP: Final = 1.0
"""Least distance between the boxes of two objects, and of a box from the border, in pixels."""

LEAST_OFFSET: Final = 20.0
"""How far apart the centres of two related objects lie at least, along the relation, in pixels.

A verifier may be content with less: see `verifier.LEAST_OFFSET_SEEN`.
"""

NUM_OBJECTS_WEIGHTS: Final = (0.3, 0.5, 0.2)
"""How often a sampled caption has one, two or three objects."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One object as a caption describes it."""

    size: Size
    color: str
    shape: str

    def __str__(self) -> str:
        return f"a {self.size} {self.color} {self.shape}"


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption's meaning: `relations[i]` holds between `things[0]` and `things[i + 1]`."""

    things: tuple[Thing, ...]
    relations: tuple[str, ...]
    background: str

    def __str__(self) -> str:
        text = str(self.things[0])
        for i, (relation, thing) in enumerate(zip(self.relations, self.things[1:], strict=True)):
            text += f"{' and' if i else ''} {relation} {thing}"
        return f"{text} on a {self.background} background"


@dataclass(frozen=True, slots=True)
class Placed:
    """An object with its place: centre and half width in pixels."""

    thing: Thing
    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Scene:
    """All objects of a picture with their places."""

    placed: tuple[Placed, ...]
    background: str


_THING = rf"a ({'|'.join(SIZES)}) ({'|'.join(COLORS)}) ({'|'.join(SHAPES)})"
_RELATION = rf"({'|'.join(RELATIONS)})"
_CAPTION = re.compile(
    rf"{_THING}(?: {_RELATION} {_THING}(?: and {_RELATION} {_THING})?)?"
    rf" on a ({'|'.join(BACKGROUNDS)}) background"
)


def parse(text: str) -> Caption:
    """Read a caption. Raises ValueError for a text that is not one of this world's."""
    match = _CAPTION.fullmatch(text)
    if match is None:
        raise ValueError(
            f"not a caption of the shapes world: {text!r}; captions look like "
            "'a small red circle left of a large blue ring on a gray background'"
        )
    groups = match.groups()
    things = [_thing(groups[0:3])]
    relations = []
    for start in (3, 7):
        if groups[start] is not None:
            relations.append(groups[start])
            things.append(_thing(groups[start + 1 : start + 4]))
    return Caption(tuple(things), tuple(relations), groups[-1])


def _thing(words: Sequence[str | Any]) -> Thing:
    size, color, shape = words
    return Thing("small" if size == "small" else "large", color, shape)


def sample_caption(rng: np.random.Generator, num_objects: int | None = None) -> Caption:
    """Draw a caption. Its objects are pairwise different, and there is room for them."""
    if num_objects is None:
        num_objects = int(rng.choice(3, p=NUM_OBJECTS_WEIGHTS)) + 1
    things: list[Thing] = []
    while len(things) < num_objects:
        thing = Thing(
            SIZES[rng.integers(len(SIZES))],
            tuple(COLORS)[rng.integers(len(COLORS))],
            SHAPES[rng.integers(len(SHAPES))],
        )
        if thing not in things:
            things.append(thing)
    names = tuple(RELATIONS)
    relations = tuple(names[rng.integers(len(names))] for _ in range(num_objects - 1))
    background = tuple(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
    return Caption(tuple(things), relations, background)


def split_of(text: str) -> Split:
    """The split that a caption belongs to, by a hash of its text: 20 of 32 are for training."""
    bucket = hashlib.sha256(text.encode()).digest()[0] % 32
    if bucket < 4:
        return "heldout"
    if bucket < 8:
        return "validation"
    if bucket < 12:
        return "demo"
    return "train"


def sample_captions(
    rng: np.random.Generator, num_captions: int, split: Split, *, distinct: bool = True
) -> list[Caption]:
    """Draw captions of one split. Captions of different splits never coincide."""
    captions: list[Caption] = []
    seen: set[str] = set()
    while len(captions) < num_captions:
        caption = sample_caption(rng)
        text = str(caption)
        if split_of(text) != split or (distinct and text in seen):
            continue
        seen.add(text)
        captions.append(caption)
    return captions


def place(caption: Caption, rng: np.random.Generator) -> Scene:
    """Put each object into a cell of its own, so that every relation holds.

    Related objects lie at opposite borders, unless the first is between the two others; where the
    caption leaves it open, any cell will do.
    """
    lanes = _lanes(caption)
    while True:
        cells = [
            tuple(choices[rng.integers(len(choices))] for choices in both_ways)
            for both_ways in lanes
        ]
        if len(set(cells)) == len(cells):
            break
    return Scene(
        tuple(
            Placed(thing, CELLS[column], CELLS[row], RADII[thing.size])
            for thing, (column, row) in zip(caption.things, cells, strict=True)
        ),
        caption.background,
    )


def _lanes(caption: Caption) -> list[list[tuple[int, ...]]]:
    """The columns and the rows that each object may lie in."""
    anywhere = tuple(range(len(CELLS)))
    lanes = [[anywhere, anywhere] for _ in caption.things]
    steps = [RELATIONS[relation] for relation in caption.relations]
    for i, step in enumerate(steps, start=1):
        axis = 0 if step[0] else 1
        together = sum(step[axis] for step in steps)  # 0: the first lies between two others
        lanes[0][axis] = (1 + max(-1, min(1, together)),)
        lanes[i][axis] = (1 - step[axis],)
    return lanes


def coverage(
    shape: str, x: float, y: float, radius: float, box: tuple[int, int, int, int]
) -> NDArray[np.float32]:
    """How much of each pixel of `box` an object covers.

    `box` is (left, top, right, bottom) in pixels. Returns (bottom - top, right - left) float32 in
    [0, 1]: antialiasing by the signed distance to the outline, half a pixel to each side.
    """
    left, top, right, bottom = box
    dx = (np.arange(left, right, dtype=np.float32) + 0.5 - x)[None, :]
    dy = (np.arange(top, bottom, dtype=np.float32) + 0.5 - y)[:, None]
    if shape == "circle":
        distance = np.hypot(dx, dy) - radius
    elif shape == "ring":
        distance = np.abs(np.hypot(dx, dy) - 0.74 * radius) - 0.26 * radius
    elif shape == "square":
        distance = np.maximum(np.abs(dx), np.abs(dy)) - 0.92 * radius
    elif shape == "triangle":
        # Upright, as wide and as high as twice the radius; sides of slope 2.
        side = (2.0 * np.abs(dx) - dy - radius) / np.float32(np.sqrt(5.0))
        distance = np.maximum(side, dy - radius)
    elif shape == "cross":
        wide = np.maximum(np.abs(dx) - radius, np.abs(dy) - 0.34 * radius)
        high = np.maximum(np.abs(dx) - 0.34 * radius, np.abs(dy) - radius)
        distance = np.minimum(wide, high)
    else:
        raise ValueError(f"unknown shape {shape!r}; known: {', '.join(SHAPES)}")
    covered: NDArray[np.float32] = np.clip(0.5 - distance, 0.0, 1.0).astype(np.float32)
    return covered


def render(scene: Scene) -> Picture:
    """Draw a scene, antialiased."""
    canvas = np.empty((SIDE, SIDE, 3), np.float32)
    canvas[:] = BACKGROUNDS[scene.background]
    for placed in scene.placed:
        box = (
            max(0, int(placed.x - placed.radius) - 1),
            max(0, int(placed.y - placed.radius) - 1),
            min(SIDE, int(placed.x + placed.radius) + 3),
            min(SIDE, int(placed.y + placed.radius) + 3),
        )
        alpha = coverage(placed.thing.shape, placed.x, placed.y, placed.radius, box)[..., None]
        part = canvas[box[1] : box[3], box[0] : box[2]]
        part += alpha * (np.asarray(COLORS[placed.thing.color], np.float32) - part)
    return np.rint(canvas).astype(np.uint8)


def draw(caption: Caption, rng: np.random.Generator) -> Picture:
    """A right picture of a caption, its places drawn from `rng`."""
    return render(place(caption, rng))

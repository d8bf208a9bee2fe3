"""Look at a picture of the shapes world and say which parts of a caption hold.

Nothing is learned here. The background is the picture's median; each pixel goes to the object
colour whose mixture with the background explains it best; connected pixels of a colour are an
object. Its area and its centre of mass say where each candidate shape would have to lie and how
large it would be; the shape is the candidate whose rendering covers the object best (soft
intersection over union, which must reach `LEAST_MATCH`).

Pure numpy. The oracle never calls this: it is the stand-in for people's judgement.
"""

from dataclasses import dataclass
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actors.models.shapes.world import (
    BACKGROUNDS,
    COLORS,
    RADII,
    RELATIONS,
    SHAPES,
    SIDE,
    SIZES,
    Caption,
    Picture,
    Scene,
    Size,
    coverage,
)

LEAST_AREA: Final = 20
"""A patch of one colour with fewer pixels is dirt, not an object. The smallest object has 72."""

LEAST_MATCH: Final = 0.78
"""Soft intersection over union that a shape must reach. Clean renderings are above 0.9."""

LEAST_OFFSET_SEEN: Final = 10.0
"""A relation holds from this offset on, in pixels: half of what `world.place` keeps."""

FARTHEST_PLACE: Final = 5.0
"""An object is where it belongs up to this distance, in pixels: a quarter of a cell."""

SIZE_TOLERANCE: Final = 1.75
"""How far a radius may be from its size's, in pixels."""

FARTHEST_COLOR: Final = 60.0
"""A color farther from every named one than this (RGB, 0 to 255) has no name."""

_SHAPE_AREA: Final = {
    "circle": np.pi,
    "square": 4 * 0.92**2,
    "triangle": 2.0,
    "ring": np.pi * (1 - 0.48**2),
    "cross": 8 * 0.34 - 4 * 0.34**2,
}
"""Area of each shape of radius 1."""

_TRIANGLE_DROP: Final = 1 / 3
"""How far a triangle's centre of mass lies below the centre of its box, in radii."""

_COLOR_NAMES: Final = tuple(COLORS)
_COLOR_VALUES: Final = np.array(list(COLORS.values()), np.float32)
_BACKGROUND_NAMES: Final = tuple(BACKGROUNDS)
_BACKGROUND_VALUES: Final = np.array(list(BACKGROUNDS.values()), np.float32)


@dataclass(frozen=True, slots=True)
class Seen:
    """An object found in a picture. None where nothing in the world's vocabulary fits."""

    color: str | None
    shape: str | None
    size: Size | None
    x: float
    y: float
    match: float
    """Soft intersection over union with the best candidate shape."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything found in a picture."""

    background: str | None
    objects: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which parts of a caption hold: 'background', 'count', 'color 1', ..., 'relation 2'."""

    parts: dict[str, bool]

    @property
    def right(self) -> bool:
        """Every part holds."""
        return all(self.parts.values())

    @property
    def num_holding(self) -> int:
        """How many parts hold."""
        return sum(self.parts.values())


def look(picture: Picture) -> Sight:
    """Find the background and the objects of a picture, (64, 64, 3) uint8."""
    pixels = picture.reshape(-1, 3).astype(np.float32)
    background = np.median(pixels, axis=0)
    alphas, classes = _explain(pixels - background, _COLOR_VALUES - background)
    objects = []
    for color in range(len(_COLOR_NAMES) + 1):
        for patch in _patches(classes == color):
            objects.append(_describe(patch, color, alphas, classes))
    return Sight(_nearest_name(background, _BACKGROUND_VALUES, _BACKGROUND_NAMES), tuple(objects))


def verify(picture: Picture, caption: Caption) -> Verdict:
    """Say which parts of a caption hold in a picture.

    Found objects are assigned to the caption's so that as many parts hold as possible.
    """
    return judge(look(picture), caption)


def judge(sight: Sight, caption: Caption) -> Verdict:
    """Compare what was seen with a caption."""
    num_things = len(caption.things)
    found: list[Seen | None] = list(sight.objects[:6])
    found += [None] * (num_things - len(found))
    common = {
        "background": sight.background == caption.background,
        "count": len(sight.objects) == num_things,
    }
    verdicts = (_compare(chosen, caption) for chosen in permutations(found, num_things))
    return Verdict(common | max(verdicts, key=lambda parts: sum(parts.values())))


def is_scene(sight: Sight, scene: Scene) -> bool:
    """Whether a picture shows every object of a scene where it belongs, and nothing else.

    For pictures that were edited, or led by edges: a caption alone says little of places.
    """
    left = list(sight.objects)
    if sight.background != scene.background or len(left) != len(scene.placed):
        return False
    for placed in scene.placed:
        thing = placed.thing
        there = [
            seen
            for seen in left
            if (seen.color, seen.shape, seen.size) == (thing.color, thing.shape, thing.size)
            and np.hypot(seen.x - placed.x, seen.y - placed.y) <= FARTHEST_PLACE
        ]
        if not there:
            return False
        left.remove(there[0])
    return True


def _compare(chosen: tuple[Seen | None, ...], caption: Caption) -> dict[str, bool]:
    parts: dict[str, bool] = {}
    for i, (seen, thing) in enumerate(zip(chosen, caption.things, strict=True), start=1):
        parts[f"size {i}"] = seen is not None and seen.size == thing.size
        parts[f"color {i}"] = seen is not None and seen.color == thing.color
        parts[f"shape {i}"] = seen is not None and seen.shape == thing.shape
    first = chosen[0]
    for i, (seen, relation) in enumerate(zip(chosen[1:], caption.relations, strict=True), start=1):
        step_x, step_y = RELATIONS[relation]
        parts[f"relation {i}"] = (
            first is not None
            and seen is not None
            and (first.x - seen.x) * step_x + (first.y - seen.y) * step_y >= LEAST_OFFSET_SEEN
        )
    return parts


def _nearest_name(
    value: NDArray[np.float32], values: NDArray[np.float32], names: tuple[str, ...]
) -> str | None:
    distances = np.linalg.norm(values - value, axis=1)
    best = int(distances.argmin())
    return names[best] if distances[best] <= FARTHEST_COLOR else None


def _explain(
    offsets: NDArray[np.float32], directions: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Explain each pixel as a mixture of the background and one colour.

    offsets: (pixels, 3), directions: (colors, 3), both relative to the background. Returns the
    share of each colour as (colors + 1, 64, 64) and the class of each pixel as (64, 64): a colour,
    `colors` for one without a name, or -1 for background.
    """
    shares = np.clip(offsets @ directions.T / np.square(directions).sum(axis=1), 0.0, 1.0)
    misfits = np.linalg.norm(offsets[:, None] - shares[..., None] * directions, axis=2)
    best = misfits.argmin(axis=1)
    rows = np.arange(len(offsets))
    nameless = misfits[rows, best] > FARTHEST_COLOR
    classes = np.where(shares[rows, best] > 0.5, best, -1)
    classes[nameless] = len(directions)
    alphas = np.concatenate([shares, nameless[:, None]], axis=1).astype(np.float32)
    return alphas.T.reshape(-1, SIDE, SIDE), classes.reshape(SIDE, SIDE)


def _patches(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Connected patches (4 neighbours) of at least LEAST_AREA pixels, as masks, in row order."""
    if np.count_nonzero(mask) < LEAST_AREA:
        return []
    # Runs of consecutive pixels per row, joined where runs of neighbouring rows touch.
    padded = np.zeros((SIDE, SIDE + 2), np.int8)
    padded[:, 1:-1] = mask
    edges = np.diff(padded, axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    runs = [(int(r), int(s), int(e)) for (r, s), (_, e) in zip(starts, ends, strict=True)]
    parent = list(range(len(runs)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i, (row, start, end) in enumerate(runs):
        for j in range(i - 1, -1, -1):
            other_row, other_start, other_end = runs[j]
            if other_row < row - 1:
                break
            if other_row == row - 1 and other_start < end and start < other_end:
                parent[root(i)] = root(j)
    patches: dict[int, NDArray[np.bool_]] = {}
    for i, (row, start, end) in enumerate(runs):
        patch = patches.setdefault(root(i), np.zeros((SIDE, SIDE), np.bool_))
        patch[row, start:end] = True
    return [patch for patch in patches.values() if np.count_nonzero(patch) >= LEAST_AREA]


def _describe(
    patch: NDArray[np.bool_],
    color: int,
    alphas: NDArray[np.float32],
    classes: NDArray[np.int64],
) -> Seen:
    """Say what a patch is. Its soft edge, one pixel around it, is taken along."""
    near = patch.copy()
    near[1:] |= patch[:-1]
    near[:-1] |= patch[1:]
    near[:, 1:] |= patch[:, :-1]
    near[:, :-1] |= patch[:, 1:]
    soft = np.where(near & ((classes == color) | (classes == -1)), alphas[color], 0.0)
    area = float(soft.sum())
    centers = np.arange(SIDE) + 0.5
    x = float(soft.sum(axis=0) @ centers) / area
    y = float(soft.sum(axis=1) @ centers) / area
    best_match, best_shape, best_y, best_radius = 0.0, "", y, 0.0
    for shape in SHAPES:
        radius = float(np.sqrt(area / _SHAPE_AREA[shape]))
        center_y = y - _TRIANGLE_DROP * radius if shape == "triangle" else y
        candidate = coverage(shape, x, center_y, radius, (0, 0, SIDE, SIDE))
        match = float(np.minimum(soft, candidate).sum() / np.maximum(soft, candidate).sum())
        if match > best_match:
            best_match, best_shape, best_y, best_radius = match, shape, center_y, radius
    known = best_match >= LEAST_MATCH
    return Seen(
        color=_COLOR_NAMES[color] if color < len(_COLOR_NAMES) else None,
        shape=best_shape if known else None,
        size=_size_of(best_radius),
        x=x,
        y=best_y,
        match=best_match,
    )


def _size_of(radius: float) -> Size | None:
    for size in SIZES:
        if abs(radius - RADII[size]) <= SIZE_TOLERANCE:
            return size
    return None

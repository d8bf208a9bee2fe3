"""Look at a picture of the shapes world and say which parts of a caption hold.

Nothing is learned here. The background is the picture's median; each pixel goes to the object
colour whose mixture with the background explains it best; connected pixels of a colour are an
object. Its area and its centre of mass say where each candidate shape would have to lie and about
how large it would be; the shape is the candidate whose rendering covers the object best (soft
intersection over union), if the two are alike (their correlation reaches `LEAST_MATCH`): a ring
whose hole is partly filled is still a ring, and a ragged blob has no shape. Something too faint to
be read, but plainly there, is an object without a name.

Pure numpy. The oracle never calls this: it is the stand-in for people's judgement.
"""

from dataclasses import dataclass
from itertools import permutations, product
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

LEAST_MATCH: Final = 0.84
"""Correlation with its rendering that an object must reach to have a shape.

From 0.78 to 0.88 the verdicts on the 400 pictures that chose it are the same ones
(docs/embedded.md).
"""

_RADII_TRIED: Final = tuple(np.linspace(0.84, 1.16, 9).tolist())
"""Candidate radii, relative to the one that the area says: of a ring whose hole is filled, that is
1.14 times its own."""

FAINT: Final = 0.25
"""Share of a colour, between the background's 0 and 1, from which the eye sees that something lies
there. Lower ones would count the shadows that the autoencoder draws around an object."""

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
    """Correlation with the rendering of the best candidate shape."""


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
    solid = np.zeros((SIDE, SIDE), np.bool_)
    for color in range(len(_COLOR_NAMES) + 1):
        for patch in _patches(classes == color):
            objects.append(_describe(patch, color, alphas, classes))
            solid |= patch
    for patch in _patches((alphas.max(axis=0) > FAINT) & ~_grown(_grown(solid))):
        objects.append(_faint(patch))
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
    near = _grown(patch)
    soft = np.where(near & ((classes == color) | (classes == -1)), alphas[color], 0.0)
    area = float(soft.sum())
    centers = np.arange(SIDE) + 0.5
    x = float(soft.sum(axis=0) @ centers) / area
    y = float(soft.sum(axis=1) @ centers) / area
    box = _box_around(near)
    window = soft[box[1] : box[3], box[0] : box[2]]
    best_overlap, best_shape, best_y, best_radius, rendered = -1.0, "", y, 0.0, window
    for shape, factor in product(SHAPES, _RADII_TRIED):
        radius = factor * float(np.sqrt(area / _SHAPE_AREA[shape]))
        center_y = y - _TRIANGLE_DROP * radius if shape == "triangle" else y
        candidate = coverage(shape, x, center_y, radius, box)
        overlap = float(np.minimum(window, candidate).sum() / np.maximum(window, candidate).sum())
        if overlap > best_overlap:
            best_overlap, best_shape, best_y, best_radius = overlap, shape, center_y, radius
            rendered = candidate
    match = float(np.corrcoef(window.ravel(), rendered.ravel())[0, 1])
    known = match >= LEAST_MATCH
    return Seen(
        color=_COLOR_NAMES[color] if color < len(_COLOR_NAMES) else None,
        shape=best_shape if known else None,
        size=_size_of(best_radius),
        x=x,
        y=best_y,
        match=match,
    )


def _faint(patch: NDArray[np.bool_]) -> Seen:
    """Something that is there, and too faint for a name."""
    rows, columns = np.nonzero(patch)
    x, y = float(columns.mean()) + 0.5, float(rows.mean()) + 0.5
    return Seen(color=None, shape=None, size=None, x=x, y=y, match=0.0)


def _box_around(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a patch, with room for every candidate of its area."""
    rows, columns = np.nonzero(mask)
    room = 6  # a triangle of a large disc's area, with the largest radius tried, is 5 pixels wider
    return (
        max(0, int(columns.min()) - room),
        max(0, int(rows.min()) - room),
        min(SIDE, int(columns.max()) + 1 + room),
        min(SIDE, int(rows.max()) + 1 + room),
    )


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask with one pixel more around it (4 neighbours)."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _size_of(radius: float) -> Size | None:
    for size in SIZES:
        if abs(radius - RADII[size]) <= SIZE_TOLERANCE:
            return size
    return None

"""Judged pictures for the oracle's training: pictures, captions near and far, and verdicts.

The verifier stands in for people: whether a picture is right, which parts of the caption
hold, and which object lies where. Training uses all three; the oracle keeps only the first.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.models.shapes import verifier, world
from actors.models.shapes.training import common, latents, student, teacher
from actors.models.shapes.training.pipelines import Parts
from actors.models.shapes.verifier import Sight, Verdict
from actors.models.shapes.world import Caption, Picture

NUM_MISSES = 3
CHUNK = 500
UNKNOWN = -100
"""The label of an unknown answer: `cross_entropy` leaves it out."""

PARTS_PER_THING = 4
"""Size, colour, shape, and the first object's relation to this one."""

GRID = 8
"""Patches along a side."""

PATCH = world.SIDE // GRID


def near_miss(caption: Caption, rng: np.random.Generator) -> Caption:
    """A caption that differs in one thing: an attribute, a relation, a swap, or the number."""
    num_things = len(caption.things)
    kinds = ["attribute"] * 4 + ["background", "number"]
    kinds += ["relation", "swap"] * (num_things - 1)
    kind = kinds[rng.integers(len(kinds))]
    things, relations = list(caption.things), list(caption.relations)
    if kind == "background":
        return dataclasses.replace(
            caption, background=_other(tuple(world.BACKGROUNDS), caption.background, rng)
        )
    if kind == "relation":
        i = int(rng.integers(len(relations)))
        relations[i] = _other(tuple(world.RELATIONS), relations[i], rng)
    elif kind == "swap":
        i, j = rng.choice(num_things, 2, replace=False)
        field = ("size", "color", "shape")[rng.integers(3)]
        one, two = getattr(things[i], field), getattr(things[j], field)
        things[i] = dataclasses.replace(things[i], **{field: two})
        things[j] = dataclasses.replace(things[j], **{field: one})
    elif kind == "number" and (num_things == 3 or (num_things == 2 and rng.random() < 0.5)):
        things, relations = things[:-1], relations[:-1]
    elif kind == "number":
        things.append(world.sample_caption(rng, 1).things[0])
        relations.append(tuple(world.RELATIONS)[rng.integers(len(world.RELATIONS))])
    else:
        i = int(rng.integers(num_things))
        field = ("size", "color", "shape")[rng.integers(3)]
        choices = {"size": world.SIZES, "color": tuple(world.COLORS), "shape": world.SHAPES}[field]
        other = _other(choices, getattr(things[i], field), rng)
        changed: dict[str, Any] = {field: other}
        things[i] = dataclasses.replace(things[i], **changed)
    return Caption(tuple(things), tuple(relations), caption.background)


def _other(choices: tuple[str, ...], value: str, rng: np.random.Generator) -> str:
    others = [choice for choice in choices if choice != value]
    return others[rng.integers(len(others))]


@dataclasses.dataclass(kw_only=True)
class Pool:
    """Pictures, each with its own caption (column 0) and near misses, labelled.

    labels: (pictures, captions) wholly right. parts: (pictures, captions, 3, 4) 1 where a part
    holds, 0 where not. overall: (pictures, captions, 2) the same for background and count.
    patches: (pictures, 64, 3) colour, shape and size of what lies there; the last class is nothing.
    """

    pictures: NDArray[np.uint8]
    captions: list[list[str]]
    labels: NDArray[np.bool_]
    parts: NDArray[np.int64]
    overall: NDArray[np.int64]
    patches: NDArray[np.int64]

    @classmethod
    def of(cls, texts: list[str], pictures: Picture, rng: np.random.Generator) -> "Pool":
        """Label pictures of captions."""
        captions, verdicts, patches = [], [], []
        for own, picture in zip(texts, pictures, strict=True):
            meaning = world.parse(own)
            row = [meaning, *(near_miss(meaning, rng) for _ in range(NUM_MISSES))]
            sight = verifier.look(picture)
            captions.append([str(caption) for caption in row])
            verdicts.append([verifier.judge(sight, caption) for caption in row])
            patches.append(_patches(sight))
        return cls(
            pictures=pictures,
            captions=captions,
            labels=np.array([[verdict.right for verdict in row] for row in verdicts]),
            parts=np.array([[_parts(verdict) for verdict in row] for row in verdicts]),
            overall=np.array(
                [[[v.parts["background"], v.parts["count"]] for v in row] for row in verdicts]
            ).astype(np.int64),
            patches=np.stack(patches),
        )


def _parts(verdict: Verdict) -> NDArray[np.int64]:
    table = np.full((3, PARTS_PER_THING), UNKNOWN)
    for i in range(3):
        for j, name in enumerate((f"size {i + 1}", f"color {i + 1}", f"shape {i + 1}")):
            if name in verdict.parts:
                table[i, j] = verdict.parts[name]
        if i and f"relation {i}" in verdict.parts:
            table[i, 3] = verdict.parts[f"relation {i}"]
    return table


def _patches(sight: Sight) -> NDArray[np.int64]:
    """The object in each patch: one whose box reaches the patch's centre."""
    colors, shapes, sizes = tuple(world.COLORS), world.SHAPES, world.SIZES
    nothing = (len(colors), len(shapes), len(sizes))
    table = np.tile(np.array(nothing), (GRID, GRID, 1))
    for seen in sight.objects:
        reach = 12.0 if seen.size == "large" else 8.0
        rows, columns = (
            np.abs((np.arange(GRID) + 0.5) * PATCH - center) < reach for center in (seen.y, seen.x)
        )
        facts = (
            colors.index(seen.color) if seen.color else UNKNOWN,
            shapes.index(seen.shape) if seen.shape else UNKNOWN,
            sizes.index(seen.size) if seen.size else UNKNOWN,
        )
        table[np.ix_(rows, columns)] = facts
    return table.reshape(-1, 3)


def rendered_pool(seed: int, num_pictures: int, parts: Parts) -> Pool:
    """Right pictures; half of them have gone through the autoencoder."""
    texts, pictures = common.render_many(seed, num_pictures, "train")
    half = num_pictures // 2
    for start in range(0, half, CHUNK):
        rows = slice(start, min(start + CHUNK, half))
        pictures[rows] = latents.decode(parts.vae, latents.encode(parts.vae, pictures[rows]))
    return Pool.of(texts, pictures, np.random.default_rng(seed))


def drawn_pool(
    seed: int, num_student: int, num_teacher: int, split: world.Split, pupil: Parts, master: Parts
) -> Pool:
    """The models' own pictures: the student's, and the teacher's in few steps."""
    rng = np.random.default_rng(seed)
    texts = [
        str(c) for c in world.sample_captions(rng, num_student + num_teacher, split, distinct=False)
    ]
    drawn = []
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        if start < num_student:
            steps = int(rng.integers(student.NUM_SAMPLE_STEPS - 1, student.NUM_SAMPLE_STEPS + 1))
            x = student.sample(pupil, chunk, num_steps=steps, seed=seed + start)
        else:
            steps = int(rng.integers(4, 9))
            x = teacher.sample(
                master, chunk, num_steps=steps, guidance=teacher.GUIDANCE, seed=seed + start
            )
        drawn.append(latents.decode(master.vae, x))
    return Pool.of(texts, np.concatenate(drawn), rng)

"""The world of shapes: captions, splits, scenes and drawing."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.models.shapes import world
from actors.models.shapes.world import Caption, Thing

seeds = st.integers(0, 2**32 - 1)
things = st.builds(
    Thing,
    st.sampled_from(world.SIZES),
    st.sampled_from(list(world.COLORS)),
    st.sampled_from(world.SHAPES),
)


@st.composite
def captions(draw: st.DrawFn) -> Caption:
    chosen = draw(st.lists(things, min_size=1, max_size=3, unique=True))
    relations = [draw(st.sampled_from(list(world.RELATIONS))) for _ in chosen[1:]]
    background = draw(st.sampled_from(list(world.BACKGROUNDS)))
    return Caption(tuple(chosen), tuple(relations), background)


@given(captions())
def test_caption_survives_writing_and_reading(caption: Caption) -> None:
    assert world.parse(str(caption)) == caption


def test_caption_reads_as_english() -> None:
    caption = Caption(
        (
            Thing("small", "red", "circle"),
            Thing("large", "blue", "ring"),
            Thing("small", "cyan", "cross"),
        ),
        ("left of", "above"),
        "gray",
    )
    assert str(caption) == (
        "a small red circle left of a large blue ring and above a small cyan cross "
        "on a gray background"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a small red circle",
        "a small red zebra on a gray background",
        "a small red circle near a large blue ring on a gray background",
        "A small red circle on a gray background",
        "a small red circle on a gray background, oil painting",
    ],
)
def test_other_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="captions look like"):
        world.parse(text)


@given(seeds)
def test_same_seed_draws_the_same_captions_and_pictures(seed: int) -> None:
    def draw() -> tuple[Caption, bytes]:
        rng = np.random.default_rng(seed)
        caption = world.sample_caption(rng)
        return caption, world.draw(caption, rng).tobytes()

    assert draw() == draw()


@given(seeds)
def test_objects_of_a_sampled_caption_differ(seed: int) -> None:
    caption = world.sample_caption(np.random.default_rng(seed))
    assert len(set(caption.things)) == len(caption.things)


@pytest.mark.parametrize("split", ["train", "heldout", "validation", "demo"])
def test_sampled_captions_belong_to_their_split(split: world.Split) -> None:
    captions = [str(c) for c in world.sample_captions(np.random.default_rng(1), 50, split)]
    assert {world.split_of(text) for text in captions} == {split}
    assert len(set(captions)) == 50


def test_numbers_of_objects_have_their_weights() -> None:
    rng = np.random.default_rng(2)
    counts = Counter(len(world.sample_caption(rng).things) for _ in range(3000))
    for num_objects, weight in enumerate(world.NUM_OBJECTS_WEIGHTS, start=1):
        assert counts[num_objects] / 3000 == pytest.approx(weight, abs=0.04)


@given(captions(), seeds)
def test_scene_keeps_relations_distances_and_borders(caption: Caption, seed: int) -> None:
    scene = world.place(caption, np.random.default_rng(seed))
    assert tuple(p.thing for p in scene.placed) == caption.things
    for placed in scene.placed:
        assert placed.radius == world.RADII[placed.thing.size]
        for center in (placed.x, placed.y):
            assert center in world.CELLS
            assert placed.radius + world.GAP <= center <= world.SIDE - placed.radius - world.GAP
    for a, b in itertools.combinations(scene.placed, 2):
        apart = max(abs(a.x - b.x), abs(a.y - b.y))
        assert apart >= a.radius + b.radius + world.GAP
    first = scene.placed[0]
    for relation, other in zip(caption.relations, scene.placed[1:], strict=True):
        step_x, step_y = world.RELATIONS[relation]
        offset = (first.x - other.x) * step_x + (first.y - other.y) * step_y
        assert offset >= world.LEAST_OFFSET


def test_most_crowded_captions_have_room() -> None:
    crowd = tuple(Thing("large", color, "square") for color in ("red", "green", "blue"))
    rng = np.random.default_rng(3)
    for relations in itertools.product(world.RELATIONS, repeat=2):
        world.place(Caption(crowd, relations, "white"), rng)


def test_picture_has_the_background_in_its_corners_and_the_colour_in_its_object() -> None:
    thing = Thing("large", "red", "circle")
    scene = world.Scene((world.Placed(thing, 30.0, 20.0, 11.0),), "gray")
    picture = world.render(scene)
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    assert tuple(picture[20, 30]) == world.COLORS["red"]
    for corner in (picture[0, 0], picture[0, -1], picture[-1, 0], picture[-1, -1]):
        assert tuple(corner) == world.BACKGROUNDS["gray"]


@pytest.mark.parametrize(
    ("shape", "area"),
    [("circle", np.pi), ("square", 3.3856), ("triangle", 2.0), ("ring", 2.4178), ("cross", 2.2576)],
)
def test_antialiased_coverage_adds_up_to_the_shapes_area(shape: str, area: float) -> None:
    covered = world.coverage(shape, 32.3, 31.6, 11.0, (0, 0, 64, 64))
    assert float(covered.sum()) == pytest.approx(area * 11.0**2, rel=0.01)


def test_unknown_shape_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown shape 'zebra'"):
        world.coverage("zebra", 32.0, 32.0, 8.0, (0, 0, 64, 64))

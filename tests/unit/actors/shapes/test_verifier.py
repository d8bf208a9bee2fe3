"""The verifier: right on right pictures, and never fooled by a wrong one of any kind."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.models.shapes import verifier, world
from actors.models.shapes.world import Caption, Picture, Thing

CAPTION = Caption(
    (
        Thing("small", "red", "circle"),
        Thing("large", "blue", "ring"),
        Thing("small", "cyan", "cross"),
    ),
    ("left of", "above"),
    "gray",
)


def drawn(caption: Caption, seed: int = 0) -> Picture:
    return world.draw(caption, np.random.default_rng(seed))


def failing(picture: Picture, caption: Caption = CAPTION) -> set[str]:
    return {name for name, holds in verifier.verify(picture, caption).parts.items() if not holds}


def altered(index: int, **changes: str) -> Caption:
    things = list(CAPTION.things)
    things[index] = dataclasses.replace(things[index], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(CAPTION, things=tuple(things))


def test_rendered_pictures_are_right_at_least_995_times_in_1000() -> None:
    rng = np.random.default_rng(5)
    captions = world.sample_captions(rng, 1000, "validation")
    right = sum(verifier.verify(world.draw(c, rng), c).right for c in captions)
    assert right >= 995


def test_pictures_of_other_captions_are_wrong_at_least_995_times_in_1000() -> None:
    rng = np.random.default_rng(6)
    captions = world.sample_captions(rng, 1001, "validation")
    pairs = itertools.pairwise(captions)
    fooled = sum(verifier.verify(world.draw(a, rng), b).right for a, b in pairs)
    assert fooled <= 5


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_one_changed_attribute_is_the_one_that_is_named(seed: int) -> None:
    rng = np.random.default_rng(seed)
    caption = world.sample_caption(rng, num_objects=1)
    thing = caption.things[0]
    field = ("size", "color", "shape")[rng.integers(3)]
    choices = {"size": world.SIZES, "color": tuple(world.COLORS), "shape": world.SHAPES}[field]
    others = [value for value in choices if value != getattr(thing, field)]
    changed = dataclasses.replace(thing, **{field: others[rng.integers(len(others))]})
    picture = world.draw(dataclasses.replace(caption, things=(changed,)), rng)
    assert failing(picture, caption) == {f"{field} 1"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("index", "changes", "part"),
    [
        (0, {"size": "large"}, "size 1"),
        (1, {"size": "small"}, "size 2"),
        (0, {"color": "purple"}, "color 1"),
        (2, {"color": "yellow"}, "color 3"),
        (1, {"shape": "circle"}, "shape 2"),
        (2, {"shape": "triangle"}, "shape 3"),
    ],
)
def test_wrong_attribute_among_three_objects_is_named(
    index: int, changes: dict[str, str], part: str, seed: int
) -> None:
    assert failing(drawn(altered(index, **changes), seed)) == {part}


@pytest.mark.parametrize("seed", range(5))
def test_wrong_background_is_named(seed: int) -> None:
    wrong = dataclasses.replace(CAPTION, background="white")
    assert failing(drawn(wrong, seed)) == {"background"}


@pytest.mark.parametrize("seed", range(5))
def test_wrong_relation_is_named(seed: int) -> None:
    wrong = dataclasses.replace(CAPTION, relations=("right of", "above"))
    assert failing(drawn(wrong, seed)) == {"relation 1"}


def test_missing_object_fails_the_count_and_its_own_parts() -> None:
    fewer = Caption(CAPTION.things[:2], CAPTION.relations[:1], "gray")
    assert failing(drawn(fewer)) == {"count", "size 3", "color 3", "shape 3", "relation 2"}


def test_additional_object_fails_the_count_alone() -> None:
    fewer = Caption(CAPTION.things[:2], CAPTION.relations[:1], "gray")
    assert failing(drawn(CAPTION), fewer) == {"count"}


def test_swapped_colours_are_noticed() -> None:
    one, two = Thing("large", "red", "circle"), Thing("large", "blue", "square")
    swapped = (Thing("large", "blue", "circle"), Thing("large", "red", "square"))
    caption = Caption((one, two), ("above",), "black")
    assert not verifier.verify(drawn(dataclasses.replace(caption, things=swapped)), caption).right


def test_object_in_two_colours_is_not_one_object() -> None:
    caption = Caption((Thing("large", "red", "square"),), (), "white")
    scene = world.Scene((world.Placed(caption.things[0], 32.0, 32.0, 11.0),), "white")
    picture = world.render(scene)
    picture[:, 32:][picture[:, 32:, 2] < 100] = world.COLORS["blue"]
    assert "count" in failing(picture, caption)


def test_blob_has_no_shape() -> None:
    rng = np.random.default_rng(8)
    picture = np.full((64, 64, 3), world.BACKGROUNDS["gray"], np.uint8)
    ragged = rng.random((24, 24)) < 0.72
    picture[20:44, 20:44][ragged] = world.COLORS["red"]
    seen = verifier.look(picture).objects
    assert any(thing.color == "red" and thing.shape is None for thing in seen)


@pytest.mark.parametrize("fill", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("size", world.SIZES)
def test_ring_with_a_partly_filled_hole_is_a_ring(size: world.Size, fill: float) -> None:
    """As the students draw small rings, and as the eye sees them."""
    caption = Caption((Thing(size, "yellow", "ring"),), (), "gray")
    scene = world.place(caption, np.random.default_rng(0))
    (ring,) = scene.placed
    hole = world.coverage("circle", ring.x, ring.y, 0.48 * ring.radius, (0, 0, 64, 64))[..., None]
    yellow = np.array(world.COLORS["yellow"], np.float32)
    picture = world.render(scene) + fill * hole * (yellow - world.BACKGROUNDS["gray"])
    assert failing(picture.clip(0, 255).astype(np.uint8), caption) == set()


def test_disc_is_not_a_ring() -> None:
    caption = Caption((Thing("small", "yellow", "circle"),), (), "gray")
    ring = Caption((Thing("small", "yellow", "ring"),), (), "gray")
    assert failing(drawn(caption), ring) == {"shape 1"}


def test_faint_object_beside_the_right_ones_is_counted() -> None:
    fewer = Caption(CAPTION.things[:2], CAPTION.relations[:1], "gray")
    scene = world.place(CAPTION, np.random.default_rng(0))
    without = world.render(dataclasses.replace(scene, placed=scene.placed[:2])).astype(np.float32)
    with_it = world.render(scene).astype(np.float32)
    ghost = without + 0.4 * (with_it - without)
    assert failing(ghost.astype(np.uint8), fewer) == {"count"}
    shadow = without + 0.1 * (with_it - without)
    assert failing(shadow.astype(np.uint8), fewer) == set()


def test_colours_without_a_name_are_not_guessed() -> None:
    picture = np.full((64, 64, 3), (0, 90, 90), np.uint8)
    picture[20:40, 20:40] = (255, 255, 255)
    sight = verifier.look(picture)
    assert sight.background is None
    assert [thing.color for thing in sight.objects] == [None]


@pytest.mark.parametrize("strength", [4.0, 8.0, 12.0])
def test_noise_of_a_model_does_not_change_the_verdict(strength: float) -> None:
    rng = np.random.default_rng(9)
    captions = world.sample_captions(rng, 100, "validation")
    right = 0
    for caption in captions:
        noisy = world.draw(caption, rng) + rng.normal(0, strength, (64, 64, 3))
        right += verifier.verify(noisy.clip(0, 255).astype(np.uint8), caption).right
    assert right >= 97


@given(st.integers(0, 2**32 - 1))
def test_any_picture_is_read_without_an_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert not verifier.verify(picture, CAPTION).right


@pytest.mark.parametrize("value", [0, 128, 255])
def test_empty_picture_holds_no_object(value: int) -> None:
    picture = np.full((64, 64, 3), value, np.uint8)
    assert verifier.look(picture).objects == ()
    assert verifier.verify(picture, CAPTION).num_holding <= 1

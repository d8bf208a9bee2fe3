"""Edits change one thing, and a picture is checked against the very scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from actors.models.shapes import verifier, world
from actors.models.shapes.edits import changed, control_row, edit_row
from actors.models.shapes.world import Caption


def differences(one: Caption, other: Caption) -> int:
    found = int(one.background != other.background) + int(one.relations != other.relations)
    for mine, its in zip(one.things, other.things, strict=True):
        found += sum(
            getattr(mine, name) != getattr(its, name) for name in ("size", "color", "shape")
        )
    return found


def test_one_thing_changes() -> None:
    rng = np.random.default_rng(1)
    captions = [world.sample_caption(rng) for _ in range(300)]
    assert {differences(caption, changed(caption, rng)) for caption in captions} == {1}


def test_the_wanted_scene_is_that_of_the_target_and_not_of_the_picture() -> None:
    rng = np.random.default_rng(2)
    for _ in range(100):
        row = edit_row(rng, "validation")
        wanted = verifier.look(world.render(row.scene))
        assert verifier.judge(wanted, row.target).right
        assert verifier.is_scene(wanted, row.scene)
        assert not verifier.is_scene(verifier.look(row.picture), row.scene)
        assert world.split_of(str(row.target)) == "validation"


def test_a_scene_is_only_that_scene() -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        row = control_row(rng, "validation")
        sight, scene = verifier.look(row.picture), row.scene
        assert verifier.is_scene(sight, scene)
        first, *rest = scene.placed
        moved = replace(first, x=first.x + verifier.FARTHEST_PLACE + 2)
        assert not verifier.is_scene(sight, replace(scene, placed=(moved, *rest)))
        assert not verifier.is_scene(sight, replace(scene, placed=tuple(rest)))
        other = next(ground for ground in world.BACKGROUNDS if ground != scene.background)
        assert not verifier.is_scene(sight, replace(scene, background=other))

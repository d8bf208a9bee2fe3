"""Strengths, noise levels and numbers of steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rollback import default_steps, level_at, strength_for, strength_for_steps


@given(st.integers(1, 1000), st.data())
def test_the_steps_taken_are_the_steps_wanted(whole: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, whole))
    strength = strength_for_steps(steps, whole)
    assert 0 < strength <= 1
    # What StableDiffusionImg2ImgPipeline.get_timesteps does with it.
    assert min(int(whole * strength), whole) == steps
    strength = strength_for_steps(steps, whole, "up")
    # What FluxImg2ImgPipeline.get_timesteps does with it.
    assert whole - int(max(whole - min(whole * strength, whole), 0)) == steps


@given(st.integers(1, 1000))
def test_a_level_and_its_strength_are_one_timestep(timestep: int) -> None:
    levels = [t / 1000 for t in range(1000)]
    assert level_at(timestep / 1000, levels) == levels[timestep - 1]
    assert strength_for(levels[timestep - 1], levels) == timestep / 1000


@pytest.mark.parametrize(
    ("strength", "whole", "steps"), [(0.6, 25, 15), (0.7, 10, 7), (0.05, 4, 1), (1, 25, 25)]
)
def test_by_default_steps_are_as_dense_as_a_whole_drawing(
    strength: float, whole: int, steps: int
) -> None:
    assert default_steps(strength, whole) == steps


def test_strength_and_variance_are_far_apart_on_sdxls_schedule() -> None:
    # SDXL's scaled-linear betas; DESIGN.md, section 4: strength 0.7 is variance 0.917.
    betas = [(0.00085**0.5 + i / 999 * (0.012**0.5 - 0.00085**0.5)) ** 2 for i in range(1000)]
    variances, kept = [], 1.0
    for beta in betas:
        kept *= 1 - beta
        variances.append(1 - kept)
    assert variances[699] == pytest.approx(0.917, abs=0.001)
    assert strength_for(0.917, variances) == pytest.approx(0.7, abs=0.002)
    assert strength_for(1.0, variances) == 1.0

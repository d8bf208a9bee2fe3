"""Strengths, noise levels and numbers of steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rollback import Rounding, default_steps, steps_to_ask_for, strength_for


@given(st.floats(0.05, 1.0), st.integers(1, 50))
def test_the_steps_taken_are_the_steps_wanted(strength: float, steps: int) -> None:
    asked = steps_to_ask_for(strength, steps)
    # What StableDiffusionImg2ImgPipeline.get_timesteps does with it.
    assert min(int(asked * strength), asked) == steps
    asked = steps_to_ask_for(strength, steps, "up")
    # What FluxImg2ImgPipeline.get_timesteps does with it.
    skipped = int(max(asked - min(asked * strength, asked), 0))
    assert asked - skipped == steps


@given(st.floats(0.05, 1.0), st.integers(1, 50), st.sampled_from(["down", "up"]))
def test_it_starts_within_a_step_of_the_strength(
    strength: float, steps: int, rounding: Rounding
) -> None:
    asked = steps_to_ask_for(strength, steps, rounding)
    assert abs(steps / asked - strength) < 1 / asked + 1e-9


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

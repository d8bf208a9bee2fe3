"""The stand-ins: what they make hangs on the rows' seeds alone. No time passes here."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from actors.actor_classes import actor_classes
from actors.models.presets import PRESETS
from actors.refinement import Refinement
from actors.settings import OracleSettings, StudentSettings
from actors.timed import TimedOracle, TimedStudent, TimedTeacher, score_of, timing_of
from actors.timed_settings import TimedOracleSettings

ZERO = PRESETS["timed-zero"]
SEEDS = [5, 2**63 - 1, 0, 77]
PROMPTS = ["a", "b", "c", "d"]
REFINEMENT = Refinement("refine", 0.6, 30, "latents")


def oracle(**fields: Any) -> OracleSettings:
    return OracleSettings(timed=TimedOracleSettings(load_seconds=0, **fields), batch_size=4)


def test_pictures_and_latents_weigh_what_they_would() -> None:
    settings = ZERO.student.model_copy(update={"width": 64, "height": 32, "dtype": "float16"})
    latents, pictures, facts = TimedStudent(settings).draw(PROMPTS, SEEDS)
    assert (latents.shape, latents.dtype) == ((4, 4, 4, 8), np.float16)
    assert (pictures.shape, pictures.dtype) == ((4, 32, 64, 3), np.uint8)
    assert facts.stored_bytes == (4 * (4 * 4 * 8 * 2), 4 * (32 * 64 * 3))
    assert facts.evaluations == 1


def test_a_row_is_the_same_in_any_batch_and_rows_differ() -> None:
    student = TimedStudent(ZERO.student)
    latents, pictures, _ = student.draw(PROMPTS, SEEDS)
    alone, picture, _ = student.draw(PROMPTS[3:], SEEDS[3:])
    assert np.array_equal(alone[0], latents[3])
    assert np.array_equal(picture[0], pictures[3])
    assert not np.array_equal(pictures[0], pictures[3])


def test_the_oracle_knows_whose_picture_it_scores_and_who_made_it() -> None:
    settings = oracle()
    latents, drawn, _ = TimedStudent(ZERO.student).draw(PROMPTS, SEEDS)
    refined, facts = TimedTeacher(ZERO.teacher).refine(
        PROMPTS[:2], [SEEDS[3], SEEDS[1]], [(0, 3), (0, 1)], latents, plan=REFINEMENT
    )
    assert facts.evaluations == 60
    picks = [(0, 1), (1, 0), (1, 1)]
    scores, _ = TimedOracle(settings).score(PROMPTS[:3], picks, drawn, refined)
    wanted = [(SEEDS[1], False), (SEEDS[3], True), (SEEDS[1], True)]
    assert scores == [score_of(settings, seed, refined) for seed, refined in wanted]
    assert len(set(scores)) == 3


def test_a_teacher_that_gets_another_rows_latents_says_so() -> None:
    latents, _, _ = TimedStudent(ZERO.student).draw(PROMPTS, SEEDS)
    with pytest.raises(ValueError, match="seed 5 came for seed 77"):
        TimedTeacher(ZERO.teacher).refine(["d"], [77], [(0, 0)], latents, plan=REFINEMENT)


@pytest.mark.parametrize("rejected", [0.0, 0.05, 0.3, 0.75, 1.0])
def test_so_many_are_rejected(rejected: float) -> None:
    settings = oracle(rejected=rejected)
    scores = [score_of(settings, seed, refined=False) for seed in range(4000)]
    assert sum(score < 0.5 for score in scores) / 4000 == pytest.approx(rejected, abs=0.02)
    assert min(scores) >= 0
    assert max(scores) < 1
    assert min(score_of(settings, seed, refined=True) for seed in range(100)) >= 0.5


def test_half_rejected_is_even_so_that_a_budget_gives_its_own_fraction() -> None:
    scores = sorted(score_of(oracle(), seed, refined=False) for seed in range(4000))
    for tenth in range(1, 10):
        assert scores[400 * tenth] == pytest.approx(tenth / 10, abs=0.03)


def test_a_schedule_goes_by_the_rows() -> None:
    settings = oracle(rejected=((0, 0.05), (2000, 0.75)))
    rejected = [score_of(settings, row, refined=False) < 0.5 for row in range(4000)]
    assert sum(rejected[:2000]) / 2000 == pytest.approx(0.05, abs=0.02)
    assert sum(rejected[2000:]) / 2000 == pytest.approx(0.75, abs=0.03)


def test_a_refinement_takes_its_steps_share_of_a_whole_drawing() -> None:
    teacher = PRESETS["timed"].teacher
    assert timing_of(teacher).seconds(16, 16, 0) == pytest.approx(12.88)
    assert timing_of(teacher, steps=30).seconds(16, 16, 0) == pytest.approx(12.88 * 0.6)
    four_steps = PRESETS["timed"].student.model_copy(update={"steps": 4})
    assert timing_of(four_steps).seconds(16, 16, 0) == pytest.approx(0.77 * 4)


def test_own_seconds_are_those_of_the_models_own_steps() -> None:
    fields: dict[str, Any] = {"steps": 4, "guidance_scale": 1.0, "batch_size": 8}
    student = StudentSettings.model_validate({"timed": {"seconds": {8: 2.0}}, **fields})
    assert timing_of(student).seconds(8, 8, 0) == 2.0


def test_a_stand_in_loads_without_torch() -> None:
    """Or a benchmark of 128 actors would take ten minutes to start."""
    code = "import sys, actors.timed; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_stand_ins_play_the_roles_of_timed_models_only() -> None:
    assert actor_classes(ZERO)["teacher"] is TimedTeacher
    assert actor_classes(PRESETS["shapes"])["teacher"].__module__ == "actors.teacher"

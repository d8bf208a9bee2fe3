"""The ladder in a job file: what it takes, what it says when it does not, and its thresholds."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from actors.errors import SpecError
from actors.models.presets import CATALOGUE
from jobs.spec.byte_fields import byte_fields
from jobs.spec.job_spec import JobSpec, make_spec
from jobs.spec.ladder import Attempt, Rollback, Score, describe
from jobs.spec.threshold import Thresholds, certain, thresholds

NFE: dict[str, Any] = {"student_nfe": 2, "teacher_nfe": 16, "seconds": {}}
LADDER: list[dict[str, Any]] = [
    {"draw": 3, "until": 0.25},
    {"refine": {"strength": 0.8, "steps": 8}, "below": 0.2},
    {"regenerate": {"steps": 12}, "below": {"score": 0.15}, "keep": "best"},
]


def spec(**fields: Any) -> JobSpec:
    return make_spec({"input": "p.csv", "output": "out", "models": "shapes", **fields})


def test_a_ladder_is_one_attempt_after_the_other() -> None:
    assert spec(ladder=LADDER).attempts == (
        Attempt("draw"),
        Attempt("draw", 0.25),
        Attempt("draw", 0.25),
        Attempt("refine", 0.2, "teacher", Rollback(strength=0.8), 8),
        Attempt("regenerate", Score(score=0.15), "best", None, 12),
    )


def test_the_short_way_is_a_drawing_and_the_teacher() -> None:
    short = spec(keep="best", teacher_steps=5, rollback={"variance": 0.5})
    teacher = Attempt("refine", None, "best", Rollback(variance=0.5), 5)
    assert short.attempts == (Attempt("draw"), teacher)
    anew = spec(strategy="regenerate", draws=4)
    assert anew.attempts == (Attempt("draw"), Attempt("regenerate", keep="teacher"))


def test_a_job_says_its_attempts_in_one_way_when_it_is_written_down() -> None:
    """So that a job without a ladder is written as by the versions that knew none."""
    for fields, named, unnamed in (
        ({}, "strategy", "ladder"),
        ({"ladder": LADDER}, "ladder", "strategy"),
    ):
        job = spec(**fields)
        written = job.model_dump(mode="json")
        assert named in written
        assert named in byte_fields(job)
        assert unnamed not in written
        assert unnamed not in byte_fields(job)
        assert make_spec(written) == job


@pytest.mark.parametrize(
    ("ladder", "said"),
    [
        ([], "ladder: its first rung is the student's"),
        ([{"refine": {}, "below": 0.2}], "ladder: its first rung is the student's"),
        (
            [{"draw": 1}, {"refine": {}, "below": 0.2}, {"draw": 1, "until": 0.2}],
            "the student's drawings come before the teacher's pictures",
        ),
        ([{"draw": 3}], "until: draw: 3 needs it"),
        ([{"draw": 1, "until": 0.2}], "draw: 1 draws it once. Raise draw, or leave until out"),
        ([{"draw": 1}, {"draw": 1}], "needs `until`"),
        ([{"draw": 2, "until": 1.5}], "less than or equal to 1"),
        ([{"draw": 1, "below": 0.2}], "below: it goes with refine and regenerate. Say when"),
        ([{"draw": 1, "keep": "best"}], "keep: it goes with refine and regenerate"),
        ([{"draw": 1}, {"refine": {}}], "below: refine needs it"),
        ([{"draw": 1}, {"refine": {}, "until": 0.2}], "until: it goes with draw"),
        ([{"draw": 1, "refine": {}}], "exactly one of draw, refine or regenerate, not draw and"),
        ([{"until": 0.2}], "exactly one of draw, refine or regenerate, not none"),
        (
            [{"draw": 1}, {"refine": {"strength": 0.5, "sigma": 0.5}, "below": 0.2}],
            "exactly one of strength, variance or sigma, not strength and sigma",
        ),
        ([{"draw": 60, "until": 0.1}, {"draw": 5, "until": 0.1}], "65 attempts, more than 64"),
        ([{"drow": 1}], "ladder.0.drow: unknown field. Did you mean 'draw'?"),
    ],
)
def test_a_ladder_that_means_nothing_is_refused_in_a_sentence(ladder: Any, said: str) -> None:
    with pytest.raises(SpecError) as refused:
        spec(ladder=ladder)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "short",
    [
        {"budget": {"refine": 0.3}},
        {"draws": 1},
        {"strategy": "refine"},
        {"rollback": {"strength": 0.5}},
        {"teacher_steps": 4},
        {"keep": "teacher"},
    ],
)
def test_a_ladder_beside_a_field_that_says_it_in_short_is_refused(short: dict[str, Any]) -> None:
    """Also where the field says what is the default."""
    with pytest.raises(SpecError, match=f"ladder: it says what {next(iter(short))} would say"):
        spec(ladder=LADDER, **short)


def test_quantiles_are_of_one_sample_and_scores_stay_as_they_are() -> None:
    job, scores = spec(ladder=LADDER), [n / 100 for n in range(100)]
    found = thresholds(job, scores, **NFE)
    assert found == Thresholds(pytest.approx((0.245, 0.245, 0.195, 0.15)), 0.25)  # type: ignore[arg-type]
    assert found.highest == pytest.approx(0.245)
    assert certain(job) is None


def test_a_ladder_of_scores_needs_no_sample() -> None:
    score = {"score": 0.4}
    job = spec(ladder=[{"draw": 2, "until": score}, {"refine": {}, "below": {"score": -1}}])
    assert certain(job) == Thresholds((0.4, -1.0), 0.0)
    always = spec(ladder=[{"draw": 3, "until": 1.0}, {"refine": {}, "below": 0.0}])
    assert certain(always) == Thresholds((inf, inf, -inf), 1.0)
    assert certain(spec(ladder=[{"draw": 1}])) == Thresholds((), 0.0)


def test_a_ladder_in_a_line() -> None:
    job = spec(ladder=LADDER)
    assert job.ladder is not None
    assert describe(job.ladder) == (
        "draw up to 3 times until quantile 0.25; refine (strength 0.8, steps 8) below quantile "
        "0.2, the teacher's is kept; regenerate (steps 12) below score 0.15, the better is kept"
    )


@pytest.mark.parametrize(
    ("preset", "name"),
    [(preset, name) for preset in CATALOGUE for name in CATALOGUE[preset].ladders],
)
def test_a_presets_ladder_is_named_in_a_job_file_and_spelled_out_in_the_job(
    preset: str, name: str
) -> None:
    job = spec(models=preset, ladder=name)
    rungs = CATALOGUE[preset].ladders[name].rungs
    assert job == spec(models=preset, ladder=list(rungs))
    assert job.model_dump(mode="json", exclude_none=True)["ladder"][0] == rungs[0]
    changed = spec(models={"preset": preset, "student": {"batch_size": 2}}, ladder=name)
    assert changed.ladder == job.ladder


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ladder": "nfe-5"}, "no ladder of the preset 'shapes', which has nfe-3, nfe-4, nfe-8."),
        ({"ladder": "nfe-4", "models": "timed"}, "of the preset 'timed', which has none"),
        ({"ladder": "nfe-4", "models": {"student": {}}}, "and `models` names no preset"),
        ({"ladder": "nfe-4", "draws": 2}, "ladder: it says what draws would say in short"),
    ],
)
def test_a_name_that_is_no_ladder_is_refused_in_a_sentence(
    fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError) as refused:
        spec(**fields)
    assert said in str(refused.value)

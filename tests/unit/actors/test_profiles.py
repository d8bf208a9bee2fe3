"""Seconds of a batch: the arithmetic, the published tables, and files that break a rule."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import SpecError
from actors.models.profiles import Curve, Timing, chance, published, read_profiles

CURVE = Curve(((2, 1.0), (4, 1.5), (8, 3.5)))


@pytest.mark.parametrize(
    ("size", "seconds"),
    [(1, 1.0), (2, 1.0), (3, 1.25), (4, 1.5), (6, 2.5), (8, 3.5), (16, 7.0), (12, 5.25)],
)
def test_between_the_measured_sizes_there_are_straight_lines(size: int, seconds: float) -> None:
    assert CURVE.seconds(size) == pytest.approx(seconds)


def test_the_published_profiles_are_there_as_published() -> None:
    rows = {name: len(profile.curves["A100-80G"].points) for name, profile in published().items()}
    assert rows == {"sd-turbo": 6, "sd-1.5": 6, "sdxs": 6, "sdxl-lightning": 5, "sdxl": 5}
    student, teacher = published()["sd-turbo"], published()["sd-1.5"]
    assert (student.role, student.steps, teacher.role, teacher.steps) == (
        "student",
        1,
        "teacher",
        50,
    )
    assert student.curves["A100-80G"].seconds(16) == 0.77
    assert teacher.curves["A100-80G"].seconds(16) == 12.88


def test_a_call_is_paid_by_its_batches_the_last_one_padded() -> None:
    timing = Timing(curves={"any": CURVE}, share=0.5, load_seconds=6.0, speed=2.0)
    assert timing.seconds(rows=9, micro_batch_size=4, key=0) == pytest.approx(3 * 1.5 * 0.5 / 2)
    assert timing.loading == 3.0


def test_each_type_of_gpu_has_its_own_seconds() -> None:
    timing = Timing(curves={"A100": Curve(((1, 2.0),)), "H100": Curve(((1, 1.0),))})
    assert [timing.seconds(1, 1, 0, gpu) for gpu in ("A100", "H100", None, "T4")] == [2, 1, 2, 2]


@given(st.integers(0, 2**63 - 1))
def test_noise_stays_within_its_bounds_and_is_the_same_again(key: int) -> None:
    timing = Timing(curves={"any": CURVE}, noise=0.1)
    seconds = timing.seconds(4, 4, key)
    assert 1.35 <= seconds <= 1.65
    assert timing.seconds(4, 4, key) == seconds


def test_noise_and_stragglers_are_as_often_as_they_should_be() -> None:
    timing = Timing(curves={"any": CURVE}, noise=0.2, straggler_fraction=0.1, straggler_factor=10.0)
    seconds = [timing.seconds(4, 4, key) for key in range(4000)]
    late = [s for s in seconds if s > 5]
    assert len(late) / 4000 == pytest.approx(0.1, abs=0.015)
    assert mean(s for s in seconds if s < 5) == pytest.approx(1.5, rel=0.01)


def test_chance_is_even() -> None:
    drawn = sorted(chance(seed, "x") for seed in range(2000))
    assert max(abs(value - n / 2000) for n, value in enumerate(drawn)) < 0.03


HEAD = "model,role,gpu,steps,batch_size,seconds"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["model,role,gpu,steps,batch_size"], "the column 'seconds' is missing"),
        ([HEAD], "has no profile"),
        ([HEAD, "m,painter,A,1,1,1"], "line 2: role 'painter' is none of student, oracle, teacher"),
        (["# a remark", HEAD, "m,student,A,1,x,1"], "line 3: .*'x'.*whole numbers"),
        ([HEAD, "m,student,A,1,0,1"], "line 2: .*at least 1"),
        ([HEAD, "m,student,A,1,1,nan"], "line 2: .*got 1, 1 and nan"),
        ([HEAD, "m,student,A,1"], "line 2: "),
        (
            [HEAD, "m,student,A,1,1,1", "m,student,A,1,1,2"],
            "line 3: batch_size 1 of m is there twice",
        ),
    ],
)
def test_a_profile_that_breaks_a_rule_is_refused(
    lines: list[str], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "profile.csv"
    file.write_text("\n".join([*lines, ""]))
    with pytest.raises(SpecError, match=said):
        read_profiles(file)


def test_a_profile_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.csv' cannot be read"):
        read_profiles(tmp_path / "none.csv")

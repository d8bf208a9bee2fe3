"""One row on the ladder: which rungs it takes, and whose picture it has."""

from __future__ import annotations

from itertools import product

import pytest

from jobs.spec.climb import Climb, Keep, Ladder, Rung, climb

DRAW = Rung(make="draw")
AGAIN = Rung(make="draw", below=0.5)


def teacher(below: float, keep: Keep = "teacher") -> Rung:
    return Rung(make="refine", below=below, keep=keep)


@pytest.mark.parametrize(
    ("scores", "taken", "has"),
    [
        ([0.5, None, None], (0,), 0),
        ([0.4, 0.9, None], (0, 1), 1),
        ([0.1, 0.2, 0.3], (0, 1, 2), 2),
        ([0.4, 0.2, 0.3], (0, 1, 2), 0),
        ([0.4, 0.4, 0.4], (0, 1, 2), 0),
    ],
)
def test_a_row_is_drawn_again_until_its_best_drawing_passes(
    scores: list[float | None], taken: tuple[int, ...], has: int
) -> None:
    """And of equal drawings it has the first, as a job that draws them all at once."""
    row = climb((DRAW, AGAIN, AGAIN), scores)
    assert (row.taken, row.has, row.drawing) == (taken, has, has)
    assert row.student_score == max(score for score in scores if score is not None)
    assert row.teacher_score is None


def test_a_later_drawing_may_have_to_pass_more() -> None:
    strict: Ladder = (DRAW, AGAIN, Rung(make="draw", below=0.7))
    assert climb(strict, [0.6, None, 0.65]).taken == (0, 2), "0.6 passes 0.5, and not 0.7"
    assert climb(strict, [0.4, 0.7, None]).taken == (0, 1)


@pytest.mark.parametrize(
    ("keep", "refined", "has", "score"),
    [
        ("teacher", 0.1, 1, 0.1),
        ("best", 0.1, 0, 0.2),
        ("best", 0.2, 1, 0.2),
        ("best", 0.3, 1, 0.3),
    ],
)
def test_the_teachers_picture_is_kept_or_the_better_and_of_equals_the_teachers(
    keep: Keep, refined: float, has: int, score: float
) -> None:
    row = climb((DRAW, teacher(0.5, keep)), [0.2, refined])
    assert (row.has, row.score, row.student_score, row.teacher_score) == (has, score, 0.2, refined)
    assert row.drawing == 0


def test_an_attempt_without_a_picture_leaves_the_row_as_it_was_and_it_climbs_on() -> None:
    ladder = (DRAW, teacher(0.5), teacher(0.3, "best"))
    assert climb(ladder, [0.2, None, 0.4]) == Climb(
        taken=(0, 1, 2), has=2, score=0.4, drawing=0, student_score=0.2, teacher_score=0.4
    )
    assert climb(ladder, [0.4, None, None]).taken == (0, 1)


def test_the_teachers_score_is_that_of_the_rows_picture_or_of_its_best() -> None:
    """Of every keep and every order of three scores."""
    for first, second, scores in product(
        ("teacher", "best"), ("teacher", "best"), product((0.1, 0.2, 0.3), repeat=3)
    ):
        row = climb((DRAW, teacher(1.0, first), teacher(1.0, second)), scores)
        assert row.has is not None
        of_teacher = scores[row.has] if row.has else max(scores[1:])
        assert row.teacher_score == of_teacher
        assert row.score == scores[row.has]


def test_nothing_is_taken_before_the_first_score() -> None:
    assert climb((DRAW, AGAIN), [None, None]) == Climb(taken=(0,))

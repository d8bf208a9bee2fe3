"""What a ladder is for the pools."""

from __future__ import annotations

import pytest

from jobs.scaling.rungs import AGAIN, RungLoads, expected_loads, measured_loads
from jobs.spec.ladder import Attempt

DRAW, REFINE = Attempt("draw"), Attempt("refine")


def test_a_row_is_drawn_once_and_by_each_further_drawings_fraction() -> None:
    loads = RungLoads((1.0, 0.25, 0.125, 0.2, 0.1), (False, False, False, True, True))
    assert loads.drawings == pytest.approx(1.375)
    assert loads.refinements == pytest.approx(0.3)
    assert loads.to_teacher == 0.2, "rows that the teacher gets twice count once"
    assert loads.pictures_each == pytest.approx(1.5)


def test_the_pair_is_what_its_budget_says() -> None:
    loads = expected_loads([DRAW, REFINE], [0.3])
    assert (loads.drawings, loads.to_teacher, loads.pictures_each) == (1.0, 0.3, 1.0)


def test_fewer_rows_take_each_further_rung() -> None:
    loads = expected_loads([DRAW, DRAW, DRAW, REFINE], [0.3, 0.3, 0.2])
    assert loads.fractions == pytest.approx((1.0, 0.3, 0.3 * AGAIN, 0.2 * AGAIN**2))
    always = expected_loads([DRAW, DRAW, REFINE], [1.0, 0.0])
    assert always.fractions == (1.0, 1.0, 0.0)
    assert always.to_teacher == 0.0
    assert expected_loads([DRAW], []).to_teacher == 0.0


def test_what_rows_did_outweighs_what_was_expected() -> None:
    expected = expected_loads([DRAW, DRAW, REFINE], [0.3, 0.2])
    nothing = measured_loads(expected, [0, 0, 0], [0, 0, 0], weight=8.0)
    assert nothing.fractions == pytest.approx(expected.fractions)
    much = measured_loads(expected, [1000, 100, 50], [1000, 1000, 1000], weight=8.0)
    assert much.fractions == pytest.approx((1.0, 0.1, 0.05), abs=0.003)

"""Batches of one shape: where a row is, and what fills the rest."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.models.batches import padded, rows_by_slot


@given(st.sets(st.integers(0, 20), min_size=1))
def test_each_row_is_in_its_slot_and_the_first_fills_the_others(chosen: set[int]) -> None:
    slots = sorted(chosen)
    rows = rows_by_slot(len(slots), slots)
    assert [rows[slot] for slot in slots] == list(range(len(slots)))
    assert {rows[slot] for slot in range(len(rows)) if slot not in chosen} <= {0}
    assert len(rows) == slots[-1] + 1


def test_without_slots_the_rows_stand_one_after_the_other() -> None:
    assert list(rows_by_slot(3, None)) == [0, 1, 2]


@pytest.mark.parametrize("slots", [[0], [1, 0], [0, 0], [-1, 2]])
def test_slots_that_are_none_are_refused(slots: Sequence[int]) -> None:
    with pytest.raises(ValueError, match="2 rows need as many ascending slots"):
        rows_by_slot(2, slots)


@pytest.mark.parametrize("rows", [[], [1, 2, 3]])
def test_a_batch_has_at_least_one_row_and_no_more_than_its_size(rows: list[int]) -> None:
    with pytest.raises(ValueError, match="a batch has 1 to 2 rows"):
        padded(rows, 2)
    assert padded([7], 2) == [7, 7]

"""Seeds: the same everywhere, and unrelated to each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.seeds import MAX_SEED, row_seed, stage_seed

SEEDS = st.integers(0, MAX_SEED)


@given(SEEDS, st.text())
def test_seeds_fit_a_signed_column_and_torch(seed: int, name: str) -> None:
    assert 0 <= row_seed(seed, name) <= MAX_SEED


def test_seeds_are_the_same_on_every_machine() -> None:
    assert row_seed(7, "0") == 5401101368613433194
    assert stage_seed(7, "student") == 4146337753904527542


def test_rows_and_stages_do_not_share_seeds() -> None:
    seeds = {row_seed(job, str(row)) for job in range(10) for row in range(1000)}
    assert len(seeds) == 10_000
    assert stage_seed(1, "student") != stage_seed(1, "teacher")

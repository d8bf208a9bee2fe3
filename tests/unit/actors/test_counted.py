"""Numbers in sentences."""

from __future__ import annotations

import pytest

from actors.counted import counted


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 parts"), (1, "1 part"), (2, "2 parts"), (1024, "1,024 parts")]
)
def test_one_of_a_kind_has_no_plural(number: int, said: str) -> None:
    assert counted(number, "part") == said

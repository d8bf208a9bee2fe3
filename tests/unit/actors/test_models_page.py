"""docs/models.md says what the tests of the families see."""

from __future__ import annotations

from actors.models.families import FAMILIES
from tests.models.table import PAGE, page


def test_the_tables_are_generated_from_the_tests_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.models.table"


def test_every_family_is_in_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| {family.name} |" in text for family in FAMILIES)
    assert "**no**" not in text

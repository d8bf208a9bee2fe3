"""docs/input.md: every test that it names is there, and every line names one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/input.md").read_text(encoding="utf-8")
TESTS = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 50
    assert named - set(re.findall(r"^def (test_\w+)\(", TESTS, re.MULTILINE)) == set()


def test_every_line_of_the_page_names_a_test() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    kinds = [line for line in lines if not line.startswith("| input |")]
    assert [line for line in kinds if not re.search(r"\| [^|]*`test_\w+`[^|]* \|$", line)] == []

"""`make demo` and `make test`: what they run, and that a second call installs nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def would_run(folder: Path, target: str) -> list[str]:
    """The commands of a target, without running one."""
    # A make around us must not tell this one what to do.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    end = subprocess.run(
        ["make", "--dry-run", "PYTHON=python3", target],
        cwd=folder, env=plain, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return end.stdout.splitlines()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


DEMO = [".venv/bin/bottega run examples/shapes.yaml", ".venv/bin/bottega sheet out/shapes-demo"]
TEST = [
    ".venv/bin/ruff check .",
    ".venv/bin/ruff format --check .",
    ".venv/bin/mypy",
    ".venv/bin/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder "
    "-m 'not slow' --durations 10",
]


@pytest.mark.parametrize(("target", "commands"), [("demo", DEMO), ("test", TEST)])
def test_the_first_call_installs_and_the_second_does_not(
    clone: Path, target: str, commands: list[str]
) -> None:
    first = would_run(clone, target)
    assert "python3 -m venv .venv" in first[0]
    assert "pip install" in first[1]
    assert "--constraint constraints.txt" in first[1]
    assert first[-len(commands) :] == commands
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/.installed").touch()
    (clone / ".venv/bin/promtool").touch()
    assert would_run(clone, target) == commands
    newer = (clone / ".venv/.installed").stat().st_mtime + 1
    os.utime(clone / "constraints.txt", (newer, newer))
    assert "pip install" in would_run(clone, target)[1]


def test_there_are_slow_tests_for_test_all_to_run() -> None:
    marked = [
        f for f in (ROOT / "tests").rglob("test_*.py") if "\n@pytest.mark.slow" in f.read_text()
    ]
    assert marked


def test_ci_says_make_test() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "\nmake test\n" in script.read_text()

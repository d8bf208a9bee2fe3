"""The Dockerfile: linted, pinned, and of files that are there. Nothing is built here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_linter_finds_nothing() -> None:
    end = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert end.returncode == 0, end.stdout


def test_what_is_copied_is_there_and_not_ignored() -> None:
    copied = [
        source
        for line in re.findall(r"^COPY (.+)$", TEXT, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert {"pyproject.toml", "constraints.txt", "actors", "jobs", "cluster"} <= set(copied)
    assert all((ROOT / source).exists() for source in copied)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)


def test_versions_are_pinned_and_nobody_is_root() -> None:
    (base,) = re.findall(r"^FROM (\S+)$", TEXT, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base)
    assert "pip install --no-cache-dir --constraint constraints.txt ." in TEXT
    assert TEXT.index("\nUSER 1000\n") > TEXT.index("pip install")

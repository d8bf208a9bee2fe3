"""Ray's own commands on a cluster's file, run as they are: their output and exit code are ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RAY = Path(sys.executable).with_name("ray")

STATUS = "RAY_AUTH_MODE=token ray status"


def up(file: Path, yes: bool) -> int:
    """`ray up`: start the cluster, or bring it in line with its file."""
    return _ray("up", str(file), *(["--yes"] if yes else []))


def down(file: Path, yes: bool) -> int:
    """`ray down`: end every node."""
    return _ray("down", str(file), *(["--yes"] if yes else []))


def status(file: Path) -> int:
    """`ray status`, on the head: nodes, what they have, and what is asked for."""
    return _ray("exec", str(file), STATUS)


def _ray(*words: str) -> int:
    return subprocess.run([RAY, *words], check=False).returncode

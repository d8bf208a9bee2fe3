"""The driver imports the classes of actors, and none of the libraries that only actors need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

HEAVY = ("torch", "diffusers", "transformers")

SCRIPT = """
import sys
import cluster.cli.app, jobs.execution.ray_executor, jobs.execution.runner
from actors.actor_classes import actor_classes
from actors.models.presets import PRESETS

actor_classes(PRESETS[sys.argv[1]])
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""


@pytest.mark.parametrize("preset", ["shapes", "timed"])
def test_the_driver_imports_no_library_of_models(preset: str) -> None:
    """They take five seconds of a core before the first actor could start."""
    end = subprocess.run(
        [sys.executable, "-c", SCRIPT, preset, *HEAVY],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert end.stdout.split() == []

"""For every test."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]

# The workers of a Ray find these tests' own classes too. Bottega puts no folder on their path.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

# No deadlines: these machines are noisy, and a timed test fails for others' reasons.
settings.register_profile("bottega", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bottega")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Here, and not beside the tests that take it: options are read before those are found."""
    parser.addoption(
        "--write-families",
        action="store_true",
        help="Write what the tests of the families measure to tests/models/families.json.",
    )


SHARED_RAY = re.compile(
    r"\b(ray_here|idle_actors|run_here|sessions_here|bottega_here|done|done_by_stand_ins): "
)
"""A test takes a fixture of tests/cluster that needs the Ray of that folder. The other files there
start a Ray in another process."""


SHARED_HEAD = re.compile(r"\bhead: Head\b")
"""A test takes the head of tests/cluster, to which jobs are submitted."""


class RayTogether(LoadScopeScheduling):  # type: ignore[misc]
    """Which tests stay together on one of several workers."""

    def _split_scope(self, nodeid: str) -> str:
        """A file's tests stay together: they share what its fixtures made.

        So do three groups of files: tests/chaos shares a Ray of several nodes, most of
        tests/cluster shares a Ray and its actors, and some of it a head with its dashboard. pytest
        finds the first two first, so that two workers begin with one each; then they do the rest.
        """
        file = nodeid.partition("::")[0]
        if file.startswith("tests/chaos/"):
            return "chaos"
        if file.startswith("tests/cluster/") and _takes(SHARED_HEAD, file):
            return "head"
        return "ray" if file.startswith("tests/cluster/") and _takes(SHARED_RAY, file) else file


@cache
def _takes(fixture: re.Pattern[str], file: str) -> bool:
    return bool(fixture.search((ROOT / file).read_text(encoding="utf-8")))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """xdist asks for it on the controller; its own markers come too late in a conftest."""
    return RayTogether(config, log)

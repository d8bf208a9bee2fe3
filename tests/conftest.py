"""For every test."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

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


class RayTogether(LoadScopeScheduling):  # type: ignore[misc]
    """Which tests stay together on one of several workers."""

    def _split_scope(self, nodeid: str) -> str:
        """A file's tests stay together: they share what its fixtures made.

        All tests on a real Ray are one group: they share a Ray and its actors, and one Ray at a
        time keeps two cores busy while its actors load. pytest finds them first, so that one
        worker begins with the longest group, and another does the files meanwhile.
        """
        file = nodeid.partition("::")[0]
        return "ray" if file.startswith(("tests/chaos/", "tests/cluster/")) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """xdist asks for it on the controller; its own markers come too late in a conftest."""
    return RayTogether(config, log)

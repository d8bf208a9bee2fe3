"""For every test."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadlines: these machines are noisy, and a timed test fails for others' reasons.
settings.register_profile("bottega", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bottega")

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Here, and not beside the tests that take it: options are read before those are found."""
    parser.addoption(
        "--write-families",
        action="store_true",
        help="Write what the tests of the families measure to tests/models/families.json.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say which tests stay together on one of several workers (`--dist loadgroup`)."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            item.add_marker(pytest.mark.xdist_group(group_of(item.path)))


def group_of(file: Path) -> str:
    """A file's tests stay together: they share what its fixtures made.

    All tests on a real Ray are one group: they share a Ray and its actors, and one Ray at a time
    keeps two cores busy while its actors load. pytest finds them first, so that one worker begins
    with the longest group, and another does the files meanwhile.
    """
    folder = file.relative_to(HERE).parts[0]
    return "ray" if folder in ("chaos", "cluster") else str(file.relative_to(HERE))

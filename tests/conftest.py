"""For every test."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

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

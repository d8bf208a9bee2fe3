"""One Ray of several nodes for all of these tests, and a run in peace on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.chaos import Nodes, nodes, run_in_peace


@pytest.fixture(scope="session")
def here() -> Iterator[Nodes]:
    with nodes() as made:
        yield made


@pytest.fixture(scope="session")
def peace(here: Nodes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bytes of every part."""
    return run_in_peace(tmp_path_factory.mktemp("peace"), here)

"""One Ray of several nodes for all of these tests, and a run without faults on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.chaos import Nodes, nodes, run_without_faults


@pytest.fixture(scope="session")
def here() -> Iterator[Nodes]:
    with nodes() as made:
        yield made


@pytest.fixture(scope="session")
def faultless(here: Nodes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bytes of every part."""
    return run_without_faults(tmp_path_factory.mktemp("faultless"), here)

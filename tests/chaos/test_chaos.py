"""A short one of `python -m tests.chaos`: an actor, a node and the driver die in one job."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.chaos import KINDS, Nodes, told, trial


@pytest.mark.timeout(1200)
def test_an_actor_a_node_and_the_driver_die_and_no_byte_differs(
    here: Nodes, peace: dict[str, str], tmp_path: Path
) -> None:
    became = trial(1, tmp_path, here, peace, first=KINDS)
    assert set(became.kills) == set(KINDS), told(became)
    assert became.good, told(became)

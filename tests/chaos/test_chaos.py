"""A short one of `python -m tests.chaos`: an actor, a node and the driver die in one job."""

from pathlib import Path

import pytest

from tests.chaos.chaos import KINDS, nodes, run_in_peace, told, trial


@pytest.mark.timeout(600)
def test_an_actor_a_node_and_the_driver_die_and_no_byte_differs(tmp_path: Path) -> None:
    with nodes() as here:
        peace = run_in_peace(tmp_path, here)
        became = trial(1, tmp_path, here, peace, first=KINDS)
    assert set(became.kills) == set(KINDS), told(became)
    assert became.good, told(became)

"""A short one of `python -m tests.chaos`: an actor, a node and the driver die in one job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.chaos import KINDS, Nodes, run_without_faults, summary, trial


@pytest.mark.timeout(1200)
def test_an_actor_a_node_and_the_driver_die_and_no_byte_differs(
    here: Nodes, quick: dict[str, Any], faultless: dict[str, str], tmp_path: Path
) -> None:
    """With stand-ins for the models: all the rest is as with models that compute."""
    all_die_and_no_byte_differs(here, quick, faultless, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_same_with_models_that_compute(
    here: Nodes, small: dict[str, Any], tmp_path: Path
) -> None:
    all_die_and_no_byte_differs(here, small, run_without_faults(tmp_path, here, **small), tmp_path)


def all_die_and_no_byte_differs(
    here: Nodes, fields: dict[str, Any], faultless: dict[str, str], folder: Path
) -> None:
    assert len(faultless) == 8
    result = trial(1, folder, here, faultless, kills=KINDS, **fields)
    assert set(result.kills) == set(KINDS), summary(result)
    assert result.good, summary(result)
    # The folder is on a disk that all nodes have, and nobody said so.
    assert "it writes parts too" in (folder / "trial-1.log").read_text()

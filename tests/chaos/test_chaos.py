"""A short one of `python -m tests.chaos`: an actor, a node and the driver die in one job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.chaos import KINDS, Nodes, summary, trial


@pytest.mark.timeout(1200)
def test_an_actor_a_node_and_the_driver_die_and_no_byte_differs(
    here: Nodes, small: dict[str, Any], faultless: dict[str, str], tmp_path: Path
) -> None:
    assert len(faultless) == 8
    result = trial(1, tmp_path, here, faultless, kills=KINDS, **small)
    assert set(result.kills) == set(KINDS), summary(result)
    assert result.good, summary(result)

"""Times as people write them, and how long actors stay."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from actors.durations import seconds_of
from actors.pool_settings import PoolsSettings


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("15m", 900.0), (" 1.5 h ", 5400.0), ("2d", 172_800.0)],
)
def test_a_time(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "90", "15.5", "0m", "-5m", "five minutes", "1e3", "15 m m", "9" * 10]
)
def test_no_time(text: str) -> None:
    assert seconds_of(text) is None


def test_how_long_actors_stay() -> None:
    assert PoolsSettings().keep_warm_seconds == 0
    assert PoolsSettings(keep_warm="15m").keep_warm_seconds == 900


@pytest.mark.parametrize("wrong", ["0", "15", 15, 1.5, "25h", "always", True, 0, -3])
def test_actors_that_stay_for_no_time_or_for_ever_are_refused(wrong: object) -> None:
    with pytest.raises(ValidationError, match="keep_warm"):
        PoolsSettings.model_validate({"keep_warm": wrong})

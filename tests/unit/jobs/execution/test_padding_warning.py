"""A warning where rows of many kinds fill few batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.jobs.local import local_job, run

SAID = "combinations of size and guidance scale"


@pytest.mark.parametrize(
    ("scales", "who"),
    [
        (["3"] * 8, None),
        (["3", "4", "5", "6", "3", "4", "5", "6"], "the teacher's batches 50 % or more"),
    ],
)
def test_many_guidance_scales_are_warned_of_once(
    scales: list[str], who: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "p.csv"
    rows = [f"picture {n},{scale}" for n, scale in enumerate(scales)]
    source.write_text("\n".join(["prompt,scale", *rows, ""]))
    fields: dict[str, Any] = {"guidance_scale_column": "scale", "budget": {"threshold": 0.5}}
    run(local_job(source, tmp_path / "out", **fields))
    said = [record.getMessage() for record in caplog.records if SAID in record.getMessage()]
    assert len(said) == (who is not None)
    assert all(who in one for one in said if who)

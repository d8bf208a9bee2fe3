"""A plan knows the sizes and guidance scales of the input's rows, and the padding they cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import SpecError
from jobs.planning.forecast import Forecast
from jobs.planning.plan import Question, ask, make_plan, teacher_only
from jobs.planning.prices import read_prices
from jobs.planning.stage_times import stage_times
from jobs.refinement import planned_refinement
from jobs.spec.job_spec import make_spec
from tests.unit.jobs.planning.test_plan import POOLS, timed

ROWS = 2_000
USUAL: dict[str, Any] = {"models": timed(1.0, 10.0), "budget": {"refine": 0.5}, "pools": POOLS}


def question(folder: Path, columns: dict[str, list[Any]], **fields: Any) -> Question:
    table = pa.table({"prompt": ["a ring"] * ROWS, **columns})
    file = folder / f"{'-'.join(['p', *columns])}-{len(list(folder.iterdir()))}.parquet"
    pq.write_table(table, file)
    spec = make_spec(
        {
            **USUAL,
            "input": str(file),
            "output": str(folder / "out"),
            "strategy": "regenerate",
            "rows_per_part": 200,
            "calibration_rows": 10,
            **fields,
        }
    )
    times = stage_times(spec, planned_refinement(spec))
    return ask(spec, times, {times.usual_gpu: 2})


SIZES: dict[str, Any] = {"sizes": ["512x512", "1024x512"], "size_column": "size"}


@pytest.mark.parametrize("of_these_rows", [True, False])
def test_larger_pictures_take_longer(tmp_path: Path, of_these_rows: bool) -> None:
    """Half of the rows have twice the pixels: half as much again, and up to one more padded batch a
    part. Of the very rows, and of a sample of them."""
    plain = question(tmp_path, {})
    sized = question(tmp_path, {"size": ["512x512", "1024x512"] * (ROWS // 2)}, **SIZES)
    if not of_these_rows:
        plain, sized = (replace(one, prompts=None) for one in (plain, sized))
    before, after = make_plan(plain), make_plan(sized)
    drawing, refining = (
        after.busy_hours[pool] / before.busy_hours[pool] for pool in ("student", "teacher")
    )
    assert drawing == pytest.approx(1.5, abs=0.03 if of_these_rows else 0.1)
    assert 1.5 <= refining < 1.7
    alone, sized_alone = teacher_only(plain), teacher_only(sized)
    assert sized_alone.wall_seconds == pytest.approx(1.5 * alone.wall_seconds, rel=0.05)


def test_many_guidance_scales_cost_padding(tmp_path: Path) -> None:
    """Forty rejected rows of a part would be four batches of the teacher's; with forty guidance
    scales they are most of forty."""
    scales = [1.5 + (n % 40) / 100 for n in range(ROWS)]
    fields = {"budget": {"refine": 0.2}, "guidance_scale_column": "scale"}
    few = make_plan(question(tmp_path, {"scale": [7.5] * ROWS}, **fields))
    many = make_plan(question(tmp_path, {"scale": scales}, **fields))
    assert many.busy_hours["teacher"] > 5 * few.busy_hours["teacher"]
    assert many.busy_hours["student"] == pytest.approx(few.busy_hours["student"])


def test_pictures_are_stored_in_the_sizes_that_rows_have(tmp_path: Path) -> None:
    """Half of them have twice the pixels; the largest size alone would say a third too much."""
    sized = question(tmp_path, {"size": ["512x512", "1024x512"] * (ROWS // 2)}, **SIZES)
    found = Forecast(
        question=sized,
        plan=make_plan(sized),
        teacher_only=teacher_only(sized),
        budgets=(),
        prices=read_prices(None),
        deadline_seconds=None,
        refined_interval=None,
    )
    price = sized.spec.picture_format.price
    assert found.dataset.stored == pytest.approx(ROWS * 1.5 * 512 * 512 * price.stored)


def test_encoding_takes_as_long_as_the_pictures_are_large(tmp_path: Path) -> None:
    """It is what takes the time here: half as long again where half of the rows have twice the
    pixels, so that no row counts as the largest."""
    walls = []
    for columns, more in (
        ({}, {"size": "512x512"}),
        ({"size": ["512x512", "1024x512"] * (ROWS // 2)}, SIZES),
    ):
        asked = question(tmp_path, columns, **more)
        slow = replace(asked.times, file_seconds_per_row=40.0 if more is SIZES else 20.0)
        walls.append(make_plan(replace(asked, times=slow, prompts=None)).wall_seconds)
    assert walls[1] == pytest.approx(1.5 * walls[0], rel=0.05)


def test_rows_that_are_sorted_fill_their_batches(tmp_path: Path) -> None:
    """Padding follows from the rows that share a part, not from the values of all rows."""
    sorted_rows = [1.5 + n // 200 for n in range(ROWS)]
    mixed = [1.5 + n % 8 for n in range(ROWS)]
    fields = {"guidance_scale_column": "scale"}
    alone = [
        teacher_only(question(tmp_path, {"scale": scales}, **fields)).wall_seconds
        for scales in (sorted_rows, mixed)
    ]
    plain = teacher_only(question(tmp_path, {})).wall_seconds
    assert alone[0] == pytest.approx(plain)
    # 25 rows of a part have each value: three batches of 10, where 200 rows alike take 20.
    assert alone[1] / plain == pytest.approx(24 / 20, rel=0.01)


def test_a_value_for_each_row_is_refused(tmp_path: Path) -> None:
    scales = [1.5 + n / 1000 for n in range(ROWS)]
    with pytest.raises(SpecError, match="scale: rows of different values share no batch"):
        question(tmp_path, {"scale": scales}, guidance_scale_column="scale")

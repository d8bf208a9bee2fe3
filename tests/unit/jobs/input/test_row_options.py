"""The size and the guidance of each row, by columns of the input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import InputError
from actors.refinement import RowOptions
from jobs.input.prompts import Part, Prompts
from jobs.spec.job_spec import make_spec

SIZES = {"sizes": ["64x64", "128x64"], "size_column": "size"}
SCALES = {"guidance_scale_column": "scale"}


def prompts(folder: Path, columns: dict[str, Any], **fields: Any) -> Prompts:
    rows = len(next(iter(columns.values())))
    table = pa.table({"prompt": [f"a ring {n}" for n in range(rows)], **columns})
    pq.write_table(table, folder / "p.parquet")
    spec = {"input": str(folder / "p.parquet"), "output": "out", "models": "shapes", **fields}
    return Prompts(make_spec(spec))


def part(folder: Path, columns: dict[str, Any], **fields: Any) -> Part:
    (found,) = prompts(folder, columns, **fields).parts()
    return found


def test_each_row_has_its_own_and_a_null_the_first(tmp_path: Path) -> None:
    columns = {"size": ["128x64", None, "2:1"], "scale": [3.0, 2.5, None]}
    found = part(tmp_path, columns, **SIZES, **SCALES)
    assert found.invalid_rows == {}
    # The embedded student is not guided, and reads no guidance scale: it has fewer kinds of rows.
    assert found.options["student"] == [
        RowOptions((128, 64)), RowOptions((64, 64)), RowOptions((128, 64)),
    ]  # fmt: skip
    assert found.options["teacher"] == [
        RowOptions((128, 64), 3.0), RowOptions((64, 64), 2.5), RowOptions((128, 64)),
    ]  # fmt: skip


def test_a_sample_has_them_too(tmp_path: Path) -> None:
    sample = prompts(tmp_path, {"size": ["128x64"] * 9}, **SIZES).sample(8)
    assert sample.options["teacher"] == [RowOptions((128, 64))] * 8


def test_a_job_without_such_columns_has_none(tmp_path: Path) -> None:
    assert part(tmp_path, {"size": ["128x64"]}).options == {}


def test_a_wrong_value_fails_its_row_alone(tmp_path: Path) -> None:
    columns = {
        "size": ["64x64", "77x77", "64x64", "64x64", "tall"],
        "scale": ["7.5", "", "one", "0.5", "2"],
    }
    found = part(tmp_path, columns, **SIZES, **SCALES)
    assert found.invalid_rows == {
        1: "size: '77x77' is none of the job's sizes: 64x64, 128x64",
        2: "scale: 'one' is no guidance scale: give a number above 1, at most 1000",
        3: "scale: '0.5' is no guidance scale: give a number above 1, at most 1000",
        4: "size: 'tall' is no size: give width and height in pixels, 8 to 16,384, as 1024x768",
    }
    assert found.options["teacher"][0] == RowOptions((64, 64), 7.5)
    # They are not drawn, and are no kind of rows of their own.
    assert found.options["teacher"][2] == RowOptions((64, 64))
    assert found.options["student"][4] == RowOptions((64, 64))


@pytest.mark.parametrize("value", [1.0, float("nan"), float("inf"), -2.0, 1e9])
def test_a_number_that_is_no_guidance_scale(tmp_path: Path, value: float) -> None:
    found = part(tmp_path, {"scale": pa.array([value], pa.float64())}, **SCALES)
    assert "is no guidance scale" in found.invalid_rows[0]


@pytest.mark.parametrize(
    ("fields", "columns", "said"),
    [
        (SIZES, {"n": [1]}, "size_column 'size' is not in"),
        (SCALES, {"n": [1]}, "guidance_scale_column 'scale' is not in"),
        (SIZES, {"size": [[1, 2]]}, "must hold sizes \\(1024x768\\) or aspect ratios"),
        (SCALES, {"scale": [True]}, "must hold numbers"),
    ],
)
def test_a_column_that_is_not_there_or_of_another_kind_is_refused(
    tmp_path: Path, fields: dict[str, Any], columns: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        prompts(tmp_path, columns, **fields)

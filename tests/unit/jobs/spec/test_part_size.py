"""How many rows a part has by default, and which numbers are refused or warned of."""

from __future__ import annotations

from typing import Any

import pytest

from actors.errors import SpecError
from actors.models.presets import PRESETS
from jobs.spec.job_spec import JobSpec, make_spec
from jobs.spec.part_size import FEW_BATCHES, MOST_ROWS, check_groups, check_part_size

NEEDED = {"input": "p.csv", "output": "out"}


def spec(models: str = "sdxl-lightning", **fields: Any) -> JobSpec:
    return make_spec({**NEEDED, "models": models, **fields})


@pytest.mark.parametrize(
    "models", [name for name, models in PRESETS.items() if models.student.controlnet is None]
)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"save_student": True},
        {"image_format": "jpeg"},
        {"image_format": "webp", "image_lossless": True},
    ],
    ids=str,
)
def test_a_part_is_whole_batches_and_a_file_that_readers_want(
    models: str, fields: dict[str, Any]
) -> None:
    job = spec(models, **fields)
    size, batch = job.part_size, max(job.batch_sizes.values())
    assert size.rows == job.part_rows
    assert size.rows % batch == 0
    assert FEW_BATCHES * batch <= size.rows <= MOST_ROWS
    assert check_part_size(size.rows, job.batch_sizes) is None
    if FEW_BATCHES * batch < size.rows < MOST_ROWS:
        assert 256e6 <= size.stored <= 500e6


@pytest.mark.parametrize(
    ("fields", "rows", "why"),
    [
        ({}, 208, "for files of about 480 MB: 26 batches of 8"),
        ({"save_student": True, "budget": {"refine": 1.0}}, 128, "16 batches of 8: with fewer"),
        ({"image_format": "jpeg", "image_quality": 75}, 1432, "for files of about 480 MB"),
        ({"models": "timed-zero"}, 2048, "the most by default, so that a crash costs little"),
        # The size is in the models' files: they count as 1024 x 1024.
        ({"models": "shapes"}, 256, "16 batches of 16"),
        ({"rows_per_part": 300}, 300, "set in the job file"),
    ],
)
def test_the_number_and_its_reason(fields: dict[str, Any], rows: int, why: str) -> None:
    size = spec(**fields).part_size
    assert size.rows == rows
    assert size.reason.startswith(why)


def test_less_than_a_batch_is_refused_with_its_price() -> None:
    said = (
        r"rows_per_part: 2 is less than a batch of the teacher \(16\).* the teacher would take 8 "
        r"times as long. Give at least 256 \(16 batches\), or leave it out; or lower "
        r"models.teacher.batch_size"
    )
    with pytest.raises(SpecError, match=said):
        check_part_size(2, {"student": 4, "teacher": 16})


def test_a_few_batches_are_warned_of_and_sixteen_are_not() -> None:
    assert check_part_size(64, {"student": 4, "teacher": 4}) is None
    warning = check_part_size(60, {"student": 16, "teacher": 4})
    assert warning is not None
    assert (
        "only 3.75 batches of the student (16), and of its whole batches 7% is padding" in warning
    )


def test_nearly_empty_batches_are_refused_with_their_price() -> None:
    """A thousand guidance scales in a part of 2,048 rows, and batches of 16."""
    part = (3,) * 24 + (2,) * 988
    said = (
        r"cfg: rows of different values share no batch, and the 2,048 rows of a part have 1,012 "
        r"different ones. The teacher would compute 1,012 batches of 16 a part, nearly empty, and "
        r"take 7.91 times as long as without.*lower models.teacher.batch_size to 2"
    )
    with pytest.raises(SpecError, match=said):
        check_groups([part, part], "cfg", "teacher", 16)
    check_groups([part, part], "cfg", "teacher", 2)


@pytest.mark.parametrize(
    "part",
    [
        (8,) * 256,  # half full
        (256,) * 8,
        (1,) * 15,  # a part of fifteen rows
    ],
)
def test_batches_that_are_full_enough_or_few_are_made(part: tuple[int, ...]) -> None:
    check_groups([part], "cfg", "student", 16)

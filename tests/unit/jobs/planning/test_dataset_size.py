"""The size of a dataset that is planned: arithmetic by hand."""

from __future__ import annotations

import pytest

from jobs.planning.dataset_size import dataset_size
from jobs.spec.job_spec import make_spec

FIELDS = {"input": "-", "output": "-", "models": "timed", "rows_per_part": 256}
PIXELS = 512 * 512


def test_pictures_count_as_photographs_and_saved_ones_twice() -> None:
    spec = make_spec({**FIELDS, "save_student": True})
    size = dataset_size(spec, 1_000, refined=0.25, row_bytes=None)
    assert (size.pictures, size.files, size.measured) == (1_250, 4, False)
    assert size.stored == pytest.approx(1_250 * PIXELS * 2.23)
    assert size.formats[0].core_hours == pytest.approx(1_250 * PIXELS * 1.5e-7 / 3600)
    assert size.reason == "set in the job file"


def test_measured_bytes_count_where_there_are_some() -> None:
    spec = make_spec({**FIELDS, "image_format": "webp", "image_lossless": True})
    size = dataset_size(spec, 1_000, refined=0.25, row_bytes=5e5)
    assert (size.stored, size.measured, size.pictures) == (5e8, True, 1_000)
    assert [price.form.label for price in size.formats[:2]] == ["webp, lossless", "png, level 1"]
    assert len({price.form for price in size.formats}) == len(size.formats)

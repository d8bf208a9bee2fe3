"""Pictures as files."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from jobs.output.encode import encode_one
from jobs.spec.picture_formats import PRICES, PictureFormat

PICTURE = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("form", PRICES, ids=lambda form: form.label)
def test_each_format_is_what_it_says_and_always_the_same_bytes(form: PictureFormat) -> None:
    one, two = (encode_one(PICTURE, form) for _ in range(2))
    assert one == two
    image = Image.open(BytesIO(one))
    assert image.format == form.name.upper()
    kept = np.array_equal(np.asarray(image), PICTURE)
    assert kept == (form.name == "png" or form.lossless)


def test_a_higher_level_of_png_makes_a_smaller_file() -> None:
    flat = np.zeros((64, 64, 3), np.uint8)
    flat[::3, ::5] = 200
    sizes = [len(encode_one(flat, PictureFormat("png", level=level))) for level in (0, 1, 9)]
    assert sizes == sorted(set(sizes), reverse=True)

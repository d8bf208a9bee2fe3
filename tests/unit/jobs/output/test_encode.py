"""Pictures as files."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from jobs.output.encode import encode_one

PICTURE = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_each_format_is_what_it_says_and_always_the_same_bytes(image_format: str) -> None:
    one, two = (encode_one(PICTURE, image_format, 90) for _ in range(2))  # type: ignore[arg-type]
    assert one == two
    image = Image.open(BytesIO(one))
    assert image.format == image_format.upper()
    assert image.size == (24, 16)

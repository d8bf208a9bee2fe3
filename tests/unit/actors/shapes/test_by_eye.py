"""The verifier agrees with the eye: tests/data/README.md says how the pictures were judged."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from actors.models.shapes import verifier, world

JUDGED = Path(__file__).parents[3] / "data" / "by_eye.parquet"


def test_verifier_agrees_with_the_eye_on_196_of_200_pictures_that_did_not_choose_it() -> None:
    table = pq.read_table(JUDGED, filters=[("use", "==", "confirm")])
    rows = table.to_pylist()
    assert len(rows) == 200
    pictures = [np.asarray(Image.open(BytesIO(row["picture"])).convert("RGB")) for row in rows]
    otherwise = [
        row["number"]
        for row, picture in zip(rows, pictures, strict=True)
        if verifier.verify(picture, world.parse(row["prompt"])).right != row["right"]
    ]
    assert len(otherwise) <= 4, otherwise

"""The size of a job's dataset: bytes, files, and the price of each format, before it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from jobs.spec.job_spec import JobSpec
from jobs.spec.picture_formats import PRICES, PictureFormat


@dataclass(frozen=True, slots=True)
class FormatPrice:
    """A format's price for all pictures of the dataset: bytes, and hours of a core to encode."""

    form: PictureFormat
    stored: float
    core_hours: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSize:
    """`stored`: bytes in all; the input's own columns count only where they were `measured`.

    `part_rows`: of a file, and `reason` why so many. `formats`: the job's own first.
    """

    stored: float
    measured: bool
    files: int
    part_rows: int
    reason: str
    pictures: int
    formats: tuple[FormatPrice, ...]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "bytes": round(self.stored),
            "measured": self.measured,
            "files": self.files,
            "rows_per_part": self.part_rows,
            "rows_per_part_reason": self.reason,
            "pictures": self.pictures,
            "formats": [
                {
                    "format": price.form.label,
                    "bytes": round(price.stored),
                    "core_hours": price.core_hours,
                }
                for price in self.formats
            ],
        }


def dataset_size(
    spec: JobSpec,
    num_rows: int,
    refined: float,
    row_bytes: float | None,
    *,
    row_pixels: float | None = None,
) -> DatasetSize:
    """The dataset of so many rows of which the teacher refines a fraction.

    row_bytes: of a row, where it was measured; else pictures count as photographs. row_pixels: of
    a picture, on average; None: as large as any.
    """
    pictures = round(num_rows * (1 + refined * spec.save_student))
    own, pixels = spec.picture_format, pictures * (row_pixels or spec.pixels)
    others = [form for form in PRICES if form != own]
    prices = tuple(
        FormatPrice(form, form.price.stored * pixels, form.price.seconds * pixels / 3600)
        for form in (own, *others)
    )
    return DatasetSize(
        stored=prices[0].stored if row_bytes is None else row_bytes * num_rows,
        measured=row_bytes is not None,
        files=ceil(num_rows / spec.part_rows),
        part_rows=spec.part_rows,
        reason=spec.part_size.reason,
        pictures=pictures,
        formats=prices,
    )

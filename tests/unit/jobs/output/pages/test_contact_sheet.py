"""The contact sheet: every picture whole, before beside after, whatever the prompt is."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from jobs.output.pages.contact_sheet import CELL_PIXELS, PAIR_GAP, make_sheet
from jobs.resolution import Job
from tests.unit.jobs.local import local_job, run, write_prompts


def made(folder: Path, **fields: Any) -> Job:
    job = local_job(write_prompts(folder / "p.csv", 24), folder / "out", **fields)
    run(job)
    return job


class Sheet:
    """A contact sheet of a job, and where pictures are on it."""

    def __init__(self, job: Job, rows_each: int = 12) -> None:
        path = make_sheet(job.output, job.output.path / "sheet.png", rows_each)
        with Image.open(path) as sheet:
            assert sheet.format == "PNG"
            self.pixels = _as_numbers(sheet)
        self.rows = pq.read_table(job.output.path / "data").to_pylist()

    def place(self, image: dict[str, Any]) -> tuple[int, int] | None:
        """Left and top of a picture, which in a local job has one colour; None if it is not there.

        It has to be whole, but for its frame of one pixel.
        """
        with Image.open(BytesIO(image["bytes"])) as picture:
            colour = _as_numbers(picture)[0, 0]
        ys, xs = np.nonzero(self.pixels == colour)
        if not len(xs):
            return None
        inside = CELL_PIXELS - 2
        assert (np.ptp(xs) + 1, np.ptp(ys) + 1, len(xs)) == (inside, inside, inside**2)
        return int(xs.min()) - 1, int(ys.min()) - 1


def _as_numbers(image: Image.Image) -> NDArray[np.uint32]:
    """A picture with a number for each colour: (height, width)."""
    pixels = np.asarray(image.convert("RGBA")).view(np.uint32)
    return pixels.reshape(image.height, image.width)


def test_accepted_rows_come_first_and_refined_ones_before_beside_after(tmp_path: Path) -> None:
    sheet = Sheet(made(tmp_path), rows_each=5)
    accepted = [row for row in sheet.rows if row["source"] == "student"]
    refined = [row for row in sheet.rows if row["source"] == "teacher"]
    assert len(accepted) > 5
    assert len(refined) > 5
    above = [sheet.place(row["image"]) for row in accepted]
    assert [place is not None for place in above] == [n < 5 for n in range(len(accepted))]
    for number, row in enumerate(refined):
        before, after = sheet.place(row["student_image"]), sheet.place(row["image"])
        if number >= 5:
            assert before is after is None
            continue
        assert before
        assert after == (before[0] + CELL_PIXELS + PAIR_GAP, before[1])
        assert all(place is None or place[1] < before[1] for place in above)


def test_a_student_that_was_not_kept_leaves_the_teachers_picture(tmp_path: Path) -> None:
    sheet = Sheet(made(tmp_path, save_student=False), rows_each=24)
    assert all(sheet.place(row["image"]) for row in sheet.rows)


def _name(prompt: str) -> str:
    """A name that a job may have, of the prompt's characters."""
    return "".join(filter(str.isprintable, prompt))[:100]


@pytest.mark.parametrize(
    "prompt", ["word " * 20_000, "w" * 100_000, "日本語 🎨 \u202e", "a\u2028b", "<b>&amp;</b>"]
)
def test_any_prompt_and_any_name_leave_the_pictures_alone(tmp_path: Path, prompt: str) -> None:
    (tmp_path / "p.txt").write_text(f"{prompt}\n" * 8, encoding="utf-8")
    job = local_job(tmp_path / "p.txt", tmp_path / "out", name=_name(prompt))
    run(job)
    sheet = Sheet(job)
    assert all(sheet.place(row["image"]) for row in sheet.rows)


def test_a_link_in_the_sheets_place_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    """A dataset may be somebody else's, and lead to a file of ours."""
    job = made(tmp_path)
    (tmp_path / "precious").write_text("mine")
    (job.output.path / "sheet.png").symlink_to(tmp_path / "precious")
    Sheet(job)
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (job.output.path / "sheet.png").is_symlink()

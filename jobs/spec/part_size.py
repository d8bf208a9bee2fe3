"""How many rows a part has where the job file does not say, and what a number of them costs.

The default follows from the job file alone, never from a machine or from the input's length: it is
part of the job's identity, and an input may grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from actors.errors import SpecError
from jobs.spec.picture_formats import PictureFormat

PART_BYTES = 480e6
"""Of a part's file, about. Readers want files of 256 to 500 MB, and `datasets` writes 500; the
larger end, because each part's last batch of the teacher is short."""

MOST_ROWS = 2048
"""Of a part by default. A part that is not whole is drawn anew after a crash: with a second a row,
this is half an hour of one GPU. Small pictures make smaller files instead."""

FEW_BATCHES = 16
"""A part of fewer of the larger batches costs too much. Its last batch of the teacher is half empty
on average: at 30 % rejected rows and 16 batches that is a tenth of the teacher's time."""

MOST_TIMES = 4.0
"""Times as long as without columns of sizes or guidance scales that a job may take. Chosen: batches
are a quarter full then, and smaller batches are as fast for less."""

USUAL_SIDE = 1024
"""Pixels of a picture whose size only the model's files say: that of today's models. A smaller
picture makes a smaller file, which is the safe side."""


@dataclass(frozen=True, slots=True)
class PartSize:
    """`rows` of a part, their bytes in all, as estimated, and why it has so many."""

    rows: int
    stored: float
    reason: str


def default_part_size(batch: int, pixels: int, form: PictureFormat, saved: float) -> PartSize:
    """The rows of a part where the job file does not say.

    batch: the larger one of student and teacher. pixels: of a picture. saved: pictures of a row
    that are stored, on average.
    """
    each = saved * pixels * form.price.stored
    least, most = FEW_BATCHES * batch, max(FEW_BATCHES, MOST_ROWS // batch) * batch
    fitting = max(1, round(PART_BYTES / each / batch)) * batch
    rows = min(most, max(least, fitting))
    if rows > fitting:
        why = f"{FEW_BATCHES} batches of {batch}: with fewer, short batches would cost too much"
    elif rows < fitting:
        why = f"the most by default, so that a crash costs little: {rows // batch} batches"
    else:
        why = f"for files of about {PART_BYTES / 1e6:.0f} MB: {rows // batch} batches of {batch}"
    return PartSize(rows, rows * each, why)


def check_part_size(rows: int, batches: Mapping[str, int]) -> str | None:
    """A warning about parts of so many rows, or None for good ones.

    batches: the batch sizes of student and teacher. Raises SpecError for less than a batch.
    """
    role = max(batches, key=lambda name: batches[name])
    batch = batches[role]
    good = f"Give at least {FEW_BATCHES * batch:,} ({FEW_BATCHES} batches), or leave it out"
    if rows < batch:
        raise SpecError(
            f"rows_per_part: {rows} is less than a batch of the {role} ({batch}). A batch never "
            f"reaches beyond its part and is padded to its shape, so the {role} would take "
            f"{batch / rows:.3g} times as long. {good}; or lower models.{role}.batch_size."
        )
    if rows < FEW_BATCHES * batch:
        lost = (ceil(rows / batch) * batch - rows) / rows
        student = f", and of its whole batches {lost:.0%} is padding" if lost > 0.005 else ""
        return (
            f"rows_per_part: {rows} is only {rows / batch:.3g} batches of the {role} ({batch})"
            f"{student}: of each part's rejected rows the last batch is short. {good}."
        )
    return None


def check_groups(parts: Sequence[Sequence[int]], columns: str, role: str, batch: int) -> None:
    """Refuse columns that leave each batch nearly empty. Raises SpecError.

    parts: for some parts, how many rows are in each group: only rows of one size and one guidance
    scale share a batch. columns: the columns, as a sentence has them. role, batch: of the model.
    """
    rows, groups = sum(map(sum, parts)), sum(map(len, parts))
    batches = sum(-(-group // batch) for part in parts for group in part)
    times = batches / sum(-(-sum(part) // batch) for part in parts)
    if times <= MOST_TIMES or batches < FEW_BATCHES * len(parts):
        return  # of so few batches a short part may be made
    fitting = max(1, round(rows / groups))
    raise SpecError(
        f"{columns}: rows of different values share no batch, and the {rows / len(parts):,.0f} "
        f"rows of a part have {groups / len(parts):,.0f} different ones. The {role} would compute "
        f"{batches / len(parts):,.0f} batches of {batch} a part, nearly empty, and take "
        f"{times:.3g} times as long as without. Round the values, so that there are fewer; "
        f"raise rows_per_part; or lower models.{role}.batch_size to {fitting}."
    )

"""Cuts a part's rows into row groups, by bytes and by rows, without holding more than one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import nan

import pyarrow as pa

from jobs.output.columns import ROW_GROUP_BYTES, ROW_GROUP_ROWS, RowResult
from jobs.output.folder import OutputFolder
from jobs.output.part_file import open_part


@dataclass(frozen=True, slots=True)
class Row:
    """A row's values, and its pictures' files: each an array of one value, or None."""

    result: RowResult
    image: pa.BinaryArray | None
    student_image: pa.BinaryArray | None

    @property
    def num_bytes(self) -> int:
        """Of its pictures."""
        return sum(file.nbytes for file in (self.image, self.student_image) if file is not None)


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Consecutive rows of a part: `first` is the place of the first; `given`, the input's."""

    first: int
    rows: list[Row]
    given: pa.Table


def in_row_groups(rows: Iterable[Row], given: pa.Table) -> Iterator[RowGroup]:
    """As many rows in each as fit ROW_GROUP_BYTES and ROW_GROUP_ROWS, and at least one."""
    first, group, held = 0, list[Row](), 0
    for place, row in enumerate(rows):
        size = row.num_bytes + given.slice(place, 1).nbytes
        if group and (len(group) == ROW_GROUP_ROWS or held + size > ROW_GROUP_BYTES):
            yield RowGroup(first, group, given.slice(first, len(group)))
            first, group, held = place, [], 0
        group.append(row)
        held += size
    if group:
        yield RowGroup(first, group, given.slice(first, len(group)))


def kept_rows(
    folder: OutputFolder, index: int, columns: list[str], scores: Sequence[str] = ()
) -> Iterator[Row]:
    """The rows of an existing part, read row group by row group.

    columns: ours. scores: those of them with extra scores.
    """
    with open_part(folder, index) as parquet:
        for number in range(parquet.num_row_groups):
            table = parquet.read_row_group(number, columns=columns).combine_chunks()
            pictures = {
                name: table.column(name).chunk(0) if name in columns else None
                for name in ("image", "student_image")
            }
            others = table.drop_columns([name for name in pictures if name in columns]).to_pylist()
            for place, row in enumerate(others):
                result = RowResult(
                    seed=row["seed"],
                    student_score=row["student_score"],
                    teacher_score=row["teacher_score"],
                    source=row["source"],
                    nfe=row["nfe"],
                    truncated=row["truncated"],
                    error=row["error"],
                    image=None,
                    student_image=None,
                    rung_scores=tuple(row["rung_scores"]) if "rung_scores" in row else None,
                    extra_scores=tuple(nan if row[name] is None else row[name] for name in scores),
                )
                yield Row(result, *(_file(images, place) for images in pictures.values()))


def _file(images: pa.StructArray | None, place: int) -> pa.BinaryArray | None:
    if images is None or not images.is_valid()[place].as_py():
        return None
    return images.field("bytes").slice(place, 1)

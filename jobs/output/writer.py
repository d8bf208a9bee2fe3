"""Writes a part and, last, its record.

`write_part` writes a part beside its place, row group by row group, flushes it to the disk and
renames it; then its record. So a reader that follows the records never sees half a part, and a part
that is written twice has the same bytes. Besides the pictures' files, which it is given, it holds
one row group at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from actors.redact import redact, redacted
from jobs.output.atomic import failing_in, write_whole, writing_whole
from jobs.output.columns import IMAGE, ROW_GROUP_ROWS, RowResult, our_columns
from jobs.output.folder import OutputFolder
from jobs.output.part_file import open_part
from jobs.spec.job_spec import ImageFormat


def write_part(
    folder: OutputFolder,
    index: int,
    first_row: int,
    table: pa.Table,
    results: Sequence[RowResult | None],
    image_format: ImageFormat,
    save_student: bool,
    facts: Mapping[str, Any],
    *files: list[bytes],
) -> dict[str, Any]:
    """Write one part and, last, its record; returns the record.

    table: the input's own columns. results: None for a row that keeps its values in the existing
    part. facts: more fields of the record (durations, attempts), which may depend on time and
    place. files: lists of pictures' files, as the encoding calls returned them.
    Raises OutputFailedError for a folder that is full, gone or closed.
    """
    ours = our_columns(save_student)
    if None in results:
        rows, pictures = _with_kept(folder.part_file(index), results, save_student, len(files))
        files = (*files, pictures)
    else:
        rows = [result for result in results if result is not None]
    given = table.select([name for name in table.column_names if name not in ours])
    schema = pa.schema(
        [*given.schema, *(pa.field(name, kind) for name, kind in ours.items())],
        metadata=_metadata(table.schema.metadata, save_student),
    )

    def row_groups() -> Iterator[pa.Table]:
        for first in range(0, len(rows), ROW_GROUP_ROWS):
            some = rows[first : first + ROW_GROUP_ROWS]
            arrays = _our_arrays(some, first_row + first, image_format, save_student, files)
            here = given.slice(first, len(some))
            yield pa.table([*here.columns, *arrays.values()], schema=schema)

    with failing_in(folder.path), writing_whole(folder.part_file(index)) as file:
        content = write_parquet(file, schema, row_groups())
    sources = [result.source for result in rows]
    record: dict[str, Any] = {
        "part": index,
        "first_row": first_row,
        "rows": len(rows),
        "bytes": content.size,
        "sha256": content.digest.hexdigest(),
        "from_student": sources.count("student"),
        "from_teacher": sources.count("teacher"),
        "refined": sum(result.teacher_score is not None for result in rows),
        "failed": sum(result.error is not None for result in rows),
        "nfe": sum(result.nfe for result in rows),
        **redacted(facts),
    }
    with failing_in(folder.path):
        write_whole(folder.record_file(index), json.dumps(record, indent=2).encode() + b"\n")
    return record


def _with_kept(
    file: Path, results: Sequence[RowResult | None], save_student: bool, which: int
) -> tuple[list[RowResult], list[bytes]]:
    """The results with the existing part's rows in place of None, and the pictures of those rows.

    which: the number that the list of these pictures gets among the files.
    """
    pictures: list[bytes] = []

    def pick(image: dict[str, Any] | None) -> tuple[int, int] | None:
        if image is None:
            return None
        pictures.append(image["bytes"])
        return which, len(pictures) - 1

    with pq.ParquetFile(file) as parquet:
        there = parquet.read(columns=list(our_columns(save_student))).to_pylist()
    rows = [
        result
        or RowResult(
            seed=row["seed"],
            student_score=row["student_score"],
            teacher_score=row["teacher_score"],
            source=row["source"],
            nfe=row["nfe"],
            truncated=row["truncated"],
            error=row["error"],
            image=pick(row["image"]),
            student_image=pick(row.get("student_image")),
        )
        for result, row in zip(results, there, strict=True)
    ]
    return rows, pictures


def rows_to_keep(file: Path) -> frozenset[int]:
    """The places, within a part, of the rows that did not fail. Raises OutputError."""
    with open_part(file) as parquet:
        status = parquet.read(columns=["status"]).column(0).to_pylist()
    return frozenset(place for place, value in enumerate(status) if value == "ok")


def _our_arrays(
    results: Sequence[RowResult],
    first_row: int,
    image_format: ImageFormat,
    save_student: bool,
    files: Sequence[list[bytes]],
) -> dict[str, pa.Array]:
    def images(picks: Sequence[tuple[int, int] | None], mark: str) -> list[dict[str, Any] | None]:
        return [
            pick
            and {
                "bytes": files[pick[0]][pick[1]],
                "path": f"{first_row + row:012d}{mark}.{image_format}",
            }
            for row, pick in enumerate(picks)
        ]

    values: dict[str, list[Any]] = {
        "image": images([result.image for result in results], ""),
        "student_image": images([result.student_image for result in results], "-student"),
        "seed": [result.seed for result in results],
        "student_score": [result.student_score for result in results],
        "teacher_score": [result.teacher_score for result in results],
        "source": [result.source for result in results],
        "nfe": [result.nfe for result in results],
        "truncated": [result.truncated for result in results],
        "status": ["ok" if result.error is None else "failed" for result in results],
        "error": [result.error and redact(result.error) for result in results],
    }
    return {name: pa.array(values[name], kind) for name, kind in our_columns(save_student).items()}


def _metadata(inputs: Mapping[bytes, bytes] | None, save_student: bool) -> dict[bytes, bytes]:
    """The schema's: the input's own, and what makes `datasets` show pictures instead of structs.

    What pandas wrote about the rows of a file goes: a part has other rows.
    """
    try:
        features = dict(json.loads((inputs or {})[b"huggingface"])["info"]["features"])
    except (KeyError, TypeError, ValueError):
        features = {}  # there are none, or none that `datasets` could read
    names = [name for name, kind in our_columns(save_student).items() if kind == IMAGE]
    features |= {name: {"_type": "Image"} for name in names}
    own = {name: value for name, value in (inputs or {}).items() if name != b"pandas"}
    return {**own, b"huggingface": json.dumps({"info": {"features": features}}).encode()}


class Hashed:
    """A file that is written through, with its size and hash so far."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0
        self.digest = sha256()

    def write(self, content: Any) -> int:
        """Write bytes, or a buffer of Arrow's."""
        self._file.write(content)
        self.digest.update(content)
        self.size += len(content)
        return len(content)

    def flush(self) -> None:
        """To the system."""
        self._file.flush()

    def tell(self) -> int:
        """Bytes so far."""
        return self.size


def write_parquet(file: BinaryIO, schema: pa.Schema, row_groups: Iterable[pa.Table]) -> Hashed:
    """Write a Parquet file: identical row groups give identical bytes.

    Pictures are stored as they are (measured: zstd saves 0.03 %); text gets zstd and a dictionary.
    """
    text = [f.name for f in schema if pa.types.is_string(f.type)]
    paths = [
        path
        for f in schema
        for path in ([f"{f.name}.bytes", f"{f.name}.path"] if f.type == IMAGE else [f.name])
    ]
    hashed = Hashed(file)
    writer = pq.ParquetWriter(
        hashed,
        schema,
        compression={path: "NONE" if path.endswith(".bytes") else "ZSTD" for path in paths},
        use_dictionary=text,
        write_page_checksum=True,
    )
    try:
        for group in row_groups:
            writer.write_table(group)
        writer.close()
    except BaseException:
        writer.is_open = False  # or it writes to the closed file when it is collected
        raise
    return hashed

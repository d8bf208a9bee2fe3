"""Writes a part and, last, its record.

`write_part` writes a part beside its place, row group by row group, flushes it to the disk and
renames it; then its record. So a reader that follows the records never sees half a part, and a part
that is written twice has the same bytes. It copies no picture: its memory is that of the files that
it is given, and little more (`python -m benchmarks.commit`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from actors.redact import redact, redacted
from jobs.output.columns import RowResult, our_columns
from jobs.output.failing import failing_in
from jobs.output.folder import OutputFolder
from jobs.output.part_file import open_part
from jobs.output.records import GAIN, RUNGS
from jobs.output.row_groups import Row, in_row_groups, kept_rows
from jobs.output.score_columns import FLAGGED, ScoreColumns, num_flagged, values_of
from jobs.parquet_writing import IMAGE, write_parquet
from jobs.spec.picture_formats import ImageFormat


def write_part(
    folder: OutputFolder,
    index: int,
    first_row: int,
    table: pa.Table,
    results: Sequence[RowResult | None],
    image_format: ImageFormat,
    save_student: bool,
    facts: Mapping[str, Any],
    *files: pa.BinaryArray,
    scores: ScoreColumns = (),
) -> dict[str, Any]:
    """Write one part and, last, its record; returns the record.

    table: the input's own columns. results: None for a row that keeps its values in the existing
    part. facts: more fields of the record (durations, attempts), which may depend on time and
    place. files: pictures' files, as the encoding calls returned them. scores: the columns of the
    job's extra scores.
    Raises OutputFailedError for a folder that is full, gone or closed.
    """
    ladder = any(result and result.rung_scores is not None for result in results)
    ours = our_columns(save_student, ladder, scores=scores)
    given = table.select([name for name in table.column_names if name not in ours])
    schema = pa.schema(
        [*given.schema, *(pa.field(name, kind) for name, kind in ours.items())],
        metadata=_metadata(table.schema.metadata, save_student),
    )
    written, rungs, gain = Counter[str](), Counter[int](), 0.0
    flagged = Counter({one.name: 0 for one in scores if one.flags})

    def row_groups() -> Iterator[pa.Table]:
        rows = [_as_row(result, files) if result else None for result in results]
        if None in results:
            kept = kept_rows(folder, index, list(ours), [one.name for one in scores])
            every: Iterable[Row] = (row or there for row, there in zip(rows, kept, strict=True))
        else:
            every = (row for row in rows if row)
        nonlocal gain
        for group in in_row_groups(every, given):
            written.update(_count(group.rows))
            gain += sum(_gain(row.result) for row in group.rows)
            for row in group.rows:
                taken = row.result.rung_scores or ()
                rungs.update(number for number, score in enumerate(taken) if score is not None)
            extra = [values_of(scores, row.result.extra_scores) for row in group.rows]
            for values in extra:
                flagged.update(num_flagged(scores, values))
            first = first_row + group.first
            arrays = _our_arrays(group.rows, first, image_format, ours, extra)
            yield pa.table([*group.given.columns, *arrays.values()], schema=schema)

    with failing_in(folder.storage), folder.storage.writing(folder.part_name(index)) as file:
        content = write_parquet(file, schema, row_groups())
    record: dict[str, Any] = {
        "part": index,
        "first_row": first_row,
        "rows": len(results),
        "bytes": content.size,
        "sha256": content.digest.hexdigest(),
        **{name: written[name] for name in COUNTS},
        GAIN: round(gain, 6),
        **({RUNGS: [rungs[number] for number in range(_num_rungs(results))]} if ladder else {}),
        **({FLAGGED: dict(flagged)} if flagged else {}),
        **redacted(facts),
    }
    folder.put(folder.record_name(index), json.dumps(record, indent=2).encode() + b"\n")
    return record


COUNTS = ("from_student", "from_teacher", "refined", "failed", "nfe")
"""Of a part's rows, in its record."""


def _count(rows: Sequence[Row]) -> dict[str, int]:
    results = [row.result for row in rows]
    sources = [result.source for result in results]
    return {
        "from_student": sources.count("student"),
        "from_teacher": sources.count("teacher"),
        "refined": sum(result.teacher_score is not None for result in results),
        "failed": sum(result.error is not None for result in results),
        "nfe": sum(result.nfe for result in results),
    }


def _gain(result: RowResult) -> float:
    if result.teacher_score is None or result.student_score is None:
        return 0.0
    return result.teacher_score - result.student_score


def _num_rungs(results: Sequence[RowResult | None]) -> int:
    return max(len(result.rung_scores or ()) for result in results if result)


def _as_row(result: RowResult, files: Sequence[pa.BinaryArray]) -> Row:
    """The row with its pictures' files, which are not copied."""

    def file_of(pick: tuple[int, int] | None) -> pa.BinaryArray | None:
        return pick and files[pick[0]].slice(pick[1], 1)

    return Row(result, file_of(result.image), file_of(result.student_image))


def rows_to_keep(folder: OutputFolder, index: int) -> frozenset[int]:
    """The places, within a part, of the rows that did not fail. Raises OutputError."""
    with open_part(folder, index) as parquet:
        status = parquet.read(columns=["status"]).column(0).to_pylist()
    return frozenset(place for place, value in enumerate(status) if value == "ok")


def _our_arrays(
    rows: Sequence[Row],
    first_row: int,
    image_format: ImageFormat,
    columns: Mapping[str, pa.DataType],
    extra: Sequence[Mapping[str, Any]],
) -> dict[str, pa.Array | pa.ChunkedArray]:
    """Our columns. extra: by row, the values in the columns of its extra scores."""

    def images(files: Sequence[pa.BinaryArray | None], mark: str) -> pa.ChunkedArray:
        """A chunk for each row, because a chunk of several would be a copy of their files."""
        names = (f"{first_row + row:012d}{mark}.{image_format}" for row in range(len(files)))
        return pa.chunked_array(
            [
                pa.nulls(1, IMAGE)
                if file is None
                else pa.StructArray.from_arrays([file, pa.array([name])], fields=list(IMAGE))
                for file, name in zip(files, names, strict=True)
            ],
            IMAGE,
        )

    results = [row.result for row in rows]
    values: dict[str, list[Any]] = {
        "seed": [result.seed for result in results],
        "student_score": [result.student_score for result in results],
        "teacher_score": [result.teacher_score for result in results],
        "attempts": [result.attempts for result in results],
        "rung_scores": [result.rung_scores for result in results],
        "source": [result.source for result in results],
        "nfe": [result.nfe for result in results],
        "truncated": [result.truncated for result in results],
        "status": ["ok" if result.error is None else "failed" for result in results],
        "error": [result.error and redact(result.error) for result in results],
        **{name: [values[name] for values in extra] for name in extra[0]},
    }
    pictures = {
        "image": images([row.image for row in rows], ""),
        "student_image": images([row.student_image for row in rows], "-student"),
    }
    return {
        name: pictures[name] if name in pictures else pa.array(values[name], kind)
        for name, kind in columns.items()
    }


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

"""The output folder: which parts are there, and how one is written.

    out/
      job.json                     the resolved job, its threshold, versions
      data/part-00000000.parquet   rows in input order; nothing in it depends on time or place
      records/part-00000000.json   written last: this makes the part count
      README.md, _SUCCESS          a dataset card, and the sign that every part is there

A part is built whole, written beside its place, flushed to the disk and renamed; then its record.
So a reader that follows the records never sees half a part, and a part that is written twice is
written with the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import OutputError
from actors.redact import redact, redacted
from jobs.spec import ImageFormat

ROW_GROUP_ROWS = 100
"""As the viewer of the Hugging Face hub wants them."""

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def our_columns(save_student: bool) -> dict[str, pa.DataType]:
    """The columns that a job adds to the input's own, in order."""
    return {
        "image": IMAGE,
        **({"student_image": IMAGE} if save_student else {}),
        "seed": pa.int64(),
        "student_score": pa.float32(),
        "teacher_score": pa.float32(),
        "source": pa.string(),
        "nfe": pa.int32(),
        "status": pa.string(),
        "error": pa.string(),
    }


def check_names(columns: Sequence[str], seed_column: str | None, save_student: bool) -> None:
    """Refuse an input whose columns are called like ours; but `seed` may be the column of seeds."""
    ours = set(our_columns(save_student))
    replaced = {"seed"} if seed_column == "seed" else set()
    clash = sorted(ours & (set(columns) - replaced))
    if clash:
        raise OutputError(
            f"the input has a column {clash[0]!r}, and so will the output. Rename it in the input; "
            f"the output adds: {', '.join(our_columns(save_student))}."
        )


@dataclass(frozen=True, slots=True)
class RowResult:
    """What a row becomes, beside its pictures.

    `image`, `student_image`: (which of the files given to `write_part`, which in it), or None.
    """

    seed: int
    student_score: float | None
    teacher_score: float | None
    source: str | None
    nfe: int
    error: str | None
    image: tuple[int, int] | None
    student_image: tuple[int, int] | None


class OutputFolder:
    """An output folder, by its path. Creating the object touches nothing."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    def part_file(self, index: int) -> Path:
        """Where a part's rows are."""
        return self.path / "data" / f"part-{index:08d}.parquet"

    def record_file(self, index: int) -> Path:
        """Where a part's record is."""
        return self.path / "records" / f"part-{index:08d}.json"

    @property
    def job_file(self) -> Path:
        """Where the resolved job is."""
        return self.path / "job.json"

    def claim(self) -> None:
        """Refuse a folder that holds something and is not ours; touches nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"output {str(self.path)!r} is a file. Choose a folder.")
        if self.path.is_dir() and any(self.path.iterdir()) and not self.job_file.is_file():
            raise OutputError(
                f"output {str(self.path)!r} is not empty and has no job.json, so it is not ours to "
                "write to. Choose a new folder."
            )

    def read_job(self) -> dict[str, Any] | None:
        """job.json, or None before the first run."""
        if not self.job_file.is_file():
            return None
        try:
            job = json.loads(self.job_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise OutputError(
                f"{self.job_file} is not JSON ({error}); restore or remove it."
            ) from error
        if not isinstance(job, dict):
            raise OutputError(f"{self.job_file} is not a job; restore or remove it.")
        return job

    def write_job(self, job: Mapping[str, Any]) -> None:
        """Make the folder with its job.json, or replace that, in one step."""
        self.path.mkdir(parents=True, exist_ok=True)
        content = json.dumps(redacted(job), indent=2, sort_keys=True)
        write_whole(self.job_file, content.encode() + b"\n")

    def finish(self, card: str) -> None:
        """Every part is there: the dataset card, and last `_SUCCESS`, as other programs expect."""
        write_whole(self.path / "README.md", redact(card).encode())
        write_whole(self.path / "_SUCCESS", b"")

    def records(self) -> dict[int, dict[str, Any]]:
        """The records of the finished parts, by part number."""
        found: dict[int, dict[str, Any]] = {}
        for file in sorted((self.path / "records").glob("part-*.json")):
            record = json.loads(file.read_text(encoding="utf-8"))
            part = self.part_file(record["part"])
            if part.is_file() and part.stat().st_size == record["bytes"]:
                found[record["part"]] = record
        return found


def write_part(
    folder: OutputFolder,
    index: int,
    first_row: int,
    table: pa.Table,
    results: Sequence[RowResult],
    image_format: ImageFormat,
    save_student: bool,
    facts: Mapping[str, Any],
    *files: list[bytes],
) -> dict[str, Any]:
    """Write one part and, last, its record; returns the record.

    table: the input's own columns. files: what the encoding calls returned. facts: what the record
    says beside what is counted here (durations, attempts): it may depend on time and place.
    """
    ours = our_columns(save_student)
    columns = {
        name: table.column(name) for name in table.column_names if name not in ours
    } | _our_arrays(results, first_row, image_format, save_student, files)
    whole = pa.table(columns).replace_schema_metadata(
        _huggingface(table.schema.metadata, save_student)
    )
    content = _parquet_bytes(whole)
    write_whole(folder.part_file(index), content)
    sources = [result.source for result in results]
    record: dict[str, Any] = redacted(
        {
            "part": index,
            "first_row": first_row,
            "rows": len(results),
            "bytes": len(content),
            "sha256": sha256(content).hexdigest(),
            "from_student": sources.count("student"),
            "from_teacher": sources.count("teacher"),
            "refined": sum(result.teacher_score is not None for result in results),
            "failed": sum(result.error is not None for result in results),
            "nfe": sum(result.nfe for result in results),
            **facts,
        }
    )
    write_whole(folder.record_file(index), json.dumps(record, indent=2).encode() + b"\n")
    return record


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
        "status": ["ok" if result.error is None else "failed" for result in results],
        "error": [result.error and redact(result.error) for result in results],
    }
    return {name: pa.array(values[name], kind) for name, kind in our_columns(save_student).items()}


def _huggingface(inputs: Mapping[bytes, bytes] | None, save_student: bool) -> dict[str, str]:
    """The schema metadata that makes `datasets` show pictures instead of structs.

    inputs: the input's own metadata; what it says of its columns is kept.
    """
    known = json.loads((inputs or {}).get(b"huggingface", b"{}"))
    features = known.get("info", {}).get("features", {})
    names = [name for name, kind in our_columns(save_student).items() if kind == IMAGE]
    features |= {name: {"_type": "Image"} for name in names}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def _parquet_bytes(table: pa.Table) -> bytes:
    """The table as a Parquet file: two identical tables give identical bytes.

    Pictures are compressed already (zstd would save 0.03 %); text gets zstd and a dictionary.
    """
    text = [f.name for f in table.schema if pa.types.is_string(f.type)]
    paths = [
        path
        for f in table.schema
        for path in ([f"{f.name}.bytes", f"{f.name}.path"] if f.type == IMAGE else [f.name])
    ]
    buffer = BytesIO()
    pq.write_table(
        table,
        buffer,
        row_group_size=ROW_GROUP_ROWS,
        compression={path: "NONE" if path.endswith(".bytes") else "ZSTD" for path in paths},
        use_dictionary=text,
        write_page_checksum=True,
    )
    return buffer.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a crash."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

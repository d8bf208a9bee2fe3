"""The output folder: which parts are there, and how one is written.

    out/
      job.json                     the resolved job, its threshold, versions
      data/part-00000000.parquet   rows in input order; nothing in it depends on time or place
      records/part-00000000.json   written last: this makes the part count
      timeline.jsonl               how many actors each pool had, since when, and why
      README.md, report.html       a dataset card, and a page for people
      _SUCCESS                     the sign that every part is there

A part is built whole, written beside its place, flushed to the disk and renamed; then its record.
So a reader that follows the records never sees half a part, and a part that is written twice is
written with the same bytes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import OutputError
from actors.redact import redact, redacted
from jobs.output.atomic import failing_in, is_stray, temporary_files, write_first, write_whole
from jobs.output.records import read_record
from jobs.spec.job_spec import ImageFormat

log = logging.getLogger("bottega.parts")

ROW_GROUP_ROWS = 100
"""As the viewer of the Hugging Face hub wants them."""

DRIVERS = ".drivers"
"""The folder of the heartbeats of running drivers (jobs/output/heartbeat.py)."""

JOB_FIELDS = (
    *("name", "identity", "spec", "rows", "threshold", "calibration", "models", "versions"),
)
"""What job.json must have to be continued from."""

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
        "truncated": pa.bool_(),
        "status": pa.string(),
        "error": pa.string(),
    }


def check_names(columns: Sequence[str], seed_column: str | None) -> None:
    """Refuse an input whose columns are called like ours; but `seed` may be the column of seeds.

    `student_image` is ours in every job: what reads a dataset knows our columns by their names.
    """
    ours = set(our_columns(save_student=True))
    replaced = {"seed"} if seed_column == "seed" else set()
    clash = sorted(ours & (set(columns) - replaced))
    if clash:
        raise OutputError(
            f"the input has a column {clash[0]!r}, and so will the output. Rename it in the input; "
            f"the output's own are: {', '.join(our_columns(save_student=True))}."
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
    truncated: bool
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
        with failing_in(self.path):
            if self.path.exists() and not self.path.is_dir():
                raise OutputError(f"output {str(self.path)!r} is a file. Choose a folder.")
            holds = {file.name for file in self.path.iterdir()} if self.path.is_dir() else set()
            # A driver that was killed before its job.json was whole leaves only these.
            ours = {DRIVERS, *(file.name for file in temporary_files(self.path))}
        if holds - ours and self.job_file.name not in holds:
            raise OutputError(
                f"output {str(self.path)!r} is not empty and has no job.json, so it is not ours to "
                "write to. Choose a new folder."
            )

    def read_job(self) -> dict[str, Any] | None:
        """job.json, or None before the first run."""
        with failing_in(self.path):
            content = self.job_file.read_bytes() if self.job_file.is_file() else None
        if content is None:
            return None
        try:
            job = json.loads(content)
        except ValueError as error:
            raise OutputError(
                f"{self.job_file} is not JSON ({error}); restore or remove it."
            ) from error
        missing = [name for name in JOB_FIELDS if not isinstance(job, dict) or name not in job]
        if missing:
            raise OutputError(
                f"{self.job_file} is not a job of this version: it has no {missing[0]!r}. Restore "
                "it, or choose a new output folder."
            )
        return dict(job)

    def require_job(self) -> dict[str, Any]:
        """job.json. Raises OutputError for a folder without one."""
        job = self.read_job()
        if job is None:
            raise OutputError(
                f"{str(self.path)!r} has no job.json, so it is no output of ours. Give the output "
                "folder of a job that has run."
            )
        return job

    def write_job(self, job: Mapping[str, Any], replace: bool) -> None:
        """Put job.json in place, in one step.

        Without `replace` the first of several drivers wins: they must not disagree on a threshold.
        """
        content = json.dumps(redacted(job), indent=2, sort_keys=True).encode() + b"\n"
        with failing_in(self.path):
            (write_whole if replace else write_first)(self.job_file, content)

    @property
    def timeline_file(self) -> Path:
        """Where every change of the pools' sizes is told, in JSON Lines."""
        return self.path / "timeline.jsonl"

    def add_to_timeline(self, entry: Mapping[str, Any]) -> None:
        """Tell of one more event, with the time of day; a resumed run goes on where it is."""
        stamped = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **entry}
        with failing_in(self.path), self.timeline_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(redacted(stamped)) + "\n")

    def check_there(self) -> None:
        """Raise OutputFailedError when the folder is there no more, or another in its place."""
        with failing_in(self.path):
            self.job_file.stat()

    def unfinish(self) -> None:
        """Parts are missing: take `_SUCCESS` away."""
        with failing_in(self.path):
            (self.path / "_SUCCESS").unlink(missing_ok=True)

    def finish(self, pages: Mapping[str, str]) -> None:
        """Every part is there: write the pages, and last `_SUCCESS`, as other programs expect.

        Secrets are taken out of Markdown only: a page in HTML shows prompts, and is made of a
        job.json that has none.
        """
        with failing_in(self.path):
            for name, page in pages.items():
                clean = redact(page) if name.endswith(".md") else page
                write_whole(self.path / name, clean.encode(errors="replace"))
            write_whole(self.path / "_SUCCESS", b"")

    def sweep(self, now: float) -> None:
        """Remove the temporary files of dead writers. `now`: seconds, by the disk's clock."""
        with failing_in(self.path):
            for file in temporary_files(self.path):
                if is_stray(file, now):
                    log.info("removing %s: the process that wrote it is gone", file)
                    file.unlink(missing_ok=True)

    def record_files(self) -> list[Path]:
        """The records that are there, good or not, by part number."""
        with failing_in(self.path):
            return sorted((self.path / "records").glob("part-*.json"))

    def records(self) -> dict[int, dict[str, Any]]:
        """The records of the finished parts, by part number.

        A record that is broken, or whose part is not there whole, is logged and does not count:
        the next run redoes the part.
        """
        found: dict[int, dict[str, Any]] = {}
        for file in self.record_files():
            try:
                record = read_record(file)
                with failing_in(self.path):
                    self._check_size(record)
            except ValueError as error:
                log.warning("%s does not count: %s", file, error)
            else:
                found[record["part"]] = record
        return found

    def _check_size(self, record: Mapping[str, Any]) -> None:
        part = self.part_file(record["part"])
        if not part.is_file():
            raise ValueError(f"{part.name} is not there")
        size = part.stat().st_size
        if size != record["bytes"]:
            raise ValueError(
                f"{part.name} has {size} bytes, and was written with {record['bytes']}"
            )


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

    table: the input's own columns. results: None for a row that stays as it is in the part that is
    there. files: what the encoding calls returned. facts: what the record
    says beside what is counted here (durations, attempts): it may depend on time and place.
    Raises OutputFailedError for a folder that is full, gone or closed.
    """
    ours = our_columns(save_student)
    if None in results:
        rows, pictures = _with_kept(folder.part_file(index), results, save_student, len(files))
        files = (*files, pictures)
    else:
        rows = [result for result in results if result is not None]
    columns = {
        name: table.column(name) for name in table.column_names if name not in ours
    } | _our_arrays(rows, first_row, image_format, save_student, files)
    whole = pa.table(columns).replace_schema_metadata(
        _huggingface(table.schema.metadata, save_student)
    )
    content = _parquet_bytes(whole)
    sources = [result.source for result in rows]
    record: dict[str, Any] = {
        "part": index,
        "first_row": first_row,
        "rows": len(rows),
        "bytes": len(content),
        "sha256": sha256(content).hexdigest(),
        "from_student": sources.count("student"),
        "from_teacher": sources.count("teacher"),
        "refined": sum(result.teacher_score is not None for result in rows),
        "failed": sum(result.error is not None for result in rows),
        "nfe": sum(result.nfe for result in rows),
        **redacted(facts),
    }
    with failing_in(folder.path):
        write_whole(folder.part_file(index), content)
        write_whole(folder.record_file(index), json.dumps(record, indent=2).encode() + b"\n")
    return record


def _with_kept(
    file: Path, results: Sequence[RowResult | None], save_student: bool, which: int
) -> tuple[list[RowResult], list[bytes]]:
    """The results with the rows of the part that is there in place of None; their pictures.

    which: the number that the list of these pictures will have among the files.
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
    """The rows of a part that did not fail, by their number within it. Raises OutputError."""
    try:
        with pq.ParquetFile(file) as parquet:
            status = parquet.read(columns=["status"]).column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise OutputError(
            f"{file} cannot be read ({str(error).splitlines()[0]}). `bottega verify` says what to "
            "do about it."
        ) from error
    return frozenset(number for number, said in enumerate(status) if said == "ok")


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


def _huggingface(inputs: Mapping[bytes, bytes] | None, save_student: bool) -> dict[str, str]:
    """The schema metadata that makes `datasets` show pictures instead of structs.

    inputs: the input's own metadata; what it says of its columns is kept.
    """
    try:
        features = dict(json.loads((inputs or {})[b"huggingface"])["info"]["features"])
    except (KeyError, TypeError, ValueError):
        features = {}  # there is none, or none that `datasets` could read
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

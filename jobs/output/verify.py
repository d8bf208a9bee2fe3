"""Compares a dataset with its records and its job, byte by byte, and changes nothing.

It reads, hashes and opens every part, and decodes every picture. Each fault is a `Problem`: one
line, with the next step.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from itertools import count
from time import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import MissingError, StorageError
from actors.picture_files import PILLOW_ERRORS, open_picture
from actors.refinement import Size
from actors.seeds import nameless_row_seed, row_seed
from jobs.output.columns import ROW_GROUP_ROWS, our_columns
from jobs.output.failing import failing_in
from jobs.output.folder import OutputFolder
from jobs.output.job_file import contradictions
from jobs.output.ladder_rules import LadderRules
from jobs.output.records import RUNGS, UNREFINABLE, parse_record
from jobs.output.row_rules import RowRules
from jobs.output.score_columns import (
    FLAGGED,
    ScoreColumns,
    broken_scores,
    num_flagged,
    score_columns,
)
from jobs.parquet_writing import IMAGE
from jobs.spec.job_spec import JobSpec
from jobs.spec.sizes import shown, size_of

REDO = "Remove its record and run the job again: the part is redone"
RUN = "Run the job again: the part is done anew"


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a dataset: its place, what it is, and the next step."""

    where: str
    what: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.next_step}."


def verify(folder: OutputFolder) -> Iterator[Problem]:
    """The faults of a dataset, part by part; none for a good one.

    A job that has not ended has faults: its missing parts. Raises OutputError for a folder without
    a job.json that can be read.
    """
    job = folder.require_job()
    rows, size = job["rows"], job["identity"]["spec"]["rows_per_part"]
    num_parts = -(-rows // size)
    for what in contradictions(job):
        yield Problem("job.json", what, "Restore it from a copy, or put that value back")
    good: dict[int, dict[str, Any]] = {}
    broken: set[int] = set()
    for name, record in _records(folder):
        if isinstance(record, ValueError):
            broken.add(_number(name))
            yield Problem(name, f"{record}", RUN)
        else:
            good[record["part"]] = record
    with failing_in(folder.storage):
        files = [entry.path for entry in folder.storage.entries("data")]
    there = {number for name in files if folder.part_name(number := _number(name)) == name}
    rules = LadderRules.of(job) if job["spec"].get("ladder") else RowRules.of(job)
    spec = JobSpec.model_validate(job["spec"])
    # Not part by part: a job.json may be wrong about how many there are.
    for index in sorted(good.keys() | {n for n in there if n < num_parts}):
        if index not in good:
            if index not in broken:
                yield Problem(f"part {index}", "it has no record, so it does not count", RUN)
        elif index >= num_parts:
            beyond = f"the job's {rows:,} rows end before it"
            yield Problem(f"part {index}", beyond, "Remove it and its record")
        else:
            first = index * size
            here = min(size, rows - first)
            check = _Check(folder, job, good[index], first, here, rules, spec)
            yield from check.problems()
    known = {n for n in good.keys() | broken | there if 0 <= n < num_parts}
    if len(known) < num_parts:
        unmade = next(n for n in count() if n not in known)
        missing = f"{num_parts - len(known):,} of {num_parts:,} parts are not there"
        yield Problem(f"part {unmade}", f"{missing}, this one first", "Run the job again")
    elif not folder.is_finished:
        yield Problem("_SUCCESS", "it is not there: the job has not ended", "Run the job again")
    known_files = {folder.part_name(index) for index in there if index < num_parts or index in good}
    yield from _strangers(folder, [name for name in files if name not in known_files])


def _records(folder: OutputFolder) -> Iterator[tuple[str, dict[str, Any] | ValueError]]:
    """Each record by itself, not as the index has it, with its name; or what is wrong with it."""
    names = [name for entry in folder.record_entries() if _number(name := entry.path) >= 0]
    with failing_in(folder.storage):
        contents = list(folder.storage.get_many(names))
    for name, content in zip(names, contents, strict=True):
        if isinstance(content, MissingError):
            continue  # it went while others were read
        try:
            record = parse_record(content, name.rpartition("/")[2])
        except ValueError as error:
            yield name, error
        else:
            wanted = folder.record_name(record["part"])
            yield name, record if name == wanted else ValueError(f"its place is {wanted}")


def _number(name: str) -> int:
    """The number in the name of a part or of a record; -1 without one."""
    found = re.fullmatch(r"(?:.*/)?part-(\d+)\.(?:parquet|json)", name)
    return int(found[1]) if found else -1


def _strangers(folder: OutputFolder, names: Iterable[str]) -> Iterator[Problem]:
    for name in names:
        yield Problem(name, "it is no part of this job", "Remove it")
    for name in folder.storage.strays(time()):
        dead = "a temporary file of a process that is gone"
        yield Problem(name, dead, "Remove it, or run the job again")


@dataclass(frozen=True, slots=True)
class _Check:
    """Compares a part with its record and with the job. first, rows: its rows by the job."""

    folder: OutputFolder
    job: dict[str, Any]
    record: dict[str, Any]
    first: int
    rows: int
    rules: RowRules | LadderRules
    spec: JobSpec

    @property
    def scores(self) -> ScoreColumns:
        """The columns of the job's extra scores."""
        return score_columns(self.spec.models.oracle)

    def problems(self) -> Iterator[Problem]:
        storage, file = self.folder.storage, self.folder.part_name(self.record["part"])
        for name, wanted in (("first_row", self.first), ("rows", self.rows)):
            if self.record[name] != wanted:
                differs = f"its record says {name} {self.record[name]}, and the job {wanted}"
                yield self._problem(differs, REDO)
        try:
            content = storage.get(file)
        except MissingError:
            yield self._problem("it has a record, and no file", RUN)
            return
        except StorageError as error:
            yield self._problem(f"it cannot be read: {error.where} {error.what}", "Try it again")
            return
        if len(content) != self.record["bytes"]:
            sizes = f"it has {len(content)} bytes, and was written with {self.record['bytes']}"
            yield self._problem(sizes, RUN)
        elif sha256(content).hexdigest() != self.record["sha256"]:
            yield self._problem("its bytes are not those that were written (sha256)", REDO)
        else:
            for what in self._content(content):
                yield self._problem(what, REDO)

    def _problem(self, what: str, next_step: str) -> Problem:
        return Problem(f"part {self.record['part']}", what, next_step)

    def _content(self, content: bytes) -> Iterator[str]:
        """The faults inside a part whose bytes are those that were written."""
        try:
            with pq.ParquetFile(BytesIO(content)) as parquet:
                yield from self._parquet(parquet)
        except (pa.ArrowException, OSError) as error:
            yield f"it is not a Parquet file of ours ({str(error).splitlines()[0]})"

    def _parquet(self, parquet: pq.ParquetFile) -> Iterator[str]:
        spec = self.job["identity"]["spec"]
        ladder = isinstance(self.rules, LadderRules)
        id_column, save_student = spec["id_column"], spec["save_student"]
        ours = our_columns(save_student, ladder, scores=self.scores)
        given = dict.fromkeys(name for name in (id_column, self.spec.size_column) if name)
        wanted = [*ours, *(name for name in given if name not in ours)]
        schema = parquet.schema_arrow
        missing = [name for name in wanted if name not in schema.names]
        if missing:
            yield f"it has no column {missing[0]!r}"
            return
        for name, kind in ours.items():
            if schema.field(name).type != kind:
                yield f"its column {name!r} is {schema.field(name).type}, and not {kind}"
                return
        counted, rungs, flagged = Counter[str](), Counter[int](), Counter[str]()
        for row in _rows(parquet, wanted):
            number = self.first + counted["rows"]
            shown = f"{number} (id {row[id_column]!r})" if id_column else f"{number}"
            yield from (f"row {shown}: {what}" for what in self._row(row, number))
            counted += _counts(row) + Counter({UNREFINABLE: int(self.rules.unrefinable(row))})
            flagged.update(num_flagged(self.scores, row))
            scores = enumerate(row.get("rung_scores") or ())
            rungs.update(rung for rung, score in scores if score is not None)
        names = ("rows", "failed", "from_student", "from_teacher", "refined", "nfe")
        for name in (*names, *({UNREFINABLE} & self.record.keys())):
            if counted[name] != self.record[name]:
                says = self.record[name]
                yield f"it has {counted[name]} for {name}, and its record says {says}"
        said = self.record.get(RUNGS, [])
        if ladder and [rungs[number] for number in range(len(said))] != said:
            yield f"it has {dict(sorted(rungs.items()))} for {RUNGS}, and its record says {said}"
        if flagged and flagged != self.record.get(FLAGGED):
            says = self.record.get(FLAGGED)
            yield f"it has {dict(flagged)} for {FLAGGED}, and its record says {says}"

    def _row(self, row: dict[str, Any], number: int) -> Iterator[str]:
        """The faults of one row. number: its place in the dataset."""
        spec = self.job["identity"]["spec"]
        name = row[spec["id_column"]] if spec["id_column"] else number
        if row["seed"] is None:
            yield "it has no seed"
        elif spec["seed_column"] is None and row["seed"] not in self._seeds(name, number):
            yield f"its seed is not that of {name!r}: wrong order"
        well = row["status"] == "ok" and row["error"] is None and row["image"] is not None
        ill = row["status"] == "failed" and bool(row["error"]) and row["image"] is None
        if not well and not ill:
            picture = "no picture" if row["image"] is None else "a picture"
            yield f"status {row['status']!r} with error {row['error']!r} and {picture}"
        else:
            may_stay = bool(self.record.get(UNREFINABLE))
            yield from self.rules.broken_by(row, number, may_stay)
            yield from broken_scores(self.scores, row)
        for name, kind in our_columns("student_image" in row).items():
            if kind == IMAGE and row[name] is not None:
                found = _picture(row[name], number, self._size(row))
                yield from (f"{name}: {what}" for what in found)

    def _size(self, row: dict[str, Any]) -> Size | None:
        """The size of a row's picture, where the job says it."""
        if not self.spec.all_sizes:
            return None
        column = self.spec.size_column
        try:
            return size_of(row[column] if column else None, self.spec.all_sizes)
        except ValueError:
            return None  # such a row has failed, and has no picture

    def _seeds(self, name: object, number: int) -> set[int]:
        """The seed of a row by its id; by its number too, where an older version gave it that."""
        seed = self.job["identity"]["spec"]["seed"]
        if name not in (None, ""):
            return {row_seed(seed, str(name))}
        older = {row_seed(seed, str(number))} if self.job.get("format", 1) < 3 else set()
        return {nameless_row_seed(seed, number)} | older


def _counts(row: dict[str, Any]) -> Counter[str]:
    """A row's share in its part's record."""
    return Counter(
        rows=1,
        failed=row["status"] == "failed",
        from_student=row["source"] == "student",
        from_teacher=row["source"] == "teacher",
        refined=row["teacher_score"] is not None,
        nfe=row["nfe"] or 0,
    )


def _rows(parquet: pq.ParquetFile, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in parquet.iter_batches(ROW_GROUP_ROWS, columns=columns):
        table = pa.table(batch)
        names = table.column_names
        for values in zip(*(table.column(name).to_pylist() for name in names), strict=True):
            yield dict(zip(names, values, strict=True))


def _picture(image: dict[str, Any], number: int, size: Size | None) -> Iterator[str]:
    if not str(image["path"]).startswith(f"{number:012d}"):
        yield f"it is of another row ({image['path']})"
    try:
        with open_picture(image["bytes"] or b"") as picture:
            picture.load()
            if size is not None and size != picture.size:
                yield f"it is {shown(picture.size)}, and the job says {shown(size)}"
    except PILLOW_ERRORS as error:
        yield f"it does not decode ({type(error).__name__})"

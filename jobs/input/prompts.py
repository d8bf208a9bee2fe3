"""Prompts in, parts out: cuts the input into parts of consecutive rows, lazily.

It refuses a broken file before a GPU is touched. A broken row only fails itself, with the reason,
and its neighbours go on.
"""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import accumulate, count
from typing import Any

import pyarrow as pa

from actors.errors import InputError
from actors.refinement import RowOptions
from actors.seeds import MAX_SEED, nameless_row_seed, row_seed
from jobs.input.base import MAX_ROW_BYTES, InputFile, rows_among
from jobs.input.casting import cast_column
from jobs.input.discovery import find_files, open_file
from jobs.input.prompt_syntax import other_syntax
from jobs.input.row_images import RowImages, folder_of, is_picture
from jobs.input.row_options import options_of
from jobs.input.schema import common_type, unified
from jobs.input.text import JsonLinesFile, schema_of_lines
from jobs.input.trial import check_types
from jobs.input.validate import (
    as_seed,
    check_ids,
    is_text,
    problem_with_prompt,
    with_valid_text,
)
from jobs.spec.job_spec import JobSpec
from jobs.spec.sample import sample_rows

log = logging.getLogger("bottega.job")

MAX_PART_BYTES = MAX_ROW_BYTES
"""Of the input's own columns in a part. Half of 2 GiB, where Arrow's text columns overflow."""


SAMPLED_PARTS = 32
"""Parts whose sizes and guidance scales stand for those of all. Chosen: a share of a tenth of
shuffled rows is found within 2 points, 95 times in 100, also of parts of 32 rows."""

SAMPLED_PART_ROWS = 2**16
"""But no further part is looked at beyond so many rows, which takes a quarter of a second."""

MAX_SAMPLE_BYTES = 2**30
"""Of the calibration's sample, with its pictures: 8,192 of them with 1 MB each would be 8 GB in the
driver. Chosen: as much as of a part."""

PROBED_ROWS = 64
"""Of a sample whose pictures are weighed first; it always has so many."""

SYNTAX_ROWS = 100_000
"""Rows that are searched for the syntax of other tools before a job starts: in about a second."""

SEEK_ROWS = 2**16
"""Rows between two parts that are read through rather than skipped: about 20 ms of short prompts,
as opening a file of a thousand row groups anew takes."""


@dataclass(frozen=True)
class Part:
    """Consecutive rows of the input: the unit of work, of resume and of commit.

    table: the input's own columns. invalid_rows: rows that fail without being drawn, by their place
    in the part, with the reason. images: the rows' own pictures, where the task has them.
    targets: the texts that the oracle scores against, where they are not the prompts.
    negatives: the rows' negative prompts, where the job has them. options: by role, what each row
    has of its own, where the job has columns of that.
    """

    index: int
    first_row: int
    table: pa.Table
    prompts: Sequence[str]
    seeds: Sequence[int]
    invalid_rows: dict[int, str]
    images: RowImages | None = None
    targets: Sequence[str] | None = None
    negatives: Sequence[str] | None = None
    options: Mapping[str, Sequence[RowOptions]] = field(default_factory=dict)


class Prompts:
    """The input of a job: its files, how many rows they have, and the parts they are cut into."""

    def __init__(self, spec: JobSpec) -> None:
        """Finds the files and compares their columns. Raises InputError."""
        self.spec = spec
        self._readers = [open_file(file, spec.prompt_column) for file in find_files(spec.input)]
        self.schema = _schema_of(self._readers)
        self._check_columns()
        self._check_part_sizes()

    def _check_columns(self) -> None:
        spec, name = self.spec, self._readers[0].file
        roles = (
            *("prompt", "negative_prompt", "image", "target", "id", "seed"),
            *("size", "guidance_scale"),
        )
        for role in (f"{name}_column" for name in roles):
            column = getattr(spec, role)
            if column is not None and column not in self.schema.names:
                raise InputError(
                    f"{role} {column!r} is not in {name}. "
                    f"The columns there: {', '.join(self.schema.names)}. Name one of them."
                )
        self._check_kind("prompt_column", "text", is_text)
        self._check_kind("target_column", "text", is_text)
        self._check_kind("negative_prompt_column", "text", is_text)
        self._check_kind("size_column", "sizes (1024x768) or aspect ratios", _is_number_or_text)
        self._check_kind("guidance_scale_column", "numbers", _is_number_or_text)
        self._check_kind("image_column", "bytes or paths of pictures", is_picture)
        self._check_kind(
            "id_column",
            "text, integers or UUIDs",
            lambda k: is_text(k) or _is_integer(k) or k == pa.uuid(),
        )
        # Floats are refused: they would round 2^53 + 1 to another seed, silently.
        self._check_kind(
            "seed_column", "integers", lambda k: is_text(k) or _is_integer(k) or pa.types.is_null(k)
        )
        check_types(self._readers, self.schema)

    def _check_kind(self, role: str, wanted: str, fits: Callable[[pa.DataType], bool]) -> None:
        column = getattr(self.spec, role)
        if column is not None and not fits(kind := self.schema.field(column).type):
            raise InputError(
                f"{role} {column!r} of {self._readers[0].file} holds {kind}, and must hold "
                f"{wanted}. Name another column, or convert this one. "
                f"The columns there: {', '.join(self.schema.names)}."
            )

    def _check_part_sizes(self) -> None:
        """Refuse parts that are too large, where every file says it before its rows are read.

        Of the rows of a row group each counts with their mean. `parts` measures them exactly.
        """
        size, index, rows, held = self.spec.part_rows, 0, 0, 0.0
        if self.spec.limit is not None:
            return  # Of which rows a part is made only their places say.
        for left, unpacked in self._group_sizes():
            mean = unpacked / left if left else 0.0
            while left:
                taken = min(left, size - rows)
                left, rows, held = left - taken, rows + taken, held + taken * mean
                if held > MAX_PART_BYTES:
                    raise InputError(self._too_large(index, rows, int(held), mean))
                if rows == size:
                    # The row group's other whole parts are alike, and not looked at one by one.
                    alike = left // size if size * mean <= MAX_PART_BYTES else 0
                    index, rows, held = index + 1 + alike, 0, 0.0
                    left -= alike * size

    def _group_sizes(self) -> list[tuple[int, int]]:
        """Rows and bytes of each row group of all files; none if a file does not say."""
        sizes = [reader.group_sizes for reader in self._readers]
        return [group for groups in sizes for group in groups or ()] if None not in sizes else []

    def _too_large(self, index: int, rows: int, held: int, row_bytes: float) -> str:
        """The sentence about a part whose first `rows` rows take `held` bytes, `row_bytes` each."""
        size, fitting = self.spec.part_rows, int(MAX_PART_BYTES // row_bytes)
        way_out = (
            f"{fitting:,} or less" if fitting else "1, and give large values as paths to files"
        )
        return (
            f"the {rows:,} rows from row {index * size:,} on take {held:,} bytes, and a part's at "
            f"most {MAX_PART_BYTES:,}. Lower rows_per_part ({size}) to {way_out}."
        )

    @cached_property
    def num_rows(self) -> int:
        """Rows of the job: those in all files, or the spec's `limit` of them. Reads a Parquet
        file's footer, and any other file through, once."""
        rows = sum(self._rows_in_files)
        return rows if self.spec.limit is None else min(rows, self.spec.limit)

    @cached_property
    def _chosen(self) -> Sequence[int]:
        """The rows of the files that are the job's, ascending, where it has a `limit`."""
        return sample_rows(sum(self._rows_in_files), self.num_rows, self.spec.seed)

    @cached_property
    def _rows_in_files(self) -> list[int]:
        return [reader.num_rows for reader in self._readers]

    def rows_in_first_files(self, num_files: int) -> int:
        """Rows in so many files from the first on."""
        return sum(self._rows_in_files[:num_files])

    @property
    def num_parts(self) -> int:
        """The number of parts; the last one may be shorter."""
        return -(-self.num_rows // self.spec.part_rows)

    def parts(self, only: Iterable[int] | None = None) -> Iterator[Part]:
        """The parts in order: all, or those with these numbers, which are ascending.

        Rows between them are read through and dropped, or not read where a file can be entered
        behind them.
        """
        size, wanted = self.spec.part_rows, iter(count() if only is None else only)
        following = next(wanted, None)
        while following is not None:
            index, waiting, rows, held = following, list[pa.RecordBatch](), 0, 0
            for batch in self._cut(following, size):
                rows += batch.num_rows
                if index == following:
                    waiting.append(batch)
                    held += batch.nbytes
                    if held > MAX_PART_BYTES:
                        raise InputError(
                            f"{self._too_large(index, rows, held, held / rows)} A job that has "
                            "begun keeps its rows_per_part: choose a new output folder too."
                        )
                if rows == size:
                    if index == following:
                        yield self._part(index, waiting)
                        following = next(wanted, None)
                    index, waiting, rows, held = index + 1, [], 0, 0
                    if following is None or self._pays_to_seek(index * size, following * size):
                        break
            else:
                if rows and index == following:
                    yield self._part(index, waiting)
                return

    def _pays_to_seek(self, here: int, row: int) -> bool:
        """Whether reading anew from the last entry before `row` leaves out enough rows.

        Within one row group there is no entry, and reading anew would read it from its start.
        """
        if row - here <= SEEK_ROWS:
            return False
        return self._entries[bisect_right(self._entries, row) - 1] > here

    @cached_property
    def _entries(self) -> list[int]:
        """The rows at which reading can begin: the first of each row group, or of all."""
        starts = [0]
        if self.spec.limit is None and all(reader.can_seek for reader in self._readers):
            starts += accumulate(rows for rows, _ in self._group_sizes())
        return starts

    def _cut(self, first_part: int, size: int) -> Iterator[pa.RecordBatch]:
        """The batches from a part on, cut where parts end."""
        rows = 0
        for batch in self._batches(skip=first_part * size):
            while batch.num_rows:
                taken = batch.slice(0, size - rows)
                batch = batch.slice(taken.num_rows)
                rows = (rows + taken.num_rows) % size
                yield taken

    def sample(self, num_rows: int) -> Part:
        """At most `num_rows` rows, of every stretch of the input one (`jobs.spec.sample`)."""
        most = min(num_rows, self.num_rows)
        if not most:
            raise InputError(f"input {self.spec.input!r} has no rows. Is it the right one?")
        spec = self.spec
        wanted = sample_rows(self.num_rows, most, spec.seed)
        roles = (
            *(spec.prompt_column, spec.negative_prompt_column),
            *(spec.image_column, spec.target_column, spec.id_column, spec.seed_column),
            *(spec.size_column, spec.guidance_scale_column),
        )
        columns = list(dict.fromkeys(column for column in roles if column))
        if spec.image_column and most > PROBED_ROWS:
            most = self._fitting(most, columns)
            wanted = sample_rows(self.num_rows, most, spec.seed)
        return self._as_part(0, 0, self._picked(wanted, columns), wanted)

    def options_of_parts(self) -> list[Mapping[str, Sequence[RowOptions]]]:
        """What the rows of some parts, spread over the input, have of their own: for each part as
        `Part.options`. Whole parts, if there is one; no other column is read."""
        spec, size, whole = self.spec, self.spec.part_rows, self.num_rows // self.spec.part_rows
        columns = [name for name in (spec.size_column, spec.guidance_scale_column) if name]
        if not columns or not self.num_rows:
            return []
        few = max(1, min(SAMPLED_PARTS, whole, SAMPLED_PART_ROWS // size))
        firsts = [size * (whole * place // few) for place in range(few)]
        each = min(size, self.num_rows)
        wanted = [first + row for first in firsts for row in range(each)]
        table, _ = with_valid_text(self._picked(wanted, columns))
        return [options_of(spec, table.slice(each * n, each), {}) for n in range(few)]

    def _fitting(self, most: int, columns: list[str]) -> int:
        """Rows of a sample whose pictures fit this process; it follows from the input alone."""
        probed = self._picked(sample_rows(self.num_rows, PROBED_ROWS, self.spec.seed), columns)
        fitting = max(PROBED_ROWS, int(MAX_SAMPLE_BYTES * PROBED_ROWS // probed.nbytes))
        if fitting < most:
            log.warning(
                "calibration: a sample of %d rows, not %d: with its pictures, of %.2g MB each, it "
                "lies in the driver's memory",
                fitting, most, probed.nbytes / PROBED_ROWS / 1e6,
            )  # fmt: skip
        return min(most, fitting)

    def _picked(self, wanted: Sequence[int], columns: list[str]) -> pa.Table:
        """These rows, which are ascending, of these columns."""
        if self.spec.limit is not None:
            wanted = [self._chosen[row] for row in wanted]
        picked, first, held = list[pa.RecordBatch](), 0, 0
        for reader, size in zip(self._readers, self._rows_in_files, strict=True):
            begin, end = bisect_left(wanted, first), bisect_left(wanted, first + size)
            if here := [row - first for row in wanted[begin:end]]:
                table = reader.pick(here, columns)
                reader.check_unchanged()
                picked += [self._plain(batch, reader.file, columns) for batch in table.to_batches()]
                held += table.nbytes
                if held > MAX_SAMPLE_BYTES:
                    raise InputError(
                        f"the {len(wanted):,} rows of the calibration's sample take more than "
                        f"{MAX_SAMPLE_BYTES:,} bytes. Lower calibration_rows, or give "
                        "budget.threshold, which needs no sample."
                    )
            first += size
        return pa.Table.from_batches(picked)

    def check_ids(self) -> None:
        """Refuse an id that two rows have. Reads the id column through. Raises InputError."""
        column = self.spec.id_column
        if column is not None:
            check_ids(column, partial(self._values, column))

    def _values(self, column: str) -> Iterator[object]:
        for batch in self._batches(columns=[column]):
            yield from with_valid_text(pa.Table.from_batches([batch]))[0].column(0).to_pylist()

    def other_syntax(self, most: int = SYNTAX_ROWS) -> tuple[int, int, Counter[str]]:
        """Of the first `most` rows: how many there are, how many have the syntax of other tools,
        and how many of each kind."""
        column, rows, found, kinds = self.spec.prompt_column, 0, 0, Counter[str]()
        for batch in self._batches(columns=[column]):
            texts = with_valid_text(pa.Table.from_batches([batch.slice(0, most - rows)]))[0]
            some, these = other_syntax(text or "" for text in texts.column(0).to_pylist())
            rows, found, kinds = rows + texts.num_rows, found + some, kinds + these
            if rows >= most:
                break
        return rows, found, kinds

    def describe_files(self) -> list[dict[str, Any]]:
        """Name, size and content hash of each file, by which a later run notices a change."""
        return [
            {
                "name": reader.file.name,
                "bytes": reader.file.size,
                "content": reader.content_hash,
            }
            for reader in self._readers
        ]

    def _batches(self, skip: int = 0, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        if self.spec.limit is not None:
            yield from self._chosen_batches(skip, columns)
            return
        for reader, size in zip(self._readers, self._rows_in_files, strict=True):
            if skip >= size:
                skip -= size
                continue
            for batch in reader.batches(skip, columns):
                reader.check_unchanged()
                yield self._plain(batch, reader.file, columns)
            skip = 0

    def _chosen_batches(self, skip: int, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        """The same of a pilot: the chosen rows, of which few lie in each batch of a file."""
        chosen, first = self._chosen[skip:], 0
        for reader, size in zip(self._readers, self._rows_in_files, strict=True):
            begin, end = bisect_left(chosen, first), bisect_left(chosen, first + size)
            if here := [row - first for row in chosen[begin:end]]:
                names = columns or self.schema.names
                there = [name for name in names if name in reader.schema.names]
                for batch in rows_among(reader.batches(here[0], there), here, here[0]):
                    reader.check_unchanged()
                    yield self._plain(batch, reader.file, columns)
            first += size

    def _plain(
        self, batch: pa.RecordBatch, file: object, columns: list[str] | None = None
    ) -> pa.RecordBatch:
        """The batch in the job's schema, with its columns in the schema's order."""
        there = {name: batch.column(name) for name in batch.schema.names}
        wanted = self.schema if columns is None else [self.schema.field(name) for name in columns]
        fields = pa.schema(list(wanted), metadata=self.schema.metadata)
        arrays = [
            cast_column(there[field.name], field, file)
            if field.name in there
            else pa.nulls(batch.num_rows, field.type)
            for field in fields
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=fields)

    def _part(self, index: int, batches: list[pa.RecordBatch]) -> Part:
        # One chunk: Parquet's pages follow the chunks, which depend on the row where reading began.
        table = pa.Table.from_batches(batches).combine_chunks()
        first = index * self.spec.part_rows
        return self._as_part(index, first, table, range(first, first + table.num_rows))

    def _as_part(self, index: int, first: int, table: pa.Table, numbers: Sequence[int]) -> Part:
        spec = self.spec
        table, invalid_rows = with_valid_text(table)
        prompts = _texts(table, spec.prompt_column, invalid_rows)
        nothing = [None] * len(prompts)
        ids = table.column(spec.id_column).to_pylist() if spec.id_column else numbers
        given = table.column(spec.seed_column).to_pylist() if spec.seed_column else nothing
        seeds: list[int] = []
        for row, (row_id, value) in enumerate(zip(ids, given, strict=True)):
            seed = as_seed(value)
            if value in (None, ""):
                nameless = row_id in (None, "")
                number = numbers[row]
                seed = (
                    nameless_row_seed(spec.seed, number)
                    if nameless
                    else row_seed(spec.seed, str(row_id))
                )
            elif seed is None:
                invalid_rows.setdefault(
                    row, f"seed {_short(value)} is not an integer in 0..{MAX_SEED}"
                )
            seeds.append(seed or 0)
        images = None
        if spec.image_column:
            images = RowImages(
                table.column(spec.image_column), folder_of(spec.input), spec.image_roots
            )
            for row, problem in images.problems():
                invalid_rows.setdefault(row, problem)
        targets = _texts(table, spec.target_column, invalid_rows) if spec.target_column else None
        negatives = self._negatives(table, invalid_rows)
        options = options_of(spec, table, invalid_rows)
        texts = (images, targets, negatives)
        return Part(index, first, table, prompts, seeds, invalid_rows, *texts, options)

    def _negatives(self, table: pa.Table, invalid_rows: dict[int, str]) -> list[str] | None:
        """The rows' negative prompts; a null in the column is the job's own."""
        own, column = self.spec.negative_prompt, self.spec.negative_prompt_column
        if column is None:
            return None if own is None else [own] * table.num_rows
        texts: list[str] = []
        for row, text in enumerate(table.column(column).to_pylist()):
            problem = problem_with_prompt(text) if text and text.strip() else None
            if problem:
                invalid_rows.setdefault(row, f"{column}: {problem}")
            texts.append("" if problem else (own or "") if text is None else text)
        return texts


def _texts(table: pa.Table, column: str, invalid_rows: dict[int, str]) -> list[str]:
    """A column of prompts; adds those that are invalid to `invalid_rows`."""
    texts: list[str] = []
    for row, text in enumerate(table.column(column).to_pylist()):
        problem = problem_with_prompt(text)
        if problem:
            invalid_rows.setdefault(row, problem)
        texts.append("" if problem else text)
    return texts


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 50 else f"{shown[:50]}..."


def _schema_of(readers: Sequence[InputFile]) -> pa.Schema:
    """The schema that every file is read in: by the rules of `jobs.input.schema`, or, for JSON
    Lines, as if their lines were those of one file. Raises InputError."""
    lines = [reader for reader in readers if isinstance(reader, JsonLinesFile)]
    if lines:
        return schema_of_lines(lines)
    first, schema = readers[0], readers[0].schema
    for reader in readers[1:]:
        both = unified(schema, reader.schema)
        if both is None:
            raise InputError(
                f"{reader.file} has other columns than {first.file}: "
                f"{_difference(schema, reader.schema)}. One job reads files of one schema."
            )
        schema = both
    return schema


def _is_number_or_text(kind: pa.DataType) -> bool:
    """Numbers, as text where they come from a CSV; a column of nulls is either."""
    is_number = _is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)
    return bool(is_number or is_text(kind))


def _is_integer(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind))


def _difference(one: pa.Schema, other: pa.Schema) -> str:
    """The first column that differs, of two schemas that `unified` refused."""
    for name in [*one.names, *other.names]:
        if name not in one.names or name not in other.names:
            there = other if name in other.names else one
            return f"{name!r} ({there.field(name).type}) is in one of them only"
        mine, theirs = one.field(name).type, other.field(name).type
        if common_type(mine, theirs) is None:
            return f"{name!r} is {theirs}, not {mine}"
    raise AssertionError("the schemas are one")

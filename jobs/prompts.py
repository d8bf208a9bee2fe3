"""Prompts in, parts out: the input cut into consecutive rows, lazily.

What is wrong with a file is refused here, before a GPU is touched; what is wrong with one row makes
that row fail, with the reason, and its neighbours go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.errors import InputError
from actors.seeds import MAX_SEED, row_seed
from jobs.readers import find_files, open_file
from jobs.spec import JobSpec


@dataclass(frozen=True)
class Part:
    """Consecutive rows of the input: the unit of work, of resume and of commit.

    `table` has the input's own columns. `unusable`: rows that cannot be drawn, with the reason.
    """

    index: int
    first_row: int
    table: pa.Table
    prompts: list[str]
    seeds: list[int]
    unusable: dict[int, str]


class Prompts:
    """The input of a job: its files, how many rows they have, and the parts they are cut into."""

    def __init__(self, spec: JobSpec) -> None:
        """Finds the files and compares their columns. Raises InputError."""
        self.spec = spec
        self._readers = [open_file(file, spec.prompt_column) for file in find_files(spec.input)]
        first = self._readers[0].schema
        nullable = [field.with_nullable(True) for field in first]
        self.schema: pa.Schema = pa.schema(nullable, metadata=first.metadata)
        for reader in self._readers[1:]:
            if _kinds(reader.schema) != _kinds(self.schema):
                raise InputError(
                    f"{reader.file} has other columns than {self._readers[0].file}: "
                    f"{_difference(self.schema, reader.schema)}. One job reads files of one schema."
                )
        self._check_columns()

    def _check_columns(self) -> None:
        spec, name = self.spec, self._readers[0].file
        for role in ("prompt_column", "id_column", "seed_column"):
            column = getattr(spec, role)
            if column is not None and column not in self.schema.names:
                raise InputError(
                    f"{role} {column!r} is not in {name}. "
                    f"The columns there: {', '.join(self.schema.names)}."
                )
        kind = self.schema.field(spec.prompt_column).type
        if not _is_text(kind):
            raise InputError(
                f"prompt_column {spec.prompt_column!r} of {name} holds {kind}, and prompts are "
                "text. Name another column, or convert this one."
            )

    @cached_property
    def num_rows(self) -> int:
        """Rows in all files. Parquet says so in its footer; other files are read through once."""
        return sum(self._rows_in_files)

    @cached_property
    def _rows_in_files(self) -> list[int]:
        return [reader.num_rows() for reader in self._readers]

    @property
    def num_parts(self) -> int:
        """Parts, the last of which may be shorter."""
        return -(-self.num_rows // self.spec.rows_per_part)

    def parts(self, first: int = 0) -> Iterator[Part]:
        """The parts from number `first` on, in order."""
        size = self.spec.rows_per_part
        index, waiting, rows = first, list[pa.RecordBatch](), 0
        for batch in self._batches(skip=first * size):
            while batch.num_rows:
                taken = batch.slice(0, size - rows)
                waiting.append(taken)
                rows += taken.num_rows
                batch = batch.slice(taken.num_rows)
                if rows == size:
                    yield self._part(index, waiting)
                    index, waiting, rows = index + 1, [], 0
        if rows:
            yield self._part(index, waiting)

    def sample(self, num_rows: int) -> Part:
        """At most `num_rows` rows, spread evenly over the input: inputs are often sorted."""
        count = min(num_rows, self.num_rows)
        if not count:
            raise InputError(f"input {self.spec.input!r} has no rows. Is it the right one?")
        wanted = [self.num_rows * i // count for i in range(count)]
        spec = self.spec
        columns = [c for c in (spec.prompt_column, spec.id_column, spec.seed_column) if c]
        picked, first = [], 0
        for reader, size in zip(self._readers, self._rows_in_files, strict=True):
            here = [row - first for row in wanted if first <= row < first + size]
            if here:
                picked.append(reader.pick(here, columns))
            first += size
        plain = [pa.Table.from_arrays(one.columns, one.column_names) for one in picked]
        table = pa.concat_tables(plain)
        return self._as_part(0, 0, table, wanted)

    def describe_files(self) -> list[dict[str, Any]]:
        """Name, size and ends of each file: how a changed input is noticed.

        The hash is of the first and the last MiB, so that a file of any size is looked at in an
        instant; a change in the middle of a file that keeps its size is not noticed.
        """
        return [
            {
                "name": reader.file.name,
                "bytes": reader.file.stat().st_size,
                "ends": _hash_of_ends(reader.file),
            }
            for reader in self._readers
        ]

    def _batches(self, skip: int) -> Iterator[pa.RecordBatch]:
        for reader in self._readers:
            if skip:
                size = reader.num_rows()
                if skip >= size:
                    skip -= size
                    continue
            for batch in reader.batches(skip):
                # Files of one schema may still differ in nullability and metadata.
                yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)
            skip = 0

    def _part(self, index: int, batches: list[pa.RecordBatch]) -> Part:
        # In one chunk: Parquet's pages follow the chunks, and those depend on where reading began.
        table = pa.Table.from_batches(batches).combine_chunks()
        first = index * self.spec.rows_per_part
        return self._as_part(index, first, table, range(first, first + table.num_rows))

    def _as_part(self, index: int, first: int, table: pa.Table, numbers: Sequence[int]) -> Part:
        spec = self.spec
        unusable: dict[int, str] = {}
        prompts: list[str] = []
        for row, prompt in enumerate(values_of(table, spec.prompt_column)):
            problem = _problem_with_prompt(prompt)
            if problem:
                unusable[row] = problem
            prompts.append("" if problem else prompt)
        ids = values_of(table, spec.id_column) if spec.id_column else numbers
        given = values_of(table, spec.seed_column) if spec.seed_column else [None] * len(prompts)
        seeds: list[int] = []
        for row, (row_id, value) in enumerate(zip(ids, given, strict=True)):
            seed = _as_seed(value)
            if value in (None, ""):
                named = numbers[row] if row_id is None else row_id
                seed = row_seed(spec.seed, str(named))
            elif seed is None:
                unusable.setdefault(row, f"seed {value!r} is not an integer in 0..{MAX_SEED}")
            seeds.append(seed or 0)
        return Part(index, first, table, prompts, seeds, unusable)


def _problem_with_prompt(prompt: Any) -> str | None:
    if prompt is None:
        return "the prompt is null"
    if isinstance(prompt, bytes):
        return "the prompt is not valid UTF-8"
    if not prompt.strip():
        return "the prompt is empty"
    if "\0" in prompt:
        return f"the prompt has a NUL character at position {prompt.index(chr(0))}"
    return None


def _as_seed(value: Any) -> int | None:
    """A seed as it is, or as the text of a CSV cell; None if it is none."""
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,19}\s*", value):
        value = int(value)
    return value if type(value) is int and 0 <= value <= MAX_SEED else None


def values_of(table: pa.Table, column: str) -> list[Any]:
    """A column's values; text that is not valid UTF-8 as bytes."""
    try:
        values: list[Any] = table.column(column).to_pylist()
    except UnicodeDecodeError:
        values = table.column(column).cast(pa.large_binary()).to_pylist()
        return [_decoded(value) for value in values]
    return values


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _hash_of_ends(file: Path) -> str:
    digest = blake2b(digest_size=8)
    with file.open("rb") as content:
        digest.update(content.read(2**20))
        content.seek(max(0, file.stat().st_size - 2**20))
        digest.update(content.read())
    return digest.hexdigest()


def _kinds(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in schema]


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _difference(one: pa.Schema, other: pa.Schema) -> str:
    for name in [*one.names, *other.names]:
        mine = one.field(name).type if name in one.names else "missing"
        theirs = other.field(name).type if name in other.names else "missing"
        if mine != theirs:
            return f"{name!r} is {theirs}, not {mine}"
    return "the same names in another order"

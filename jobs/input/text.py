"""Reads CSV, TSV, JSON Lines and text line by line, strictly: every refusal names its line.

Before a job starts, a reader goes through each file once: it counts the rows and refuses a broken
one. It uses Python's own parsers rather than pyarrow's: measured, pyarrow lets an unclosed quote
swallow the rows that follow, infers JSON types from a file's first block only, and seldom names
the place of an error.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from itertools import islice, repeat
from math import isfinite
from typing import Any, NoReturn, TypeVar

import pyarrow as pa

from actors.errors import InputError
from jobs.input.base import BATCH_ROWS, InputFile
from jobs.input.column_names import check_width, named_twice
from jobs.input.disguise import HEAD_BYTES, check_head, check_text
from jobs.input.json_columns import JsonColumns
from jobs.input.source import Source

MAX_LINE_CHARS = 16 * 2**20
"""Chosen: four of the longest cells; a binary file without line ends is refused before it fills
the memory."""
MAX_CELL_CHARS = 4 * 2**20
"""A longer CSV cell is more likely a quote that is never closed than a prompt."""
BATCH_CHARS = 16 * 2**20
"""Chosen: Python holds a batch in at most 64 MiB (4 bytes a character)."""

MAX_ARRAY_CHARS = 2**27
"""Of a JSON array, which has no lines to be read one by one. Chosen: half a GB, and its objects are
made one by one."""

_BLANK = re.compile(r"[ \t\r\n]*")
"""What JSON lets stand between values."""

T = TypeVar("T")


class TextFile(InputFile):
    """A prompt on each line; empty lines at the file's end are no prompts."""

    def __init__(self, file: Source, column: str) -> None:
        super().__init__(file)
        self._schema = pa.schema([(column, pa.string())])

    @property
    def schema(self) -> pa.Schema:
        """One column of text."""
        return self._schema

    @cached_property
    def num_rows(self) -> int:
        """Reads the file through."""
        return sum(1 for _ in self._rows())

    def batches(self, skip: int = 0, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows after the first `skip`."""
        for rows in _cut(islice(self._rows(), skip, None), len):
            yield pa.record_batch([pa.array(rows, pa.string())], schema=self.schema)

    def _rows(self) -> Iterator[str]:
        empty = 0
        for line in _lines(self):
            row = line.rstrip("\r\n")
            if not row:
                empty += 1
                continue
            yield from repeat("", empty)
            yield row
            empty = 0


class CsvFile(InputFile):
    """Every column is text: `007`, `1e5` and dates stay as the user wrote them.

    In tab-separated files a quote is a character like any other: that format has no quoting.
    """

    @cached_property
    def schema(self) -> pa.Schema:
        """The header's names, each of them text."""
        names = next(self._table(), None)
        if names is None:
            raise InputError(f"{self.file} is empty: it has no header. Write one, or remove it.")
        if twice := named_twice(names):
            raise InputError(f"{self.file}: the header names {twice!r} twice. Rename one.")
        check_width(str(self.file), names)
        return pa.schema([(name, pa.string()) for name in names])

    @cached_property
    def num_rows(self) -> int:
        """Reads the file through."""
        return sum(1 for _ in self._table()) - 1

    def batches(self, skip: int = 0, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows after the first `skip`."""
        names = columns or self.schema.names
        places = [self.schema.get_field_index(name) for name in names]
        rows = islice(self._table(), 1 + skip, None)
        for some in _cut(rows, lambda row: sum(map(len, row))):
            cells = [pa.array([row[place] for row in some], pa.string()) for place in places]
            yield pa.record_batch(cells, names=names)

    def _table(self) -> Iterator[list[str]]:
        """The header, then the rows, each with as many cells; skips empty lines."""
        csv.field_size_limit(MAX_CELL_CHARS)  # of the whole process; Python's default is 128 KiB
        is_tsv = self.file.kind is not None and self.file.kind.ending == ".tsv"
        reader = csv.reader(
            _lines(self),
            delimiter="\t" if is_tsv else ",",
            quoting=csv.QUOTE_NONE if is_tsv else csv.QUOTE_MINIMAL,
            strict=True,
        )
        width, line = 0, 1
        try:
            for row in reader:
                if row:
                    width = width or len(row)
                    if len(row) != width:
                        hint = "A tab ends a cell" if is_tsv else "Quote a cell with a comma in it"
                        self._refuse_row(
                            line,
                            f"another number of cells ({len(row)}) than the header ({width}). "
                            f"{hint}",
                        )
                    yield row
                line = reader.line_num + 1
        except csv.Error as error:
            self._refuse_row(line, _CSV_ERRORS.get(str(error).split("(")[0].strip(), str(error)))

    def _refuse_row(self, line: int, reason: str) -> NoReturn:
        raise InputError(f"{self.file}: the row that begins in line {line} has {reason}.")


_CSV_ERRORS = {
    "unexpected end of data": "a quote that is never closed. Close it",
    "field larger than field limit": f"a cell of more than {MAX_CELL_CHARS:,} characters. Shorten "
    "it; or is a quote before it never closed?",
    "',' expected after '\"'": "text after a closing quote. Double the quotes inside a quoted "
    "cell; or is a quote before it never closed?",
}
"""The error of Python's csv -> our reason, with the next step."""


class JsonLinesFile(InputFile):
    """An object on each line. A column's type fits all its values; dates stay text."""

    _schema: pa.Schema | None = None

    @property
    def schema(self) -> pa.Schema:
        """Reads the file through: only the last line may show a column's type."""
        return self.columns.schema

    @property
    def held_schema(self) -> pa.Schema:
        """What the lines are read in: they have no types of their own."""
        return self._schema or self.schema

    @property
    def columns(self) -> JsonColumns:
        """What the lines say about the columns. Reads the file through."""
        return self._scanned[1]

    @property
    def num_rows(self) -> int:
        """Reads the file through."""
        return self._scanned[0]

    def read_as(self, schema: pa.Schema) -> None:
        """Read the values in this schema from now on: that of all files of the input."""
        self._schema = schema

    def batches(self, skip: int = 0, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows after the first `skip`; null where a line does not name a column."""
        whole = self._schema or self.schema
        schema = pa.schema([whole.field(name) for name in columns or whole.names])
        with self.refusing():
            for some in _cut(islice(self._objects(), skip, None), _size):
                arrays = [
                    _array([row.get(field.name) for _, _, row in some], field.type)
                    for field in schema
                ]
                yield pa.record_batch(arrays, schema=schema)

    @cached_property
    def _scanned(self) -> tuple[int, JsonColumns]:
        rows, columns = 0, JsonColumns()
        for some in _cut(self._objects(), _size):
            columns = self._widened(columns, some)
            rows += len(some)
        return rows, columns

    def _widened(
        self, columns: JsonColumns, some: list[tuple[int, int, dict[str, Any]]]
    ) -> JsonColumns:
        """`columns`, widened by these rows'; refuses the first row that contradicts them."""
        try:
            return columns.with_those_of(JsonColumns.of([row for _, _, row in some]))
        except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
            if len(some) == 1:
                line = some[0][0]
                raise InputError(
                    f"{self.file}: line {line} does not fit the lines before it, or no column: "
                    f"{str(error).splitlines()[0]}. One column has one type."
                ) from error
        for one in some:
            columns = self._widened(columns, [one])
        return columns

    def _objects(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """(line number, characters, object) of each line that is not empty.

        A file that ends in .json may hold an array; then its elements count as lines do.
        """
        if self.file.kind and self.file.kind.ending == ".json" and self._is_array:
            yield from self._elements()
            return
        for number, line in enumerate(_lines(self), 1):
            if line.isspace():
                continue
            try:
                row = _decode(line)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{self.file}: line {number} is not JSON: {error}. Write one whole object a "
                    "line."
                ) from error
            if not isinstance(row, dict):
                raise InputError(
                    f"{self.file}: line {number} is a JSON {type(row).__name__}, not an object. "
                    'Write one object a line, such as {"prompt": "a red circle"}.'
                )
            yield number, len(line), row

    @cached_property
    def _is_array(self) -> bool:
        _check_head(self)
        with self.refusing(), self.file.open_text() as text:
            return text.read(HEAD_BYTES).lstrip().startswith("[")

    def _elements(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """The same of an array: its text is read at once, and its elements are made one by one."""
        with self.refusing(), self.file.open_text() as opened:
            text = opened.read(MAX_ARRAY_CHARS + 1)
        if len(text) > MAX_ARRAY_CHARS:
            raise InputError(
                f"{self.file} is an array of more than {MAX_ARRAY_CHARS:,} characters, which does "
                "not fit. Write it as JSON Lines: an object a line, in a file that ends in .jsonl."
            )
        _check_utf8(self.file, 1, text)
        try:
            for number, (row, chars) in enumerate(_array_elements(text), 1):
                if not isinstance(row, dict):
                    raise InputError(
                        f"{self.file}: element {number} is a JSON {type(row).__name__}, not an "
                        'object. An element is an object, such as {"prompt": "a red circle"}.'
                    )
                yield number, chars, row
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.file} is no array of JSON: {error}.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it names {twice!r} twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    """A number with a fraction or an exponent. Python would read 1e400 as infinity."""
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text[:50]} is larger than any number of 64 bits")
    return number


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
)
_decode = _decoder.decode


def _array_elements(text: str) -> Iterator[tuple[Any, int]]:
    """The elements of an array, each with its number of characters. Raises ValueError."""

    def blank(place: int) -> int:
        found = _BLANK.match(text, place)
        return found.end() if found else place

    place = blank(blank(0) + 1)  # behind the bracket
    ends = text.startswith("]", place)
    while not ends:
        value, end = _decoder.raw_decode(text, place)
        yield value, end - place
        place = blank(end)
        ends = text.startswith("]", place)
        if not ends and not text.startswith(",", place):
            raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
        place = place if ends else blank(place + 1)
    if (place := blank(place + 1)) < len(text):
        raise json.JSONDecodeError("Extra data", text, place)


def _size(numbered: tuple[int, int, object]) -> int:
    return numbered[1]


def schema_of_lines(files: list[JsonLinesFile]) -> pa.Schema:
    """The schema of all lines, as if one file had them; the files are read in it from now on.

    Raises InputError for two files of which one contradicts the other, and if there is no line.
    """
    found = JsonColumns()
    for file in files:
        try:
            found = found.with_those_of(file.columns)
        except pa.ArrowException as error:
            raise InputError(
                f"{file.file} does not fit the files before it: {str(error).splitlines()[0]}. "
                "One column has one type."
            ) from error
    if not found.schema.names:
        raise InputError(f"{files[0].file} is empty: it has no line to learn the columns from.")
    for file in files:
        file.read_as(found.schema)
    return found.schema


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """The values. Unpaired surrogates become bytes that are not UTF-8, so their rows fail alone."""
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        raw = [None if value is None else value.encode(errors="surrogatepass") for value in values]
        return pa.array(raw, pa.binary()).view(pa.string())


def _lines(source: InputFile) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends, without a byte order mark."""
    file = source.file
    _check_head(source)
    with source.refusing(), file.open_text() as text:
        for number, line in enumerate(iter(partial(text.readline, MAX_LINE_CHARS + 1), ""), 1):
            if not line.isascii():
                _check_utf8(file, number, line)
            if len(line) > MAX_LINE_CHARS:
                raise InputError(
                    f"{file}: line {number} is longer than {MAX_LINE_CHARS:,} characters, which "
                    "is the most. Is it a file of lines?"
                )
            yield line


def _check_head(source: InputFile) -> None:
    """Refuse a file that is none of text, or none of its packing, by its first bytes."""
    file = source.file
    with source.refusing(), file.open() as raw:
        head = raw.read(HEAD_BYTES)
    check_head(file, head)
    if file.kind and file.kind.packing:
        with source.refusing(), file.open_text() as text:
            head = text.buffer.read(HEAD_BYTES)
    check_text(file, head)


def _check_utf8(file: Source, number: int, line: str) -> None:
    try:
        line.encode()
    except UnicodeEncodeError as error:
        byte = ord(line[error.start]) - 0xDC00  # as `surrogateescape` keeps it
        raise InputError(
            f"{file}: line {number} is not UTF-8 (byte 0x{byte:02x}); is it Latin-1 or "
            "Windows-1252? Save the file as UTF-8."
        ) from error


def _cut(rows: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """The rows in lists of at most BATCH_ROWS and BATCH_CHARS; a longer row alone."""
    cut: list[T] = []
    chars = 0
    for row in rows:
        if len(cut) == BATCH_ROWS or (cut and chars + size(row) > BATCH_CHARS):
            yield cut
            cut, chars = [], 0
        cut.append(row)
        chars += size(row)
    if cut:
        yield cut

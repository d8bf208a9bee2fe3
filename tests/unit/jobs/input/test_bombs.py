"""Small files that stand for gigabytes: refused, or read few rows at a time, before they are
decoded."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import InputError
from jobs.input import arrow_file, base, column_names, parquet_sizes, prompts
from jobs.input.arrow_file import ArrowFile
from jobs.input.casting import cast_to
from jobs.input.decoded_size import decoded_bytes
from jobs.input.parquet import ParquetFile
from jobs.input.parquet_pages import BrokenPageError, Bytes, delta_bytes
from jobs.input.schema import plain_type
from jobs.input.source import source_at
from tests.unit.jobs.reading import read, refusal

BIG = "x" * 1_000_000
ROWS = 3000


def one_text(rows: int = ROWS) -> pa.DictionaryArray:
    """Gigabytes in a megabyte."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([BIG]))


def of_struct(texts: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays([texts], ["path"])


def of_list(texts: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(range(len(texts) + 1), pa.int32()), texts)


HELD: dict[str, pa.Array] = {
    "dictionary": one_text(),
    "bytes": one_text().cast(pa.dictionary(pa.int32(), pa.binary())),
    "struct": of_struct(one_text()),
    "list": of_list(one_text()),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """A bound of 8 MB in place of a GB, so that no test needs the memory that it is about."""
    for module in (base, parquet_sizes, prompts, arrow_file):
        for name in ("MAX_ROW_BYTES", "MAX_PART_BYTES", "MAX_SAMPLE_BYTES"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, 8_000_000)
    monkeypatch.setattr("jobs.input.parquet.MAX_ROW_BYTES", 8_000_000)
    return 8_000_000


@pytest.mark.parametrize("held", HELD)
def test_a_parquet_that_names_one_text_many_times_is_read_few_rows_at_a_time(
    tmp_path: Path, held: str, small: int
) -> None:
    table = pa.table({"prompt": ["a"] * ROWS, "x": HELD[held]})
    pq.write_table(table, tmp_path / "p.parquet", compression="zstd")
    assert (tmp_path / "p.parquet").stat().st_size < 5000
    reader = ParquetFile(source_at(tmp_path / "p.parquet"))
    first = next(reader.batches())
    assert 1 <= first.num_rows <= 8
    assert first.nbytes <= small * 1.1
    assert [batch.num_rows for batch in reader.batches(columns=["prompt"])] == [1024, 1024, 952]
    with pytest.raises(InputError, match="rows from row 0 on take"):
        next(read(tmp_path).parts())


def test_a_text_that_begins_as_the_one_before_is_read_few_rows_at_a_time(
    tmp_path: Path, small: int
) -> None:
    pq.write_table(
        pa.table({"prompt": [BIG] * 100}),
        tmp_path / "p.parquet",
        compression="zstd",
        use_dictionary=False,
        column_encoding={"prompt": "DELTA_BYTE_ARRAY"},
    )
    first = next(ParquetFile(source_at(tmp_path / "p.parquet")).batches())
    assert first.nbytes <= small


def test_honest_columns_are_read_many_rows_at_a_time(tmp_path: Path) -> None:
    """pyarrow begins every column with a dictionary of up to a MB."""
    rows = [
        f"a prompt of the usual length, number {row}, with a few more words"
        for row in range(40_000)
    ]
    table = pa.table({"prompt": rows, "tags": [[text[:9], text[-9:]] for text in rows]})
    pq.write_table(table, tmp_path / "p.parquet")
    sizes = [b.num_rows for b in ParquetFile(source_at(tmp_path / "p.parquet")).batches()]
    assert min(sizes[:-1]) > 0.9 * base.BATCH_ROWS


def test_a_row_of_one_text_many_times_is_refused(tmp_path: Path, small: int) -> None:
    table = pa.table({"prompt": ["a"], "x": pa.ListArray.from_arrays([0, 30], one_text(30))})
    pq.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(InputError, match=r"may take 30,0.* use_dictionary=False"):
        next(read(tmp_path).parts())


@pytest.mark.parametrize("held", [lambda lists: lists, of_struct])
def test_one_row_of_a_text_many_times_among_others_is_refused(
    tmp_path: Path, small: int, held: Callable[[pa.Array], pa.Array]
) -> None:
    """The mean of the rows says nothing of it."""
    column = held(pa.ListArray.from_arrays([0, *range(30, 430)], one_text(429)))
    table = pa.table({"prompt": ["a"] * len(column), "x": column})
    pq.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(InputError, match=r"may take 30,0.* use_dictionary=False"):
        next(read(tmp_path).parts())


def delta_lists(file: Path, column: pa.Array, **options: Any) -> None:
    """Lists of texts, each written as what it adds to the one before."""
    pq.write_table(
        pa.table({"prompt": ["a"] * len(column), "x": column}),
        file,
        use_dictionary=False,
        column_encoding={"prompt": "PLAIN", "x.list.element": "DELTA_BYTE_ARRAY"},
        **options,
    )


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_one_row_of_many_texts_that_begin_alike_is_refused(
    tmp_path: Path, small: int, version: str
) -> None:
    column = pa.ListArray.from_arrays([0, *range(30, 430)], one_text(429))
    delta_lists(tmp_path / "p.parquet", column, compression="zstd", data_page_version=version)
    with pytest.raises(InputError, match=r"a row of row group 0 may take .* DELTA_BYTE_ARRAY"):
        next(read(tmp_path).parts())


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "lz4", "zstd"])
def test_the_lengths_of_texts_that_begin_alike_are_read(
    tmp_path: Path, compression: str, version: str
) -> None:
    rows = [
        None if row % 5 == 0 else [None if n % 7 == 0 else "x" * n + "é" * row for n in range(row)]
        for row in range(60)
    ]
    delta_lists(
        tmp_path / "p.parquet",
        pa.array(rows, pa.list_(pa.string())),
        compression=compression,
        data_page_version=version,
        data_page_size=2000,
    )
    footer = pq.read_metadata(tmp_path / "p.parquet")
    with (tmp_path / "p.parquet").open("rb") as file:
        found = delta_bytes(footer.row_group(0).column(1), footer.schema.column(1), file, 2**30)
    assert found == sum(len(text.encode()) for row in rows for text in row or () if text)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_no_bytes_are_more_than_a_broken_page(content: bytes) -> None:
    for read_them in (lambda reader: reader.struct(), lambda reader: reader.lengths(1000)):
        with suppress(BrokenPageError):
            read_them(Bytes(content))


def test_three_bytes_that_stand_for_a_million_lengths_are_refused() -> None:
    """A piece of a million lengths of no bits: more than any writer makes."""
    with pytest.raises(BrokenPageError, match="blocks are of"):
        Bytes(bytes([0x80, 0x80, 0x80, 0x01, 1, 0xFF, 0x7F, 0, 0, 0])).lengths(10**6)


def test_a_list_of_one_number_many_times_is_refused_by_its_footer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.input.parquet.MAX_UNPACKED_BYTES", 1_000_000)
    numbers = pa.array([[0] * 200_000], pa.list_(pa.int64()))
    pq.write_table(pa.table({"prompt": ["a"], "x": numbers}), tmp_path / "p.parquet")
    assert "row group 0 unpacks to 1,600,0" in refusal(tmp_path)


def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path, small: int) -> None:
    pq.write_table(pa.table({"prompt": one_text(40)}), tmp_path / "p.parquet")
    with pytest.raises(
        InputError, match=r"40 rows of the calibration's sample .* Lower calibration"
    ):
        read(tmp_path).sample(40)


def write_arrow(file: Path, array: pa.Array, compression: str | None = None) -> None:
    batch = pa.record_batch({"prompt": pa.array(["a"] * len(array)), "x": array})
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (
        pa.OSFile(str(file), "wb") as sink,
        pa.ipc.new_file(sink, batch.schema, options=options) as out,
    ):
        out.write_batch(batch)


RUNS = pa.RunEndEncodedArray.from_arrays(pa.array([ROWS], pa.int32()), pa.array([BIG]))
VIEWS = {
    "dictionary": HELD["dictionary"],
    "struct": HELD["struct"],
    "runs": RUNS,
}


@pytest.mark.parametrize("held", VIEWS)
def test_an_arrow_file_that_names_one_text_many_times_is_read_few_rows_at_a_time(
    tmp_path: Path, held: str, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_file, "BATCH_BYTES", 4_000_000)
    write_arrow(tmp_path / "p.arrow", VIEWS[held])
    first = next(ArrowFile(source_at(tmp_path / "p.arrow")).batches())
    assert first.num_rows in (3, 4)
    assert first.nbytes < small
    with pytest.raises(InputError, match="rows from row 0 on take"):
        next(read(tmp_path).parts())


def test_a_row_of_an_arrow_file_that_is_too_large_is_refused(tmp_path: Path, small: int) -> None:
    write_arrow(tmp_path / "p.arrow", pa.ListArray.from_arrays([0, 30], one_text(30)))
    with pytest.raises(InputError, match=r"a row takes 30,\d\d\d,\d\d\d bytes"):
        next(read(tmp_path).parts())


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("is_dictionary", [False, True])
def test_an_arrow_file_that_unpacks_to_very_much_is_refused_unpacked(
    tmp_path: Path, compression: str, is_dictionary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    column = one_text(1) if is_dictionary else pa.array([BIG])
    write_arrow(tmp_path / "p.arrow", column, compression)
    assert (tmp_path / "p.arrow").stat().st_size < 8000
    assert read(tmp_path).num_rows == 1
    monkeypatch.setattr(arrow_file, "FREELY_UNPACKED_BYTES", 900_000)
    monkeypatch.setattr(arrow_file, "MAX_UNPACKING", 10)
    monkeypatch.setattr(ArrowFile, "_batches", lambda _: pytest.fail("it was unpacked"))
    assert "unpacks to 1,000,0" in refusal(tmp_path)
    monkeypatch.setattr(arrow_file, "MAX_UNPACKED_BYTES", 900_000)
    assert "a batch unpacks to 1,000,0" in refusal(tmp_path)


def test_a_footer_that_names_other_batches_is_refused(tmp_path: Path) -> None:
    """What is looked at is what is read: a file's footer may lead elsewhere."""
    for name, batches in (("one", 1), ("two", 2)):
        batch = pa.record_batch({"prompt": ["a"]})
        file = str(tmp_path / name)
        with pa.OSFile(file, "wb") as sink, pa.ipc.new_file(sink, batch.schema) as out:
            for _ in range(batches):
                out.write_batch(batch)
    whole, other = ((tmp_path / name).read_bytes() for name in ("two", "one"))
    length = int.from_bytes(other[-10:-6], "little")
    theirs = int.from_bytes(whole[-10:-6], "little")
    (tmp_path / "p.arrow").write_bytes(whole[: -10 - theirs] + other[-10 - length :])
    assert "its footer names other batches" in refusal(tmp_path / "p.arrow")


@pytest.mark.parametrize("place", [8, 60, 150, 300])
def test_a_broken_message_is_refused(tmp_path: Path, place: int) -> None:
    write_arrow(tmp_path / "p.arrow", pa.array(["a", "b"]))
    content = bytearray((tmp_path / "p.arrow").read_bytes())
    content[place : place + 16] = b"\xff" * 16
    (tmp_path / "p.arrow").write_bytes(content)
    with pytest.raises(InputError, match=r"p\.arrow"):
        list(read(tmp_path / "p.arrow").parts())


def values() -> st.SearchStrategy[pa.Array]:
    """Arrays as they may be held, with nulls, and slices of them."""
    texts = st.lists(st.none() | st.text("ab", max_size=5), min_size=1, max_size=8)

    def held(rows: list[str | None], how: str) -> Any:
        flat = pa.array(rows, pa.string())
        numbers = pa.array([None if text is None else len(text) for text in rows], pa.int32())
        return {
            "text": flat,
            "large": flat.cast(pa.large_string()),
            "view": flat.cast(pa.string_view()),
            "dictionary": flat.dictionary_encode(),
            "runs": pa.compute.run_end_encode(flat),
            "numbers": numbers,
            "struct": pa.StructArray.from_arrays([flat.dictionary_encode(), numbers], ["a", "b"]),
            "list": pa.array([None if t is None else [t] * len(t) for t in rows]),
            "list of views": pa.array(
                [None if t is None else [t] * len(t) for t in rows], pa.list_view(pa.string())
            ),
            "fixed": pa.array([[t, "x"] for t in rows], pa.list_(pa.string(), 2)),
            "map": pa.array(
                [None if t is None else [(t, 1)] for t in rows], pa.map_(pa.string(), pa.int32())
            ),
        }[how]  # fmt: skip

    kinds = [
        "text",
        "large",
        "view",
        "dictionary",
        "runs",
        "numbers",
        "struct",
        "list",
        "map",
        "fixed",
    ]
    made = st.builds(held, texts, st.sampled_from([*kinds, "list of views"]))
    return st.builds(lambda array, first: array.slice(first), made, st.integers(0, 3))


def content_bytes(value: Any, kind: pa.DataType) -> int:
    """Bytes of a value, counted by Python: of text its letters, of a number its width."""
    if pa.types.is_struct(kind):
        return sum(
            content_bytes(None if value is None else value[f.name], f.type) for f in kind.fields
        )
    if pa.types.is_map(kind):
        return sum(len(key) + 4 for key, _ in value or ())
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return sum(content_bytes(one, kind.value_type) for one in value or ())
    return 4 if pa.types.is_int32(kind) else len(value or "")


@given(values())
@settings(max_examples=300)
def test_what_rows_decode_to_is_known_before(array: pa.Array) -> None:
    plain = cast_to(array, plain_type(array.type))
    wanted = [content_bytes(row.as_py(), plain.type) for row in plain]
    assert decoded_bytes(array).tolist() == wanted
    assert decoded_bytes(array).dtype == np.int64


def test_views_that_name_one_text_many_times_are_counted() -> None:
    """As a hostile writer makes them: each view names the whole buffer."""
    view = b"".join([(1000).to_bytes(4, "little") + b"xxxx" + bytes(8)] * 50)
    buffers = [None, pa.py_buffer(view), pa.py_buffer(b"x" * 1000)]
    array = pa.Array.from_buffers(pa.string_view(), 50, buffers)
    assert decoded_bytes(array).sum() == 50_000
    values = pa.array(["x" * 10] * 10)
    zeros, tens = pa.array([0] * 20, pa.int32()), pa.array([10] * 20, pa.int32())
    lists = pa.ListViewArray.from_arrays(zeros, tens, values)
    assert decoded_bytes(lists).tolist() == [100] * 20


def test_too_many_columns_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of 16 MB names millions, and each row then has them all."""
    for module in ("column_names", "json_columns"):
        monkeypatch.setattr(f"jobs.input.{module}.MAX_COLUMNS", 3)
    names = {"prompt": "a", "b": "b", "c": "c", "d": "d"}
    (tmp_path / "p.jsonl").write_text(json.dumps(names))
    (tmp_path / "p.csv").write_text("prompt,b,c,d\na,b,c,d\n")
    pq.write_table(
        pa.table({name: [value] for name, value in names.items()}), tmp_path / "p.parquet"
    )
    write_arrow(tmp_path / "p.arrow", pa.array(["a"]))
    for ending in ("jsonl", "csv", "parquet"):
        assert "4 columns, and at most 3" in refusal(tmp_path / f"p.{ending}"), ending
    (tmp_path / "q.jsonl").write_text('{"prompt": "a", "x1": 1}\n{"x2": 1}\n{"x3": 1}\n')
    assert "4 columns, and at most 3" in refusal(tmp_path / "q.jsonl")
    assert column_names.MAX_COLUMNS == 3


def test_lines_without_content_take_no_memory(tmp_path: Path) -> None:
    """20 kB of gzip are 20 million empty lines, and a row of each once lay in a list."""
    import tracemalloc

    (tmp_path / "p.txt.gz").write_bytes(gzip.compress(b"\n" * 2_000_000 + b"a\n"))
    tracemalloc.start()
    assert read(tmp_path).num_rows == 2_000_001
    assert tracemalloc.get_traced_memory()[1] < 8_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"prompt": "a"} {"prompt": "b"}]', "Expecting ','"),
        ('[{"prompt": "a"},]', "no array of JSON"),
        ('[{"prompt": "a"}] x', "Extra data"),
        ('[{"prompt": "a"}', "Expecting ','"),
        ("[" * 5000, "no array of JSON"),
        ('[{"prompt": "a"}, 1]', "element 2 is a JSON int"),
    ],
)
def test_the_elements_of_an_array_are_made_one_by_one(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.json").write_text(text)
    assert said in refusal(tmp_path)
    (tmp_path / "p.json").write_text(' [ {"prompt": "a"} ,\n{"prompt": "b"} ] \n')
    assert [p for part in read(tmp_path).parts() for p in part.prompts] == ["a", "b"]

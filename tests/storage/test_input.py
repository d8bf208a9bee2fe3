"""Inputs on a real object store: the same rows as from files, and pictures by their URLs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import InputError
from jobs.input import picture_urls
from jobs.input.prompts import Part, Prompts
from jobs.spec.job_spec import make_spec
from jobs.storage import object_store as room
from jobs.storage.storage_at import storage_at

ROWS = [{"prompt": f"a red circle {n}", "n": str(n)} for n in range(3000)]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    room._store_at.cache_clear()


def write(file: Path) -> None:
    match file.suffix:
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(ROWS), file, row_group_size=700)
        case ".jsonl":
            file.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
        case ".txt":
            file.write_text("".join(f"{row['prompt']}\n" for row in ROWS))
        case _:
            with file.open("w", newline="") as text:
                writer = csv.writer(text, delimiter="\t" if file.suffix == ".tsv" else ",")
                writer.writerows([["prompt", "n"], *([row["prompt"], row["n"]] for row in ROWS)])


def prompts(place: str | Path, **fields: Any) -> Prompts:
    base = {"input": str(place), "output": "o", "models": "shapes", "rows_per_part": 1000}
    return Prompts(make_spec({**base, **fields}))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl", ".txt"])
def test_an_object_has_the_rows_of_the_file(
    in_object_store: str, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"p{suffix}"
    write(file)
    storage = storage_at(f"{in_object_store}/in")
    storage.put(file.name, file.read_bytes())
    storage.put("README.md", b"no prompts")
    for place in ("", "/*", f"/{file.name}"):
        there, here = prompts(f"{in_object_store}/in{place}"), prompts(file)
        assert there.describe_files() == here.describe_files()
        assert [part.table for part in there.parts()] == [part.table for part in here.parts()]
        assert there.sample(10).prompts == here.sample(10).prompts


def test_an_object_that_may_be_data_is_read_or_named(in_object_store: str) -> None:
    storage = storage_at(f"{in_object_store}/in")
    for name in ("a.csv", "README.txt", "a.csv.md5", "_b.csv", "pictures/a.png"):
        storage.put(name, b"prompt\na\n")
    storage.put("pictures_marker", b"")  # as consoles make folders
    assert prompts(f"{in_object_store}/in").num_rows == 1
    for name in ("b.csv/part-00000", "b.csv.snappy"):
        storage.put(name, b"prompt\nb\n")
        for place in ("", "/*.csv*"):
            with pytest.raises(InputError, match=f"may be data and is not read: {name}"):
                prompts(f"{in_object_store}/in{place}")
        storage.delete([name])


def test_an_object_that_changes_is_refused(in_object_store: str, tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    write(file)
    storage = storage_at(in_object_store)
    storage.put("p.parquet", file.read_bytes())
    parts = prompts(f"{in_object_store}/p.parquet").parts()
    next(parts)
    pq.write_table(pa.Table.from_pylist(ROWS[:2500]), file)
    storage.put("p.parquet", file.read_bytes())
    with pytest.raises(InputError, match="changed while it was read"):
        list(parts)


def test_an_input_that_is_not_there_is_refused(in_object_store: str) -> None:
    storage_at(in_object_store).put("notes/a.md", b"")
    for place, said in (
        ("/nothing", "does not exist"), ("/notes", "has no file that ends in"),
        ("/notes/a.md", r"ends in '\.md'"), ("/notes/*.csv", "has no file that ends in"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            prompts(f"{in_object_store}{place}")


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_pictures_are_fetched_from_the_inputs_place_and_from_listed_ones(
    in_object_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_urls, "MAX_PICTURE_BYTES", 5)
    storage = storage_at(in_object_store)
    for name, content in (("in/a.png", b"A"), ("in/big.png", b"123456"), ("other/b.png", b"B")):
        storage.put(name, content)
    (tmp_path / "web").mkdir()
    (tmp_path / "web/c.png").write_bytes(b"C")
    with web_server(tmp_path / "web") as web:
        names = [
            *("a.png", "big.png", "gone.png", "../other/b.png", f"{in_object_store}/in/a.png"),
            *(f"{in_object_store}/other/b.png", f"{web}/c.png", f"{web}/gone.png", "", None),
        ]
        table = pa.table({"prompt": ["a"] * len(names), "picture": pa.array(names, pa.string())})
        pq.write_table(table, tmp_path / "p.parquet")
        storage.put("in/p.parquet", (tmp_path / "p.parquet").read_bytes())

        def read(*roots: str) -> Part:
            fields = {"task": "edit", "image_column": "picture", "image_roots": list(roots)}
            (part,) = prompts(f"{in_object_store}/in/p.parquet", **fields).parts()
            return part

        listed = read(f"{in_object_store}/other", web)
        closed = read()
    assert listed.images
    good = {row: listed.images[row] for row in range(10) if row not in listed.invalid_rows}
    assert good == {0: b"A", 4: b"A", 5: b"B", 6: b"C"}
    for row, said in {
        1: "6 bytes, and at most 5", 2: "is not there", 3: "an empty step, '.', '..'",
        7: "is not there", 8: "is empty", 9: "is null",
    }.items():  # fmt: skip
        assert said in listed.invalid_rows[row]
    for row in (5, 6, 7):
        assert "List one in image_roots" in closed.invalid_rows[row]

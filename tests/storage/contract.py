"""What every storage keeps: the same tests for a folder, for memory, and for a real server."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import MissingError
from jobs.storage.storage import Storage


class StorageContract:
    """Subclasses have a fixture `storage`: an empty one."""

    def test_a_file_is_put_whole_listed_and_read(self, storage: Storage) -> None:
        storage.put("data/00000/part-1", b"one")
        storage.put("data/00001/part-2", b"second")
        storage.put("job.json", b"{}")
        assert [(e.path, e.size) for e in storage.entries("data")] == [
            ("data/00000/part-1", 3),
            ("data/00001/part-2", 6),
        ]
        assert [e.path for e in storage.entries()] == [
            *("data/00000/part-1", "data/00001/part-2", "job.json"),
        ]
        assert len(storage.entries(most=2)) == 2
        assert storage.get("data/00001/part-2") == b"second"
        assert storage.entries("records") == []

    def test_another_content_is_another_version(self, storage: Storage) -> None:
        storage.put("f", b"one")
        first = storage.find("f")
        storage.put("f", b"two, longer")
        second = storage.find("f")
        assert first
        assert second
        assert (first.size, second.size) == (3, 11)
        assert first.version != second.version
        (listed,) = storage.entries()
        assert (listed.path, listed.size, listed.version) == ("f", 11, second.version)
        assert second.modified >= first.modified > 1e9
        # A server may give whole seconds in one answer and thousandths in another.
        assert abs(listed.modified - second.modified) <= 1

    def test_what_is_not_there_is_missing(self, storage: Storage) -> None:
        assert storage.find("a/b") is None
        with pytest.raises(MissingError, match=r"a/b is not there\.$"):
            storage.get("a/b")
        storage.delete(["a/b"])
        storage.put("a", b"")
        found = list(storage.get_many(["a", "b", "a"]))
        assert [found[0], found[2]] == [b"", b""]
        assert isinstance(found[1], MissingError)
        storage.delete(["a"])
        assert storage.entries() == []

    def test_of_many_writers_of_a_new_file_one_wins(self, storage: Storage) -> None:
        contents = [f"writer {n}".encode() for n in range(8)]
        with ThreadPoolExecutor(8) as writers:
            won = list(writers.map(lambda content: storage.put_new("job.json", content), contents))
        assert sum(won) == 1
        assert storage.get("job.json") == contents[won.index(True)]
        # The same content again is ours, whoever put it there: an answer may have been lost.
        assert storage.put_new("job.json", contents[won.index(True)])
        assert not storage.put_new("job.json", b"another")

    def test_a_writer_that_raises_publishes_nothing(self, storage: Storage) -> None:
        def fail() -> None:
            with storage.writing("data/part") as file:
                file.write(b"x" * 3_000_000)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert storage.entries() == []
        with storage.writing("data/part") as file:
            file.write(b"x" * 3_000_000)
        (there,) = storage.entries()
        assert (there.path, there.size) == ("data/part", 3_000_000)
        assert storage.get("data/part") == b"x" * 3_000_000

    def test_parquet_is_read_in_ranges(self, storage: Storage) -> None:
        table = pa.table({"n": range(5000), "text": [f"row {n}" * 20 for n in range(5000)]})
        with storage.writing("part.parquet") as file:
            pq.write_table(table, file, row_group_size=1000)
        (entry,) = storage.entries()
        with storage.open(entry) as file, pq.ParquetFile(file, pre_buffer=True) as parquet:
            assert parquet.num_row_groups == 5
            assert parquet.read_row_group(3).equals(table.slice(3000, 1000))
            assert parquet.read().equals(table)

    def test_names_are_what_they_are(self, storage: Storage) -> None:
        names = ["a b/ü+%20.txt", "a b/#1 & 'x'.txt"]
        for name in names:
            storage.put(name, name.encode())
        assert sorted(e.path for e in storage.entries("a b")) == sorted(names)
        assert [storage.get(name).decode() for name in names] == names

    def test_it_pickles_as_its_url(self, storage: Storage) -> None:
        storage.put("f", b"1")
        copy = pickle.loads(pickle.dumps(storage))  # noqa: S301 - our own
        assert (copy, copy.url) == (storage, storage.url)
        assert copy.get("f") == b"1"
        assert b"SECRET" not in pickle.dumps(storage).upper()

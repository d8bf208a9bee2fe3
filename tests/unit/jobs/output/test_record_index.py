"""Records that are packed: read in few requests, and never believed when they are old."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from jobs.output.folder import OutputFolder
from jobs.output.record_index import INDEX
from jobs.storage.local import LocalStorage


def put_part(folder: OutputFolder, index: int, nfe: int = 4) -> None:
    record = {
        **{"part": index, "first_row": index, "rows": 1, "bytes": 3, "sha256": "0" * 64},
        **{"from_student": 1, "from_teacher": 0, "refined": 0, "failed": 0, "nfe": nfe},
    }
    folder.storage.put(folder.part_name(index), b"abc")
    folder.storage.put(folder.record_name(index), json.dumps(record).encode())


class CountingStorage(LocalStorage):
    """Keeps the names of what was read."""

    def __init__(self, url: str | Path) -> None:
        super().__init__(url)
        self.read: list[str] = []

    def get(self, path: str) -> bytes:
        self.read.append(path)
        return super().get(path)


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    folder = OutputFolder(CountingStorage(tmp_path))
    for index in (0, 1, 999, 1000, 2001):
        put_part(folder, index)
    return folder


def read_by(folder: OutputFolder) -> tuple[list[int], list[str]]:
    """The parts that count, and the records and indices that were read for it."""
    storage = folder.storage
    assert isinstance(storage, CountingStorage)
    storage.read.clear()
    return list(folder.records()), sorted(n for n in storage.read if n.startswith("records/"))


def indices(folders: Iterable[str]) -> list[str]:
    return [f"records/{name}/{INDEX}" for name in folders]


def test_a_packed_record_is_not_read_by_itself(folder: OutputFolder) -> None:
    everything, read = read_by(folder)
    assert everything == [0, 1, 999, 1000, 2001]
    assert len(read) == 5
    before = folder.records()
    folder.pack_records(everything)
    assert read_by(folder) == (everything, indices(["00000", "00001", "00002"]))
    assert folder.records() == before


def test_a_record_that_is_newer_than_its_copy_counts(folder: OutputFolder) -> None:
    folder.pack_records([0, 1000])
    put_part(folder, 1, nfe=40)
    folder.storage.delete([folder.record_name(999)])
    parts, read = read_by(folder)
    assert parts == [0, 1, 1000, 2001]
    assert read == sorted(
        [*indices(["00000", "00001"]), folder.record_name(1), folder.record_name(2001)]
    )
    assert folder.records()[1]["nfe"] == 40
    folder.pack_records(parts)
    assert read_by(folder) == (parts, indices(["00000", "00001", "00002"]))


@pytest.mark.parametrize(
    "content",
    [
        *(b"{", b"[]", b'{"format": 2}', b'{"format": 1, "records": 3}'),
        b'{"format": 1, "records": {"part-00000000.json": [1]}}',
    ],
)
def test_a_broken_index_costs_time_only(
    folder: OutputFolder, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    before = folder.records()
    folder.pack_records(before)
    folder.storage.put(f"records/00000/{INDEX}", content)
    assert folder.records() == before
    assert "00000/index.json does not count" in caplog.text


def test_a_record_in_the_wrong_place_does_not_count(
    folder: OutputFolder, caplog: pytest.LogCaptureFixture
) -> None:
    content = folder.storage.get(folder.record_name(1))
    folder.storage.delete([folder.record_name(1)])
    folder.storage.put("records/00001/part-00000001.json", content)
    assert list(folder.records()) == [0, 999, 1000, 2001]
    assert "its place is records/00000/part-00000001.json" in caplog.text


def test_an_output_that_is_flat_stays_flat(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"format": 2}')
    folder = OutputFolder(tmp_path)
    assert folder.part_name(1234) == "data/part-00001234.parquet"
    assert folder.record_name(1234) == "records/part-00001234.json"
    folder.pack_records([0])
    assert [file.name for file in tmp_path.iterdir()] == ["job.json"]


@pytest.mark.parametrize("record", [{}, {"part": 0}, {"part": 1}, {"rows": "many"}])
def test_a_record_of_an_index_is_checked_like_any_other(
    folder: OutputFolder, record: dict[str, object]
) -> None:
    """With the right version, and nothing in it that a record has."""
    folder.pack_records([0])
    (name,) = indices(["00000"])
    index = json.loads(folder.storage.get(name))
    version, _ = index["records"]["part-00000000.json"]
    index["records"]["part-00000000.json"] = [version, record]
    folder.storage.put(name, json.dumps(index).encode())
    everything, read = read_by(folder)
    assert everything == [0, 1, 999, 1000, 2001]
    assert folder.record_name(0) in read

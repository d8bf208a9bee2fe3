"""Exports: every row is in them, twice the same bytes, and an interrupted one goes on."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from actors.errors import OutputError
from jobs.output.dataset import Output, open_output
from jobs.output.export.shards import cut
from jobs.storage.local import LocalStorage
from jobs.storage.object_store import ObjectStorage
from tests.unit.jobs.local import LocalDispatcher, local_job, run, write_prompts


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """Ten rows in parts of 4, 4 and 2, of which row 5 failed."""
    source = write_prompts(tmp_path / "p.csv", 10)
    job = local_job(source, tmp_path / "out", max_failed=0.5)
    run(job, LocalDispatcher(job, broken=frozenset({"picture 5"})))
    return open_output(tmp_path / "out")


def made(output: Output, target: Path, **options: Any) -> list[bool]:
    return [shard.made for shard in output.export("webdataset", target, **options)]


def content(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_every_picture_and_every_value_is_in_the_tars(output: Output, tmp_path: Path) -> None:
    found = list(output.export("webdataset", tmp_path / "web"))
    assert [(shard.samples, shard.without_picture, shard.made) for shard in found] == [(9, 1, True)]
    with tarfile.open(tmp_path / "web/data-000000.tar") as tar:
        files = {head.name: tar.extractfile(head).read() for head in tar}  # type: ignore[union-attr]
        assert {(head.mtime, head.uid, head.mode) for head in tar} == {(0, 0, 0o644)}
    for number, row in enumerate(output.rows()):
        key = f"{number:012d}"
        if row["image"] is None:
            assert not any(name.startswith(key) for name in files)
            continue
        assert files.pop(f"{key}.png") == row["image"]["bytes"]
        values = {name: value for name, value in row.items() if not name.endswith("image")}
        assert json.loads(files.pop(f"{key}.json")) == values
    assert files == {}


def test_the_tars_are_a_webdataset_to_datasets(output: Output, tmp_path: Path) -> None:
    list(output.export("webdataset", tmp_path / "web", shard_bytes=1))
    data = load_dataset(
        "webdataset",
        data_files=str(tmp_path / "web/*.tar"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert [row["__key__"] for row in data] == [f"{n:012d}" for n in range(10) if n != 5]
    assert data[0]["png"].size == (8, 8)
    assert data[0]["json"]["prompt"] == "picture 0"


def test_an_export_twice_has_the_same_bytes_and_makes_nothing_the_second_time(
    output: Output, tmp_path: Path
) -> None:
    assert made(output, tmp_path / "one", shard_bytes=1) == [True, True, True]
    before = content(tmp_path / "one")
    assert made(output, tmp_path / "one", shard_bytes=1) == [False, False, False]
    assert made(output, tmp_path / "two", shard_bytes=1) == [True, True, True]
    assert content(tmp_path / "one") == before == content(tmp_path / "two")


def test_an_interrupted_export_goes_on(output: Output, tmp_path: Path) -> None:
    shards = output.export("webdataset", tmp_path / "web", shard_bytes=1)
    assert next(shards).made
    shards.close()  # type: ignore[attr-defined]
    (tmp_path / "web/data-000001.tar").write_bytes(b"half of a tar that no entry names")
    assert made(output, tmp_path / "web", shard_bytes=1) == [False, True, True]
    (tmp_path / "web/data-000002.tar").write_bytes(b"short")
    assert made(output, tmp_path / "web", shard_bytes=1) == [False, False, True]


def test_shards_of_a_changed_dataset_are_made_anew(output: Output, tmp_path: Path) -> None:
    made(output, tmp_path / "web", shard_bytes=1)
    record = next((tmp_path / "out/records").rglob("part-00000001.json"))
    changed = json.loads(record.read_text()) | {"sha256": "0" * 64}
    record.write_text(json.dumps(changed))
    for index in (tmp_path / "out/records").rglob("index*"):
        index.unlink()
    assert made(output, tmp_path / "web", shard_bytes=1) == [False, True, False]
    # Cut anew, what is no longer a shard is removed.
    assert made(output, tmp_path / "web") == [True]
    assert {name for name in content(tmp_path / "web") if name.endswith(".tar")} == {
        "data-000000.tar"
    }


def test_metadata_has_every_column_but_the_pictures(output: Output, tmp_path: Path) -> None:
    (shard,) = output.export("metadata", tmp_path / "meta")
    table = pq.read_table(tmp_path / "meta" / shard.name)
    rows = [
        {name: value for name, value in row.items() if not name.endswith("image")}
        for row in output.rows()
    ]
    keys = [f"{number:012d}" for number in range(10)]
    assert table.to_pylist() == [
        {"__key__": key, **row} for key, row in zip(keys, rows, strict=True)
    ]
    first = content(tmp_path / "meta")
    list(output.export("metadata", tmp_path / "again"))
    assert content(tmp_path / "again") == first


def test_an_export_goes_to_an_object_store_as_to_a_folder(output: Output, tmp_path: Path) -> None:
    from jobs.output.export.export import export

    folder, bucket = LocalStorage(tmp_path / "web"), ObjectStorage("memory://export")
    for target in (folder, bucket):
        list(export(output._folder, target, "webdataset"))
    names = [entry.path for entry in folder.entries()]
    assert [entry.path for entry in bucket.entries()] == names
    assert [bucket.get(name) for name in names] == [folder.get(name) for name in names]


def test_a_damaged_part_is_not_exported(output: Output, tmp_path: Path) -> None:
    part = next((tmp_path / "out/data").rglob("part-00000001.parquet"))
    damaged = bytearray(part.read_bytes())
    place = damaged.index(b"IDAT")
    damaged[place + 4] ^= 1
    part.write_bytes(damaged)
    with pytest.raises(OutputError, match=r"part-00000001.parquet cannot be read .*verify"):
        made(output, tmp_path / "web")
    assert not list((tmp_path / "web").rglob("*.tar"))


def test_what_is_not_whole_or_not_ours_is_refused(output: Output, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"is not empty and has no export\.json"):
        made(output, tmp_path / "other")
    made(output, tmp_path / "web")
    with pytest.raises(OutputError, match="another form of this one"):
        list(output.export("metadata", tmp_path / "web"))
    next((tmp_path / "out/data").rglob("part-00000002.parquet")).unlink()
    with pytest.raises(OutputError, match=r"has 8 of 10 rows\. Run its job to the end first"):
        made(output, tmp_path / "new")


def test_the_export_of_another_days_dataset_is_refused(tmp_path: Path) -> None:
    """One job file on prompts/{date}: the same name and fields, and files of the same name."""
    for day in ("23", "24"):
        (tmp_path / day).mkdir()
        source = write_prompts(tmp_path / day / "p.csv", 10)
        source.write_text(source.read_text().replace("picture 9", f"of day {day}"))
        job = local_job(source, tmp_path / f"out-{day}", budget={"threshold": 0.5})
        run(job)
    list(open_output(tmp_path / "out-23").export("webdataset", tmp_path / "web"))
    before = content(tmp_path / "web")
    with pytest.raises(OutputError, match="holds the export of another dataset"):
        list(open_output(tmp_path / "out-24").export("webdataset", tmp_path / "web"))
    assert content(tmp_path / "web") == before


def test_the_export_of_a_dataset_of_other_models_is_refused(output: Output, tmp_path: Path) -> None:
    """Models count by their files, which may change below one path."""
    made(output, tmp_path / "web")
    job = local_job(tmp_path / "p.csv", tmp_path / "out2", max_failed=0.5)
    job.model_files["teacher"] = "another"
    run(job)
    with pytest.raises(OutputError, match="holds the export of another dataset"):
        made(open_output(tmp_path / "out2"), tmp_path / "web")


def test_a_dataset_that_grew_twice_and_has_a_new_name_is_exported_to_the_same_target(
    output: Output, tmp_path: Path
) -> None:
    made(output, tmp_path / "web", shard_bytes=1)
    for num_rows, wanted in ((17, [0, 0, 1, 1, 1]), (18, [0, 0, 0, 0, 1])):
        source = write_prompts(tmp_path / "p.csv", num_rows)
        run(local_job(source, tmp_path / "out", max_failed=0.5, name=f"of {num_rows}"), extend=True)
        again = open_output(tmp_path / "out")
        assert made(again, tmp_path / "web", shard_bytes=1) == wanted


def test_a_target_that_is_an_output_is_refused(output: Output, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"has a job\.json, so it is the output of a job"):
        made(output, tmp_path / "out")


def test_parts_fill_shards_and_none_is_cut() -> None:
    records = {
        n: {"bytes": size, "rows": 1, "sha256": str(n)}
        for n, size in enumerate([4, 4, 9, 20, 1, 1])
    }
    shards = cut(records, "data-{}.tar", 10)
    assert [shard.parts for shard in shards] == [(0, 1), (2,), (3,), (4, 5)]
    assert [shard.name for shard in shards[:2]] == ["data-000000.tar", "data-000001.tar"]
    assert len({shard.source for shard in shards}) == 4

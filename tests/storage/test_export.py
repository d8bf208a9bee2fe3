"""Exports and publications from and to a real object store have the bytes that a folder gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.output.export.export import export
from jobs.output.export.publish import prepare
from jobs.output.folder import OutputFolder
from jobs.storage import object_store as room
from jobs.storage.local import LocalStorage
from jobs.storage.storage import Storage
from jobs.storage.storage_at import storage_at
from tests.unit.jobs.local import local_job, run, write_prompts


@pytest.fixture(autouse=True)
def _fresh() -> None:
    """obstore's stores read the environment once."""
    room._store_at.cache_clear()


def content(storage: Storage) -> dict[str, bytes]:
    return {entry.path: storage.get(entry.path) for entry in storage.entries()}


def test_a_dataset_goes_from_a_bucket_to_a_bucket(in_object_store: str, tmp_path: Path) -> None:
    run(local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out"))
    here, there = LocalStorage(tmp_path / "out"), storage_at(f"{in_object_store}/out")
    for name, file in content(here).items():
        there.put(name, file)
    for storage, root in ((here, str(tmp_path)), (there, in_object_store)):
        for made in (True, False):
            shards = export(OutputFolder(storage), storage_at(f"{root}/web"), "webdataset", 6000)
            assert {shard.made for shard in shards} == {made}
        list(export(OutputFolder(storage), storage_at(f"{root}/meta"), "metadata"))
        publication = prepare(OutputFolder(storage))
        assert publication.send_to(f"{root}/public") == 3
        assert publication.send_to(f"{root}/public") == 0
    for target in ("web", "meta", "public"):
        in_folder = content(storage_at(tmp_path / target))
        assert len(in_folder) > 2
        assert content(storage_at(f"{in_object_store}/{target}")) == in_folder

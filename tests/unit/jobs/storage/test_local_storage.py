"""A folder: whole files, and whose the temporary ones are."""

from __future__ import annotations

import os
import pickle
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from actors.errors import MissingError, StorageError
from jobs.storage.local import STRAY_SECONDS, LocalStorage
from jobs.storage.owner import owner_of, tag
from tests.storage.contract import StorageContract
from tests.storage.tags import dead_tag


class TestLocal(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> LocalStorage:
        return LocalStorage(tmp_path)


def test_a_file_system_without_links_still_gets_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", none)
    assert LocalStorage(tmp_path).put_new("f", b"one")
    assert (tmp_path / "f").read_bytes() == b"one"


def test_a_file_is_on_the_disk_before_its_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[str]]] = []
    fsync = os.fsync

    def watched(number: int) -> None:
        fsync(number)
        named = [file.name for file in tmp_path.iterdir() if not file.name.startswith(".")]
        seen.append((os.readlink(f"/proc/self/fd/{number}"), named))

    monkeypatch.setattr("os.fsync", watched)
    storage = LocalStorage(tmp_path)
    storage.put("f", b"one")
    assert storage.put_new("g", b"two")
    assert [(Path(file).name[:3], named) for file, named in seen] == [(".f.", []), (".g.", ["f"])]


def test_temporary_files_are_strays_when_their_writer_is_gone_and_only_then(tmp_path: Path) -> None:
    for place in ("data/00000", "records"):
        (tmp_path / place).mkdir(parents=True)
    dead = f"data/00000/.part-00000000.parquet.{dead_tag()}"
    ours = f"records/.part-00000001.json.{tag()}"
    elsewhere = "data/.part-00000002.parquet.other-host.1.0123abcd"
    old = "data/.part-00000003.parquet.other-host.1.0123abcd"
    others = "data/.gitkeep"
    for file in (dead, ours, elsewhere, old, others):
        (tmp_path / file).touch()
    now = (tmp_path / ours).stat().st_mtime
    os.utime(tmp_path / old, (now, now - STRAY_SECONDS - 1))
    storage = LocalStorage(tmp_path)
    assert storage.strays(now) == sorted([dead, old])
    assert [entry.path for entry in storage.entries()] == [others]


def test_a_host_may_be_called_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "gpu 1.example/ü")
    owner = owner_of(f".part-00000001.json.{tag()}")
    assert owner is not None
    assert owner.host == "gpu-1-example--"
    assert owner.pid == os.getpid()
    assert not owner.is_dead


@pytest.mark.parametrize(
    ("number", "said"),
    [(28, "has no room left"), (2, "is gone"), (13, "cannot be written to"), (5, "does not work")],
)
def test_what_a_disk_says_names_the_folder_and_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def fail(_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StorageError, match=f"^{tmp_path} {said}") as caught:
        LocalStorage(tmp_path).put("f", b"one")
    assert caught.value.passing
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_away_is_not_made_anew(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "mounted" / "out")
    with pytest.raises(StorageError, match=r"is gone\. Bring it back"):
        storage.put("data/part", b"one")
    assert list(tmp_path.iterdir()) == []
    storage.create()
    storage.put("data/part", b"one")


def test_an_empty_hidden_folder_goes_with_its_last_file(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    for name in (".drivers/a", ".drivers/b", "data/c"):
        storage.put(name, b"")
    storage.delete([".drivers/a"])
    assert (tmp_path / ".drivers").is_dir()
    storage.delete([".drivers/b", "data/c"])
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


def test_its_errors_survive_pickling() -> None:
    for error in (StorageError("/a", "is full", passing=True), MissingError("/a", "is not there")):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (type(copy), str(copy), copy.passing) == (type(error), str(error), error.passing)


def test_files_that_go_while_a_folder_is_listed_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another driver writes there: its temporary files are renamed, its broken parts redone."""
    (tmp_path / "part-1").write_bytes(b"x")
    names = (f".part-1.{tag()}", "part-gone", "part-1")
    listed = [
        SimpleNamespace(name=name, is_dir=bool, stat=(tmp_path / name).stat) for name in names
    ]
    monkeypatch.setattr("os.scandir", lambda _path: nullcontext(listed))
    assert [entry.path for entry in LocalStorage(tmp_path).entries()] == ["part-1"]

"""Oracles are checked and hashed by their files alone; a kind names a class of the user's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from pydantic import ValidationError

from actors.errors import ModelError
from actors.models.file_reader import FileReader
from actors.models.oracles.oracle_files import open_oracle_files
from actors.models.oracles.own import find_class
from actors.models.presets import PRESETS
from actors.settings import IMAGE_REWARD, MemberSettings, OracleSettings

SHAPES = Path(PRESETS["shapes"].oracle.path)
MINE = "class Mine:\n    def score(self, prompts, pictures):\n        return [0.0] * len(prompts)\n"


def settings(kind: str, **fields: Any) -> OracleSettings:
    return OracleSettings(kind=kind, batch_size=4, **fields)


def fingerprint(oracle: OracleSettings) -> str:
    return open_oracle_files(oracle).fingerprint(FileReader())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "image-reward"}, "give exactly one of path"),
        ({"kind": "ensemble"}, "kind: ensemble and members go together"),
        ({"path": "m", "members": [{"path": "m"}]}, "kind: ensemble and members go together"),
        ({"kind": "ensemble", "path": "m", "members": [{"path": "m"}]}, "has no path of its own"),
        ({"kind": "ensemble", "members": [{"kind": "aesthetic"}]}, "needs a path"),
        ({"kind": "ensemble", "members": [{"kind": "ensemble"}]}, "members are no ensembles"),
        ({"path": "m", "options": {"a": 1}}, "options are for a class of your own"),
        ({"kind": "mine:Mine", "timed": {}}, "give exactly one of path (a model) and timed"),
    ],
)
def test_a_contradiction_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        OracleSettings(batch_size=4, **fields)
    assert said in str(refused.value)


@pytest.fixture
def reward(tmp_path: Path) -> Path:
    """A folder with the files of ImageReward; its weights are an empty zip."""
    folder = tmp_path / "reward"
    folder.mkdir()
    (folder / "med_config.json").write_text("{}")
    (folder / "vocab.txt").write_text("[PAD]\n")
    (folder / "ImageReward.pt").write_bytes(b"PK\x05\x06" + bytes(18))
    return folder


def cut(file: Path) -> None:
    file.write_bytes(b"PK\x03\x04" + bytes(100))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "med_config.json").unlink(), "has no med_config.json"),
        (lambda f: (f / "ImageReward.pt").unlink(), "has no ImageReward.safetensors or Image"),
        (lambda f: cut(f / "ImageReward.pt"), "is not whole"),
        (lambda f: (f / "ImageReward.pt").write_text("version https://git-lfs"), "is not whole"),
        (lambda f: (f / "ImageReward.safetensors").write_text("x"), "is not whole"),
    ],
)
def test_a_half_copied_image_reward_is_refused(
    reward: Path, damage: Callable[[Path], object], said: str
) -> None:
    whole = settings("image-reward", path=str(reward))
    open_oracle_files(whole)
    damage(reward)
    with pytest.raises(ModelError) as refused:
        open_oracle_files(whole)
    assert said in str(refused.value)


def test_another_kinds_pickle_stays_refused(reward: Path) -> None:
    (reward / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"only ImageReward\.pt, which can run code"):
        open_oracle_files(settings("clip-score", path=str(reward)))


def test_an_aesthetic_without_its_head_is_refused() -> None:
    with pytest.raises(ModelError, match=r"has no aesthetic\.safetensors"):
        open_oracle_files(settings("aesthetic", path=str(SHAPES)))


def test_the_tokenizer_counts_in_image_rewards_identity(reward: Path) -> None:
    before = fingerprint(settings("image-reward", path=str(reward)))
    (reward / "vocab.txt").write_text("[PAD]\nred\n")
    assert fingerprint(settings("image-reward", path=str(reward))) != before


def test_an_ensemble_is_every_one_of_its_members(tmp_path: Path) -> None:
    copytree(SHAPES, tmp_path / "copy")
    members = (MemberSettings(path=str(SHAPES)), MemberSettings(path=str(tmp_path / "copy")))
    files = open_oracle_files(settings("ensemble", members=members))
    pinned, before = files.settings, files.fingerprint(FileReader())
    assert [Path(member.path).is_absolute() for member in pinned.members] == [True, True]
    config = tmp_path / "copy/config.json"
    config.write_text(config.read_text() + "\n")
    assert fingerprint(settings("ensemble", members=members)) != before


def test_extra_scores_count_and_their_hash_stands_apart(tmp_path: Path) -> None:
    """The oracle's own hash stays the same: a sample that it scored serves both jobs."""
    copytree(SHAPES, tmp_path / "copy")
    plain = settings("blip-itm", path=str(SHAPES))
    extra = {"path": str(tmp_path / "copy"), "column": "other"}
    scored = settings("blip-itm", path=str(SHAPES), extra_scores=[extra],
                      filters=[{**extra, "column": "flagged", "below": 0.0}])  # fmt: skip
    files = open_oracle_files(scored)
    assert [one.column for one in files.settings.extras] == ["other", "flagged"]
    assert all(Path(one.path).is_absolute() for one in files.settings.extras)
    before = files.fingerprint(FileReader())
    assert before.partition("+")[0] == fingerprint(plain) != before
    config = tmp_path / "copy/config.json"
    config.write_text(config.read_text() + "\n")
    assert fingerprint(scored) != before
    assert fingerprint(scored).partition("+")[0] == fingerprint(plain)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, for modules of the user's own; each test imports them anew."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for file in folder.glob("*.py"):
        sys.modules.pop(file.stem, None)


def test_a_class_of_ones_own_counts_by_its_source_file(modules: Path, tmp_path: Path) -> None:
    (modules / "mine_a.py").write_text(MINE)
    (modules / "mine_b.py").write_text(MINE + "# changed\n")
    (modules / "mine_c.py").write_text(MINE)
    one = fingerprint(settings("mine_a:Mine"))
    assert open_oracle_files(settings("mine_a:Mine")).settings.revision == one
    assert fingerprint(settings("mine_b:Mine")) != one
    assert fingerprint(settings("mine_c:Mine")) == one
    (tmp_path / "weights.json").write_text("1")
    with_files = fingerprint(settings("mine_a:Mine", path=str(tmp_path)))
    assert with_files != one
    (tmp_path / "weights.json").write_text("2")
    assert fingerprint(settings("mine_a:Mine", path=str(tmp_path))) != with_files


def test_an_entry_point_names_a_class(modules: Path) -> None:
    (modules / "installed.py").write_text(MINE)
    about = modules / "installed-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bottega.oracles]\nhouse-style = installed:Mine\n")
    assert find_class("house-style").__module__ == "installed"
    with pytest.raises(ModelError, match="Did you mean 'house-style'"):
        find_class("house-stile")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("image_reward", "Did you mean 'image-reward'?"),
        ("qqqq", "Known: blip-itm, image-reward"),
        ("no_such_module:Mine", "No module named 'no_such_module'. Every machine of the job needs"),
        ("json:Mine", "has no attribute 'Mine'"),
        ("broken:Mine", "ZeroDivisionError"),
        (":Mine", "cannot be imported"),
        ("subprocess:Popen", "is no class with a method `score"),
        ("os:system", "is no class with a method `score"),
    ],
)
def test_a_class_that_is_not_there_is_refused(modules: Path, kind: str, said: str) -> None:
    (modules / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ModelError) as refused:
        find_class(kind)
    assert said in str(refused.value)


def test_image_reward_is_the_oracle_of_real_models() -> None:
    assert IMAGE_REWARD.kind == "image-reward"
    assert IMAGE_REWARD.path == "THUDM/ImageReward"

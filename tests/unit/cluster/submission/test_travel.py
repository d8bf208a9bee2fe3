"""What travels with a job, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.errors import NoInputError, SpecError
from cluster.submission import travel
from cluster.submission.travel import pack


def everything(_path: Path) -> bool:
    return True


def nothing(_path: Path) -> bool:
    return False


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a job's files, in which the command runs."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "prompts.csv").write_text("prompt\na red circle\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


def fields(**more: Any) -> dict[str, Any]:
    return {"input": "prompts.csv", "output": "s3://bucket/out", "models": "shapes", **more}


def packed(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "job.yaml").read_text()))


def test_a_small_input_travels_where_the_cluster_does_not_see_it(here: Path, there: Path) -> None:
    luggage = pack(fields(), here, there, nothing)
    assert packed(there) == fields(input="input/prompts.csv")
    assert (there / "input/prompts.csv").read_text() == "prompt\na red circle\n"
    assert luggage.names == ("input", "job.yaml")
    assert "kB" in str(luggage)


def test_where_the_cluster_sees_everything_paths_stay(here: Path, there: Path) -> None:
    pack(fields(output="out"), here, there, everything)
    assert packed(there) == fields(input=str(here / "prompts.csv"), output=str(here / "out"))
    assert [file.name for file in there.iterdir()] == ["job.yaml"]


def test_an_input_that_is_not_there_is_refused_where_that_can_be_seen(
    here: Path, there: Path
) -> None:
    """A folder that all nodes mount, and this machine does not, may have it."""
    mounted, elsewhere = here / "mounted", here / "elsewhere"
    mounted.mkdir()
    for sees in (everything, nothing, lambda path: path.is_relative_to(mounted)):
        with pytest.raises(NoInputError, match=r"no\.csv"):
            pack(fields(input=str(mounted / "no.csv")), here, there, sees)
    pack(
        fields(input=str(elsewhere / "no.csv")),
        here,
        there,
        lambda path: path.is_relative_to(elsewhere) or path.is_relative_to(there),
    )
    assert packed(there)["input"] == str(elsewhere / "no.csv")


def test_a_folder_of_prompts_travels_as_it_is(here: Path, there: Path) -> None:
    (here / "in/day").mkdir(parents=True)
    for name in ("a.csv", "day/b.csv"):
        (here / "in" / name).write_text("prompt\nx\n")
    pack(fields(input="in"), here, there, nothing)
    assert packed(there)["input"] == "input"
    assert (there / "input/day/b.csv").is_file()


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"output": "out"}, "output: 'out' is a folder of this machine"),
        (
            {"models": {"preset": "shapes", "student": {"path": "lcm"}}},
            "models.student.path: 'lcm'",
        ),
        ({"image_column": "image", "task": "edit"}, "image_column: 'image' names pictures"),
        ({"input": "large.csv"}, "input: 'large.csv' has 0 MB"),
    ],
)
def test_what_the_cluster_cannot_see_is_refused_with_what_to_do(
    more: dict[str, Any], error: str, here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "lcm").mkdir()
    (here / "large.csv").write_text("prompt\n" + "a red circle\n" * 200)
    monkeypatch.setattr(travel, "MOST_BYTES", 1000)
    with pytest.raises(SpecError) as refused:
        pack(fields(**more), here, there, nothing)
    assert error in str(refused.value)
    assert "--shared" in str(refused.value)


def test_a_hubs_id_and_a_path_in_an_options_mapping_stay_as_they_are(
    here: Path, there: Path
) -> None:
    models = {
        "preset": "shapes",
        "student": {"path": "stabilityai/sdxl-turbo"},
        "oracle": {"kind": "colours:Best", "options": {"path": "prompts.csv"}},
    }
    pack(fields(models=models), here, there, nothing)
    assert packed(there)["models"] == models


def test_the_module_of_an_own_oracle_travels_without_secrets(here: Path, there: Path) -> None:
    (here / "mine").mkdir()
    for name in ("__init__.py", "score.py", "table.csv", ".env", "api_secret.txt", "server.key"):
        (here / "mine" / name).write_text("x = 1\n")
    for folder in (".venv", "__pycache__"):
        (here / "mine" / folder).mkdir()
        (here / "mine" / folder / "module.py").write_text("")
    (here / "mine/outside.py").symlink_to("/etc/hostname")
    models = {"preset": "shapes", "oracle": {"kind": "mine.score:Best"}}
    pack(fields(models=models), here, there, nothing)
    names = {file.name for file in (there / "mine").rglob("*")}
    assert names == {"__init__.py", "score.py", "table.csv"}


@pytest.mark.parametrize("field", ["extra_scores", "filters"])
def test_the_modules_of_extra_scores_travel_too(here: Path, there: Path, field: str) -> None:
    (here / "mine.py").write_text("x = 1\n")
    bound = {"above": 0.5} if field == "filters" else {}
    oracle = {field: [{"column": "c", "kind": "mine:Best", **bound}]}
    pack(fields(models={"preset": "shapes", "oracle": oracle}), here, there, nothing)
    assert (there / "mine.py").is_file()


def test_an_installed_oracle_does_not_travel(here: Path, there: Path) -> None:
    for kind in ("json:JSONDecoder", "PIL.Image:Image", "not_there_at_all:X"):
        models = {"preset": "shapes", "oracle": {"kind": kind}}
        assert pack(fields(models=models), here, there, everything).names == ("job.yaml",)


def test_too_much_luggage_is_refused(
    here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mine.py").write_text("x = 1\n" * 1000)
    monkeypatch.setattr(travel, "MOST_BYTES", 1000)
    models = {"preset": "shapes", "oracle": {"kind": "mine:Best"}}
    with pytest.raises(SpecError, match=r"mine.py \(6.*kB\) would travel"):
        pack(fields(models=models), here, there, nothing)


def test_the_files_of_hooks_travel_and_its_places_are_the_clusters(here: Path, there: Path) -> None:
    (here / "tell.sh").write_text("#!/bin/sh\n")
    (here / "tell.sh").chmod(0o755)
    after = {
        "publish": {"to": "s3://bucket/public"},
        "retention": {"keep": 3, "of": "s3://bucket/{date}"},
        "on_success": ["./tell.sh", "done"],
        "on_failure": ["/usr/bin/mail", "me"],
    }
    luggage = pack(fields(after=after), here, there, nothing)
    assert packed(there)["after"] == {**after, "on_success": ["./hooks/tell.sh", "done"]}
    assert "hooks" in luggage.names
    assert (there / "hooks/tell.sh").stat().st_mode & 0o111
    pack(fields(after={**after, "publish": {"to": "public"}}), here, there, everything)
    assert packed(there)["after"]["on_success"] == [str(here / "tell.sh"), "done"]
    assert packed(there)["after"]["publish"] == {"to": str(here / "public")}


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"publish": {"to": "public"}}, "after.publish.to: 'public' is a folder of this machine"),
        ({"retention": {"keep": 1, "of": "o/{date}"}}, "after.retention.of: 'o/{date}' is a fol"),
        ({"on_failure": ["curl", "-K", "token.txt"]}, "'token.txt' is named like a secret"),
        ({"on_failure": ["sh", "a.sh", "b/a.sh"]}, "two files are called 'a.sh'"),
    ],
)
def test_what_follows_and_cannot_travel_is_refused(
    after: dict[str, Any], said: str, here: Path, there: Path
) -> None:
    (here / "token.txt").write_text("key")
    (here / "a.sh").write_text("one")
    (here / "b").mkdir()
    (here / "b/a.sh").write_text("another")
    with pytest.raises(SpecError) as caught:
        pack(fields(after=after), here, there, nothing)
    assert said in str(caught.value)

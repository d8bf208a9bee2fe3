"""What pipelines call: `bottega retention`, and jobs on a night without news."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import cli
from cluster.console import console
from tests.unit.jobs.local import FIELDS, local_job, run, write_prompts

Command = Callable[..., tuple[int, str, str]]
DATES = ("2026-11-21", "2026-11-22", "2026-11-23")


@pytest.fixture
def bottega(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Returns the exit code, and both streams. No cluster is there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("HOME", str(tmp_path))
    # What the command sets for its process is put back: the next test has other streams.
    monkeypatch.setattr(logging.getLogger("bottega"), "handlers", [])
    monkeypatch.setattr(console, "stderr", console.stderr)

    def command(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["bottega", *words])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return int(str(caught.value.code or 0)), out, err

    return command


def job_file(folder: Path, **fields: Any) -> None:
    job = {**FIELDS, "name": "faces", "input": "{date}.csv", "output": "out/{date}", **fields}
    (folder / "job.yaml").write_text(yaml.safe_dump(job))


def test_retention_shows_and_deletes_only_with_the_flag(bottega: Command, tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 6)
    for date in DATES:
        run(local_job(source, tmp_path / "out" / date, name="faces"))
    job_file(tmp_path, after={"retention": {"keep": 2}})
    code, shown, _ = bottega("retention", "job.yaml")
    assert code == 0
    assert f"{DATES[0]}: would go (not among the newest 2" in shown
    assert "2 stay; 1 would go" in shown
    assert "Nothing was deleted: add --delete." in shown
    found = json.loads(bottega("retention", "job.yaml", "--json")[1])
    assert [one["goes"] for one in found["outputs"]] == [False, False, True]
    assert len(list((tmp_path / "out").iterdir())) == 3
    code, shown, _ = bottega("retention", "job.yaml", "--delete")
    assert "2 stay; 1 was deleted" in shown
    assert [file.name for file in sorted((tmp_path / "out").iterdir())] == list(DATES[1:])
    assert "2 stay; none would go" in bottega("retention", "job.yaml")[1]


def test_a_job_file_without_retention_is_told_how_to_have_one(
    bottega: Command, tmp_path: Path
) -> None:
    job_file(tmp_path)
    code, _, said = bottega("retention", "job.yaml")
    assert (code, "names no retention. Add it" in said) == (2, True)
    job_file(tmp_path, output="out", after={"retention": {"keep": 2}})
    code, _, said = bottega("retention", "job.yaml")
    assert (code, "has no {date}" in said) == (2, True)


@pytest.mark.parametrize("verb", ["run", "submit"])
def test_a_night_without_news_ends_well_and_starts_nothing(
    verb: str, bottega: Command, tmp_path: Path
) -> None:
    hooks = {"on_success": ["touch", "told"], "on_failure": ["touch", "told"]}
    job_file(tmp_path, missing_input="skip", after=hooks)
    code, out, err = bottega(verb, "job.yaml", "--for", DATES[0])
    assert code == 0, err
    assert "nothing to do: input '2026-11-21.csv' does not exist" in out + err
    code, out, _ = bottega(verb, "job.yaml", "--for", DATES[0], "--json")
    found = json.loads(out)
    assert (found["state"], found["output"]) == ("succeeded", str(tmp_path / "out" / DATES[0]))
    assert found["id"].endswith("-2026-11-21")
    assert found["reason"].startswith("nothing to do")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "told").exists()


def test_without_the_field_it_fails_and_the_hook_is_called(
    bottega: Command, tmp_path: Path
) -> None:
    job_file(tmp_path, after={"on_failure": ["sh", "-c", "cat > told"]})
    code, _, err = bottega("run", "job.yaml", "--for", DATES[0])
    assert (code, "does not exist" in err) == (2, True)
    told = json.loads((tmp_path / "told").read_text())
    assert (told["state"], told["exit_code"], told["run_for"]) == ("failed", 2, DATES[0])
    assert "does not exist" in told["reason"]


def test_a_hook_that_is_no_list_of_words_is_told_how_to_be_one(
    bottega: Command, tmp_path: Path
) -> None:
    job_file(tmp_path, after={"on_success": "mail me | cat"})
    code, _, err = bottega("run", "job.yaml", "--for", DATES[0])
    assert code == 2
    assert "after.on_success: give the command as a list of words, as [./tell.sh, done]" in err

"""`bottega export` of datasets, and `bottega publish`, which asks before it sends anything."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import cli
from cluster.console import console, errors
from tests.unit.jobs import local

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def bottega(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Returns the exit code and all that was shown. Beside it lies a dataset, `out`."""
    job = local.local_job(local.write_prompts(tmp_path / "p.csv", 6), tmp_path / "out")
    local.run(job)
    monkeypatch.chdir(tmp_path)
    for shown in (console, errors):
        monkeypatch.setattr(shown, "width", 200)

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["bottega", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return int(str(caught.value.code or 0)), out + err

    return run


def test_a_dataset_is_exported_once(bottega: Run, tmp_path: Path) -> None:
    code, shown = bottega("export", "webdataset", "out", "web")
    assert code == 0
    assert "6 rows in 1 file," in shown
    assert "1 made now" in shown
    assert "0 made now" in bottega("export", "webdataset", "out", "web")[1]
    assert "6 rows in 1 file," in bottega("export", "metadata", "out", "meta")[1]
    assert {file.name for file in tmp_path.rglob("*-000000.*") if file.suffix != ".json"} == {
        *("data-000000.tar", "metadata-000000.parquet"),
    }


def test_nothing_is_published_unless_somebody_says_yes(bottega: Run, tmp_path: Path) -> None:
    code, shown = bottega("publish", "out", "public")
    assert code == 1
    assert "nothing was sent: nobody was asked. Add --yes." in shown
    assert "licence of the dataset: apache-2.0" in shown
    assert not (tmp_path / "public").exists()
    code, shown = bottega("publish", "out", "public", "--yes")
    assert (code, "published: 2 parts sent, 0 there already" in shown) == (0, True)
    assert "0 parts sent, 2 there" in bottega("publish", "out", "public", "--yes")[1]


@pytest.mark.parametrize(("answer", "sent"), [("n\n", False), ("y\n", True)])
def test_the_question_is_asked_where_somebody_can_answer(
    answer: str, sent: bool, bottega: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda _question, abort: _answer(answer))
    bottega("publish", "out", "public")
    assert (tmp_path / "public").exists() is sent


def _answer(text: str) -> None:
    if not text.startswith("y"):
        raise SystemExit(1)


def test_a_licence_that_was_chosen_is_the_cards(bottega: Run, tmp_path: Path) -> None:
    bottega("publish", "out", "public", "--yes", "--licence", "cc-by-4.0")
    text = (tmp_path / "public/README.md").read_text()
    assert "license: cc-by-4.0" in text
    assert "as chosen by the publisher" in text

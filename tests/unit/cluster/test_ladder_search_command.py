"""`bottega calibrate --search`: its table, its JSON, and the job file that it writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.cli import main
from jobs import load_spec
from jobs.execution import launch
from jobs.execution.resources import Resources
from tests.unit.jobs.local import LocalDispatcher, write_prompts

Bottega = Callable[..., int]


@pytest.fixture
def bottega(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Bottega:
    """The command in a folder with a job.yaml of 40 rows, carried out on the spot."""
    monkeypatch.chdir(tmp_path)
    write_prompts(tmp_path / "p.csv", 40)
    (tmp_path / "job.yaml").write_text(
        "name: mine\ninput: p.csv\noutput: out\nmodels: shapes\nbudget: {refine: 0.3}\nseed: 3\n"
        "draws: 2\nkeep: best\n"
    )

    @contextmanager
    def session(*_: object) -> Iterator[Resources]:
        yield Resources(cpus=4, gpus=0)

    monkeypatch.setattr("cluster.session.ray_session", session)
    monkeypatch.setattr(launch, "dispatcher_on_ray", lambda job, *_: LocalDispatcher(job))

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["bottega", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)

    return run


def test_a_search_prints_a_ladder_for_each_budget_and_writes_a_job_that_has_one(
    bottega: Bottega, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bottega("calibrate", "job.yaml", "--search", "--nfe", "5", "--write", "five.yaml") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "mine: the best ladders by 40 sampled rows" in shown
    assert "chosen on 20 sampled rows, and its figures are of the 20 others" in shown
    assert "not how much better they are" in shown
    written = load_spec("five.yaml")
    assert written.ladder is not None
    assert written.ladder[0].draw
    before = load_spec("job.yaml")
    kept = {"name", "input", "output", "models", "seed"}
    assert written.model_dump(include=kept) == before.model_dump(include=kept)
    assert Path("five.yaml").read_text().startswith("# `bottega calibrate --search --nfe 5` chose")


def test_the_json_has_the_same_and_the_ladders_as_a_job_file_has_them(
    bottega: Bottega, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("calibrate", "job.yaml", "--search", "--set", "budget={nfe: 4.5}", "--json")
    assert bottega(*command, "--write", "it.yaml") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["sampled_rows"], found["judged_by_rows"]) == (40, 20)
    budgets = [one["budget_nfe"] for one in found["ladders"]]
    assert budgets == [2.5, 3, 4, 4.5, 6, 8, 12, 16]
    (best,) = (one for one in found["ladders"] if one["budget_nfe"] == 4.5)
    assert set(best["score"]) == set(best["gain"]) == set(best["nfe"]) == {"mean", "low", "high"}
    written = load_spec("it.yaml").ladder
    assert written is not None
    assert best["ladder"] == [rung.model_dump(exclude_none=True) for rung in written]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--search", "--write", "new.yaml"], "--write: a job file has one ladder"),
        (["--search", "--nfe", "4", "--write", "job.yaml"], "'job.yaml' is there already"),
        (["--search", "--nfe", "4", "--write", "no/new.yaml"], "its folder is not there"),
        (["--search", "--threshold", "0.5"], "--threshold: a search finds its thresholds itself"),
        (["--nfe", "4"], "--judge and --write go with --search"),
        (["--judge", "brightness"], "--judge and --write go with --search"),
        (["--search", "--nfe", "4", "--gpu-seconds", "1"], "are two budgets. Leave one out"),
        (["--search", "--judge", "beauty"], "'beauty' is no column of models.oracle.extra_scores"),
        (
            ["--search", "--nfe", "1", "--write", "new.yaml"],
            "no ladder costs 1 network",
        ),
    ],
)
def test_a_mistake_is_a_sentence_and_nothing_is_written(
    options: list[str], said: str, bottega: Bottega, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("job.yaml").read_text()
    assert bottega("calibrate", "job.yaml", *options) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert Path("job.yaml").read_text() == before
    assert not Path("new.yaml").exists()


def test_a_job_that_asks_for_a_search_is_calibrated_by_one(
    bottega: Bottega, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ("--set", "ladder=search", "--set", "budget={nfe: 4.5}", "--set", "keep=teacher")
    assert bottega("calibrate", "job.yaml", *changes, "--json", "--write", "it.yaml") == 0
    found = json.loads(capsys.readouterr().out)
    assert 4.5 in [one["budget_nfe"] for one in found["ladders"]]
    written = load_spec("it.yaml")
    assert written.ladder
    assert written.search is None


def test_the_plan_of_such_a_job_says_what_the_search_will_draw(
    bottega: Bottega, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ("--set", "ladder=search", "--set", "budget={nfe: 14}", "--set", "keep=teacher")
    command = ("plan", "job.yaml", *changes, "--models", "timed", "--rows", "9000")
    assert bottega(*command) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "search: before the first part 256 rows are drawn 4 times" in shown
    assert "the best within 14 network evaluations a picture" in shown

"""What somebody meets who has just installed it."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from actors.errors import SpecError
from cluster.cli import main
from cluster.cli.options import spec_from
from jobs import load_spec
from jobs.spec.after import After


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bottega", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"bottega {version('bottega')}\n"


def test_init_writes_a_job_file_and_overwrites_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "faces.yaml"
    assert call(monkeypatch, "init", "shapes", str(file)) == 0
    assert load_spec(file).name == "faces"
    assert f"bottega run {file}" in capsys.readouterr().out.replace("\n", "")
    assert call(monkeypatch, "init", "shapes", str(file)) == 2
    assert "is there already" in capsys.readouterr().err
    assert call(monkeypatch, "init", "shapers", str(tmp_path / "x.yaml")) == 2
    assert "Valid names: " in capsys.readouterr().err


def test_no_models_is_no_small_models(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Real prompts were drawn with the embedded toys, without a word."""
    (tmp_path / "p.txt").write_text("a photo of a street in the rain\n")
    options = ("--prompts", str(tmp_path / "p.txt"), "--output", str(tmp_path / "out"))
    assert call(monkeypatch, "run", *options) == 2
    said = capsys.readouterr().err
    assert "give a job file, or --models. `bottega models` lists the models; `shapes`" in said
    assert not (tmp_path / "out").exists()


def test_a_pilot_has_a_folder_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("input: p.txt\noutput: out/{for}/\nmodels: timed\n")
    spec = spec_from(file, None, None, None, None, None, "monday", limit=100)
    assert (spec.limit, spec.output) == (100, "out/monday-pilot-100")
    spec = spec_from(file, None, None, None, "s3://bucket/x", None, limit=5)
    assert spec.output == "s3://bucket/x-pilot-5"
    spec = spec_from(file, None, None, None, None, None, "monday")
    assert (spec.limit, spec.output) == (None, "out/monday/")


def test_a_pilot_is_verified_and_nothing_else_follows_it(tmp_path: Path) -> None:
    """It was published in the dataset's place, and deleted outputs of the job for other dates."""
    file = tmp_path / "job.yaml"
    after = (
        "{verify: true, publish: {to: hf://datasets/a/b}, on_success: [./train.sh],"
        " retention: {keep: 2, delete: true}}"
    )
    file.write_text(f"input: p.txt\noutput: out/{{for}}\nmodels: timed\nafter: {after}\n")
    spec = spec_from(file, None, None, None, None, None, "2026-11-23", limit=100)
    assert spec.output == "out/2026-11-23-pilot-100"
    assert spec.after == After(verify=True)
    file.write_text(file.read_text() + "limit: 100\n")
    with pytest.raises(SpecError, match="limit: a pilot is not published"):
        spec_from(file, None, None, None, None, None, "2026-11-23")


def test_a_pilot_and_an_extension_contradict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call(monkeypatch, "run", "x.yaml", "--limit", "5", "--extend") == 2
    assert "--limit and --extend" in capsys.readouterr().err


def test_set_changes_a_field(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "job.yaml").write_text("input: p.txt\noutput: out\nmodels: timed\n")
    plan = ("plan", str(tmp_path / "job.yaml"), "--rows", "2000", "--gpus", "2")
    assert call(monkeypatch, *plan, "--set", "budget.refine=0", "--set", "name=cheap") == 0
    assert "cheap: 2,000 rows on 2" in capsys.readouterr().out
    assert call(monkeypatch, *plan, "--set", "budget.refin=0") == 2
    assert "budget.refin: unknown field" in capsys.readouterr().err


def test_the_version_in_the_environment_is_no_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A deployment may well name its own: `run` printed the version, and ended with 0."""
    for value in ("1", "0.1.0"):
        monkeypatch.setenv("BOTTEGA_VERSION", value)
        assert call(monkeypatch, "run", str(tmp_path / "nowhere.yaml")) == 2
        assert "cannot read the job file" in capsys.readouterr().err

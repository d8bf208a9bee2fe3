"""What the user sees of bad input: one sentence, exit code 2, and nothing started or written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.cli import main
from jobs.spec.byte_fields import without_places
from jobs.spec.job_spec import make_spec
from tests.unit.jobs.local import local_job, run, write_prompts

CASES = {
    "twice.csv": ("id,prompt\nx,a\ny,b\nx,c\n", "has 'x' in row 0 and in row 2"),
    "ragged.csv": ("id,prompt\nx,a\ny\n", "ragged.csv: the row that begins in line 3"),
    "broken.jsonl": ('{"id": "x", "prompt": "a"}\n{"id"', "broken.jsonl: line 2 is not JSON"),
    "empty.csv": ("", "empty.csv is empty"),
    "named.csv": ("id,prompt,image\nx,a,b\n", "the input has a column 'image'"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_before_anything_starts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content, said = CASES[name]
    (tmp_path / name).write_text(content)
    job = tmp_path / "job.yaml"
    job.write_text(
        f"input: {tmp_path / name}\nid_column: id\nmodels: shapes\noutput: {tmp_path}/out\n"
    )
    _refused(["run", str(job)], said, monkeypatch, capsys)
    assert not (tmp_path / "out").exists()


def test_an_output_inside_the_input_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.csv").write_text("prompt\na\n")
    options = [
        "run",
        "--prompts",
        str(tmp_path),
        "--models",
        "shapes",
        "--output",
        str(tmp_path / "out"),
    ]
    _refused(options, "lie one inside the other", monkeypatch, capsys)
    assert not (tmp_path / "out").exists()


def test_an_input_without_rows_is_refused_before_anything_is_calibrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.txt").touch()
    options = ["calibrate", "--models", "shapes", "--prompts", str(tmp_path / "p.txt")]
    _refused(options, "has no rows", monkeypatch, capsys)


def test_the_column_of_the_prompts_is_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is refused with the option is refused only after the column was found."""
    (tmp_path / "p.csv").write_text("Prompt,image\na red circle,b\n")
    options = [
        "run",
        "--prompts",
        str(tmp_path / "p.csv"),
        "--models",
        "shapes",
        "--output",
        str(tmp_path / "out"),
    ]
    _refused(options, "The columns there: Prompt, image", monkeypatch, capsys)
    named = [*options, "--prompt-column", "Prompt"]
    _refused(named, "the input has a column 'image'", monkeypatch, capsys)


def _refused(
    options: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The conftest makes a started Ray an error of its own."""
    monkeypatch.setattr(sys, "argv", ["bottega", *options])
    with pytest.raises(SystemExit) as caught:
        main()
    shown = capsys.readouterr()
    assert caught.value.code == 2, shown.err
    assert said in shown.err
    assert "Traceback" not in shown.err


EVIL = {"column": "c", "kind": "evil:Oracle"}


@pytest.mark.parametrize(
    "oracle",
    [
        {"kind": "evil:Oracle"},
        {"extra_scores": [EVIL]},
        {"filters": [{**EVIL, "above": 0.5}]},
    ],
)
def test_a_datasets_own_code_does_not_run_unasked(
    oracle: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its module is imported when its models are looked at: a dataset may name any."""
    job = local_job(write_prompts(tmp_path / "p.csv", 4), tmp_path / "out")
    run(job)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'RAN')!r}, 'w')\nclass Oracle: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("evil", None)
    file = tmp_path / "out/job.json"
    written = json.loads(file.read_text())
    fields = {"input": "-", "output": "-", "models": {"preset": "shapes", "oracle": oracle}}
    dumped = make_spec(fields).models.oracle.model_dump(mode="json", include=set(oracle))
    written["spec"]["models"]["oracle"] |= dumped
    written["identity"]["spec"]["models"]["oracle"] |= without_places(dumped)
    file.write_text(json.dumps(written))
    folder = str(tmp_path / "out")
    capsys.readouterr()  # what the job logged to another test's console
    _refused(["retry", folder], "names 'evil:Oracle' as its oracle", monkeypatch, capsys)
    assert not (tmp_path / "RAN").exists()
    _refused(["retry", folder, "--trust-code"], "evil:Oracle", monkeypatch, capsys)
    assert (tmp_path / "RAN").exists(), "the test would see it"

"""Every command of the README, and the Python below them, as a reader types them."""

from __future__ import annotations

import re
import shlex
from io import BytesIO
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from PIL import Image

from actors.models.shapes import verifier, world
from jobs.execution.progress import Progress
from jobs.resolution import Job
from tests.cluster.conftest import FIELDS, RunCommand, rows_of
from tests.cluster.test_command import job_file

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def readme_commands() -> list[str]:
    """Every `bottega` command with its arguments, once, in the README's order.

    Without those of a cluster, which tests/cluster/test_submit.py and its neighbours run.
    """
    before, _, rest = README.partition("## On a cluster")
    here = before + rest.partition("\n## ")[2]
    return list(dict.fromkeys(re.findall(r"(?:^\$ |`)(bottega \w+ [^`\n]+)", here, re.MULTILINE)))


@pytest.mark.timeout(900)
def test_every_command_of_the_readme_runs(
    done: tuple[Job, Progress],
    bottega_here: RunCommand,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a folder with a prompts.csv, the examples, a job.yaml and the dataset that it made."""
    job, _ = done
    (tmp_path / "prompts.csv").write_text("prompt\na small red circle on a gray background\n")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    job_file(tmp_path, input=job.spec.input, output="out", **FIELDS)
    copytree(job.output.path, tmp_path / "out")
    output = {}
    for command in readme_commands():
        end = bottega_here(*shlex.split(command)[1:], cwd=tmp_path)
        # Its last words first: pytest's summary shows one line.
        last = (end.stderr or end.stdout).strip().rpartition("\n")[2]
        assert end.returncode == 0, f"{command}: {last}\n{end.stdout}{end.stderr}"
        output[command] = end.stdout
    assert (
        "done: 1 row "
        in output["bottega run --prompts prompts.csv --models shapes --output out/mine"]
    )
    assert "(0 in this run" in output["bottega run job.yaml"]
    assert "(0 in this run" in output["bottega run job.yaml --extend"]
    table = output["bottega calibrate job.yaml"]
    assert "8 sampled rows" in table
    assert re.search(r"100% *\S* *inf *\S* *8\.0", table)  # 2 evaluations, and the teacher's 6
    assert "0 rows had failed" in output["bottega retry out/"]
    assert "all is well: 22 rows" in output["bottega verify out/"]
    assert (tmp_path / "out/sheet.png").is_file()
    for said in (
        "threshold: ",
        "% of all (95% interval)",
        "spent: ",
        "network evaluations a picture; rows took",
    ):
        assert said in output["bottega run examples/shapes.yaml"]
    look_at_the_demo(tmp_path / "out/shapes-demo")
    run_the_python_of_the_readme(tmp_path, monkeypatch)


def look_at_the_demo(folder: Path) -> None:
    """The captions are of the embedded world, and the verifier can read the pictures."""
    rows = rows_of(folder)
    refined = [row for row in rows if row["source"] == "teacher"]
    again = [row for row in rows if row["attempts"] > 1]
    assert 0.15 < len(again) / len(rows) < 0.5
    assert 0 < len(refined) < len(again)
    assert sum(row["nfe"] for row in rows) <= 4 * len(rows), "the ladder is named by that"
    before = sum(right(row["student_image"], row["prompt"]) for row in refined)
    after = sum(right(row["image"], row["prompt"]) for row in refined)
    assert after >= before, "few are left for the teacher"
    assert sum(right(row["image"], row["prompt"]) for row in rows) > 0.85 * len(rows), (
        "the student alone is right on 3 in 4"
    )


def right(image: dict[str, Any], prompt: str) -> bool:
    """Whether every part of the caption holds, by looking at the pixels."""
    picture = np.asarray(Image.open(BytesIO(image["bytes"])))
    return bool(verifier.verify(picture, world.parse(prompt)).right)


def run_the_python_of_the_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`show` would open a window."""
    shown: list[Image.Image] = []
    monkeypatch.setattr(Image.Image, "show", lambda picture: shown.append(picture))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
    monkeypatch.chdir(folder)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})
    (picture,) = shown
    first = rows_of(folder / "out/shapes-demo")[0]["image"]
    assert np.array_equal(np.asarray(picture), np.asarray(Image.open(BytesIO(first["bytes"]))))

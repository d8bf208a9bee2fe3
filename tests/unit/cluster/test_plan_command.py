"""`bottega plan`: what it prints, for people and for programs. No Ray, and nothing on the disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster import cli
from cluster.console import console

QUICK = ["--models", "timed-sdxs", "--rows", "3000", "--refine", "0.3"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Returns the exit code, and what was written to both streams."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "width", 160)

    def plan(*options: str) -> tuple[int, str, str]:
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["bottega", "plan", *options])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        assert sorted(tmp_path.rglob("*")) == before, "a plan writes nothing"
        return int(str(caught.value.code or 0)), shown.out, shown.err

    return plan


def test_a_plan_says_everything_that_a_person_asks(run: Any) -> None:
    code, out, _ = run(*QUICK, "--gpus", "4")
    assert code == 0
    for words in [
        "3,000 rows on 4 A100-80G, 30% of them refined", "this job", "the teacher alone",
        "calibration: 256 rows drawn before", "refines 24.9% to 35.6% of all rows",
        "before the first part begins", "pool sizes", "other budgets", "of teacher alone",
        "PRICES ARE EXAMPLE VALUES", "dataset: about 1.75 GB in 4 files of about 438 MB",
        "816 rows a file (for files of about 480 MB: 51 batches of 16)", "png, level 6 (this job)",
        "webp, lossless", "core-hours to encode",
    ]:  # fmt: skip
        assert words in out, out
    first_words = [line.split()[0] for line in out.splitlines() if line.strip()]
    assert [word for word in first_words if word in {"0%", "50%", "100%"}] == ["0%", "50%", "100%"]


def test_the_json_has_the_same_and_adds_up(run: Any, tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text("gpu,per_hour\nA100-80G,3\n")
    code, out, _ = run(*QUICK, "--gpus", "4", "--json", "--prices", str(prices))
    assert code == 0
    found = json.loads(out)
    plan, alone = found["plan"], found["teacher_only"]
    assert not found["prices_are_examples"]
    assert found["sample_size"] == 256
    assert found["refined_interval"] == pytest.approx([0.249, 0.356], abs=0.001)
    assert plan["gpu_hours"]["A100-80G"] == pytest.approx(4 * plan["wall_seconds"] / 3600)
    assert plan["cost"] == pytest.approx(3 * plan["gpu_hours"]["A100-80G"])
    assert plan["wall_seconds"] < alone["wall_seconds"]
    dataset = found["dataset"]
    assert (dataset["files"], dataset["rows_per_part"]) == (4, 816)
    assert dataset["bytes"] == dataset["formats"][0]["bytes"]
    assert len(dataset["formats"]) == 8
    assert [budget["refine"] for budget in found["budgets"]] == [n / 10 for n in range(11)]
    assert set(plan["pools"][0]["sizes"]) == {"student", "oracle", "teacher"}


def test_a_deadline_finds_the_gpus(run: Any) -> None:
    code, out, _ = run(*QUICK, "--deadline", "6m")
    assert code == 0
    assert "the fewest GPUs that end within 6 min 0 s" in out


def test_a_job_file_is_planned_with_its_own_fields(run: Any, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        "name: mine\ninput: prompts.csv\noutput: out\nmodels: timed-sdxs\nbudget: {refine: 0.5}\n"
    )
    (tmp_path / "prompts.csv").write_text("prompt\n" + "a picture\n" * 300)
    code, out, _ = run("job.yaml", "--gpus", "2")
    assert code == 0
    assert "mine: 300 rows on 2 A100-80G" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--models", "shapes", "--rows", "10"], "how long do these models take?"),
        (["--models", "timed"], "give a job file, or --prompts"),
        ([*QUICK, "--gpus", "many"], "--gpus 'many': give a number"),
        ([*QUICK, "--gpus", "H100=8"], "how long the student takes on 'H100' is not known"),
        ([*QUICK, "--deadline", "soon"], "--deadline 'soon' is no time"),
        ([*QUICK, "--deadline", "1m", "--gpus", "A100-80G=2"], "even 2 GPUs take"),
        ([*QUICK, "--deadline", "1h", "--gpus", "A100-80G=2,L4=2"], "GPUs of one type"),
        ([*QUICK, "--prices", "none.csv"], "none.csv' cannot be read"),
        ([*QUICK, "--profile", "none.csv"], "none.csv' cannot be read"),
        ([*QUICK, "--measured", "none"], "has no job.json"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(options: list[str], said: str, run: Any) -> None:
    code, out, err = run(*options)
    assert (code, out) == (2, "")
    assert said in err.replace("\n", " ")

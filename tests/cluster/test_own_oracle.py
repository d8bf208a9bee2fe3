"""An oracle of the user's own, named in the job file, on the workers of a real Ray."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from actors.models.presets import PRESETS
from examples.colorfulness import Colorfulness
from jobs.execution.progress import Progress
from jobs.output.verify import verify
from jobs.resolution import Job
from tests.cluster.conftest import CAPTIONS, FAST, FIELDS, RunCommand, RunJob, rows_of
from tests.cluster.test_command import ROOT, job_file


def test_a_class_of_ones_own_decides_and_a_changed_one_is_another_job(
    bottega_here: RunCommand, modules: Path, tmp_path: Path
) -> None:
    module = modules / "colorfulness.py"
    module.write_bytes((ROOT / "examples/colorfulness.py").read_bytes())
    (tmp_path / "prompts.txt").write_text("\n".join(CAPTIONS[:8]) + "\n")
    out = tmp_path / "out"
    kind = {"kind": "colorfulness:Colorfulness", "options": {"mean_weight": 0.5}}
    file = job_file(
        tmp_path,
        input=str(tmp_path / "prompts.txt"),
        output=str(out),
        budget={"refine": 0.5},
        save_student=True,
        models={**FAST["models"], "oracle": {**kind, "batch_size": 4}},
    )
    ran = bottega_here("run", file)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = rows_of(out)
    pictures = [row["student_image"] or row["image"] for row in rows]
    drawn = np.stack([np.asarray(Image.open(BytesIO(one["bytes"]))) for one in pictures])
    scores = Colorfulness(mean_weight=0.5).score([], drawn)
    expected = [float(np.float32(score)) for score in scores]  # as the column has them
    assert [row["student_score"] for row in rows] == expected
    least = sorted(expected)[:4]
    assert [row["source"] == "teacher" for row in rows] == [one in least for one in expected]
    module.write_text(module.read_text() + "\n# changed\n")
    again = bottega_here("run", file)
    assert again.returncode == 2, again.stdout + again.stderr
    assert "model_files.oracle: was" in again.stdout + again.stderr


def test_scores_that_decide_nothing_are_columns_and_change_nothing_else(
    done: tuple[Job, Progress], run_here: RunJob, modules: Path, tmp_path: Path
) -> None:
    """The job of `done`, with two oracles in place of one, and with extra scores: every other
    column is the same, and each row has the scores of the picture that it ends with."""
    module = modules / "colours.py"
    module.write_bytes((ROOT / "examples/colorfulness.py").read_bytes())
    oracle = {
        **FAST["models"]["oracle"],
        "extra_scores": [{"column": "colours", "kind": "colours:Colorfulness"}],
        "filters": [{"column": "fits", "path": PRESETS["shapes"].oracle.path, "below": 0.0}],
    }
    before, _ = done
    job, _ = run_here(
        input=before.spec.input,
        output=str(tmp_path / "out"),
        models={**FAST["models"], "oracle": oracle},
        pools={**FAST["pools"], "oracle": {"size": 2}},
        **FIELDS,
    )
    rows, ours = rows_of(tmp_path / "out"), ("colours", "fits", "fits_flagged")
    drawn = [np.asarray(Image.open(BytesIO(row["image"]["bytes"]))) for row in rows]
    colours = Colorfulness().score([], np.stack(drawn))
    assert [row["colours"] for row in rows] == [float(np.float32(one)) for one in colours]
    for row in rows:
        # The embedded oracle, asked once more.
        assert row["fits"] == row[f"{row['source']}_score"]
        assert row["fits_flagged"] is (row["fits"] < 0)
    others = [{name: row[name] for name in row if name not in ours} for row in rows]
    assert others == rows_of(before.output.path)
    assert not list(verify(job.output))

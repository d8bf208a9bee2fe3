"""An oracle of the user's own, named in the job file, on the workers of a real Ray."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from examples.colorfulness import Colorfulness
from tests.cluster.conftest import CAPTIONS, FAST, RunCommand, rows_of
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

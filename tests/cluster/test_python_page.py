"""docs/python.md, run from its first block to its last, in one process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cluster.conftest import CAPTIONS, FAST, rows_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/python.md").read_text(encoding="utf-8")


@pytest.mark.timeout(400)
def test_every_block_of_the_python_page_runs(tmp_path: Path) -> None:
    """In a folder with twelve prompts and a job file."""
    (tmp_path / "prompts.csv").write_text("\n".join(["prompt", *CAPTIONS[:12]]) + "\n")
    job = {**FAST, "input": "prompts.csv", "output": "out"}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    end = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=380,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert end.returncode == 0, end.stdout + end.stderr
    lines = end.stdout.splitlines()
    rows = rows_of(tmp_path / "out/from-python")
    assert len(rows) == 12
    for said in (
        "the teacher alone: ", "refine 100%: threshold inf", "of 12 rows, ", "12 rows, 0 failed",
        "0 rows still fail", "12 of 12 rows in 2 of 2 parts", "0 part-00000000.parquet ",
        f"{rows[0]['prompt']} {rows[0]['source']} ", "sheet.png", "to be mended: ",
    ):  # fmt: skip
        assert any(said in line for line in lines), f"{said!r} is not in\n{end.stdout}"

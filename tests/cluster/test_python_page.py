"""docs/python.md, run from its first block to its last."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import yaml

from tests.cluster.conftest import CAPTIONS, FAST, rows_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/python.md").read_text(encoding="utf-8")


def test_every_block_of_the_python_page_runs(
    sessions_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with sixteen prompts and a job file, with names that no other test has set."""
    (tmp_path / "prompts.csv").write_text("\n".join(["prompt", *CAPTIONS[:16]]) + "\n")
    job = {**FAST, "input": "prompts.csv", "output": "out"}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    with redirect_stdout(StringIO()) as shown:
        exec("\n".join(blocks), {})
    lines = shown.getvalue().splitlines()
    rows = rows_of(tmp_path / "out/from-python")
    assert len(rows) == 16
    for said in (
        "the teacher alone: ", "refine 100%: threshold inf", "of 16 rows, ", "16 rows, 0 failed",
        "at most 5 evaluations: mean score ",
        "0 rows still fail", "16 of 16 rows in 1 of 1 parts", "/data/00000/part-00000000.parquet ",
        f"{rows[0]['prompt']} {rows[0]['source']} ", "sheet.png", "to be mended: ",
    ):  # fmt: skip
        assert any(said in line for line in lines), f"{said!r} is not in\n{shown.getvalue()}"

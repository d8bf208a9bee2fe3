"""Pools that grow and shrink on a real Ray with pretended GPUs: the same bytes at all sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.output.folder import OutputFolder
from jobs.output.verify import verify
from tests.cluster.conftest import hashes

ROOT = Path(__file__).parents[2]
NUM_ROWS = 640


def job_file(folder: Path, name: str, speed: float, **fields: Any) -> Path:
    """Stand-ins, so many times as fast as real; few rows are rejected, then most."""
    own = {"batch_size": 4, "width": 64, "height": 64}
    fast = {"load_seconds": 18.0 / speed, "speed": speed}
    job = {
        "input": str(folder / "prompts.parquet"),
        "output": str(folder / name),
        "models": {
            "preset": "timed",
            "student": {"timed": fast, **own},
            "oracle": {"timed": {**fast, "rejected": [[0, 0.05], [320, 0.75]]}, "batch_size": 4},
            "teacher": {"timed": fast, **own},
        },
        "seed_column": "row",
        "budget": {"threshold": 0.5},
        "rows_per_part": 64,
        "save_student": True,
        **fields,
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(job))
    return file


@pytest.mark.timeout(400)
def test_pools_grow_and_shrink_and_change_no_byte(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"prompt": [f"picture {n}" for n in range(NUM_ROWS)], "row": range(NUM_ROWS)}),
        tmp_path / "prompts.parquet",
    )
    fixed = {"student": {"size": 1}, "oracle": {"size": 1}, "teacher": {"size": 2}}
    half = {"gpus_per_actor": 0.5}
    # Only the balanced one needs time to see that a move pays.
    files = [
        job_file(tmp_path, "fixed", speed=60, pools=fixed),
        job_file(tmp_path, "balanced", speed=6),
        job_file(tmp_path, "halves", speed=60, pools=dict.fromkeys(fixed, half)),
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.cluster.pretend", "4", *map(str, files)],
        cwd=ROOT, capture_output=True, text=True, timeout=380, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr[-4000:]
    expected = hashes(tmp_path / "fixed")
    assert len(expected) == NUM_ROWS // 64
    for name in ("balanced", "halves"):
        assert hashes(tmp_path / name) == expected, name
        assert list(verify(OutputFolder(tmp_path / name))) == []
    timeline = timeline_of(tmp_path / "balanced")
    students = [entry["sizes"]["student"] for entry in timeline]
    teachers = [entry["sizes"]["teacher"] for entry in timeline]
    assert max(teachers) > teachers[0], ran.stderr[-4000:]
    assert min(students) < max(students)
    assert all(entry["reason"] and entry["time"] for entry in timeline)
    assert sum(timeline_of(tmp_path / "halves")[0]["sizes"].values()) == 8, "two on each GPU"
    assert [entry["sizes"] for entry in timeline_of(tmp_path / "fixed")] == [
        {"student": 1, "oracle": 1, "teacher": 2}
    ]


def timeline_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "timeline.jsonl").read_text().splitlines()]

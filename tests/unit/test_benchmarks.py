"""What benchmarks give to Ray's workers, which do not have the benchmarks' folder on their path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

DUMP = """
import sys, timed_jobs
from ray import cloudpickle
sys.stdout.buffer.write(cloudpickle.dumps(timed_jobs._start_for_files))
"""
LOAD = "import pickle, sys; print(pickle.load(sys.stdin.buffer).__name__)"


def test_a_function_for_workers_travels_whole() -> None:
    dumped = subprocess.run(
        [sys.executable, "-c", DUMP], cwd=BENCHMARKS, capture_output=True, check=True
    ).stdout
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD], cwd="/", input=dumped, capture_output=True
    )
    assert loaded.stdout.decode().strip() == "_start_for_files", loaded.stderr.decode()

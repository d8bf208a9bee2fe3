"""A small job right after another: with actors that stayed warm, and without.

python -m benchmarks.warm_pools [ROWS [stand-ins | embedded]]

Each of two jobs runs three times on one Ray with pretended GPUs: first, after itself with
`keep_warm`, and after itself without. The stand-ins load for 30 s, which is chosen; the
embedded pipelines are real, and compute on cores. Prints the seconds of each whole command, with
the start of its process, and checks that the datasets are the same to the byte.
"""

from __future__ import annotations

import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from ray.cluster_utils import Cluster

ROWS = 200
BOTTEGA = Path(sys.executable).parent / "bottega"
RUNS = {"first": "10m", "warm": None, "cold": None}
"""By name, how long the actors stay after it; in this order."""

SMALL = {"batch_size": 8, "width": 64, "height": 64, "steps": 1, "guidance_scale": 1.0}


def _timed(seconds: float) -> dict[str, Any]:
    return {"timed": {"seconds": {8: seconds}, "load_seconds": 30.0}}


JOBS: dict[str, dict[str, Any]] = {
    "stand-ins": {
        "models": {
            "student": {**_timed(0.2), **SMALL},
            "oracle": {**_timed(0.02), "batch_size": 8},
            "teacher": {**_timed(0.8), **SMALL},
        },
        "budget": {"threshold": 0.5},
        "pools": {"device": "gpu"},
    },
    "embedded": {
        "models": {"preset": "shapes"},
        "budget": {"refine": 0.1},
        "pools": {"device": "cpu"},
    },
}


def _run(folder: Path, kind: str, name: str, address: str, rows: int) -> tuple[float, str]:
    """Seconds of the command, and the hash of its data files."""
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(f"a small red circle left of ring {n}\n" for n in range(rows)))
    job = {**JOBS[kind], "input": str(prompts), "output": str(folder / kind / name)}
    job["pools"] = {**job["pools"], "keep_warm": RUNS[name]}
    file = folder / f"{kind}-{name}.yaml"
    file.write_text(yaml.safe_dump(job))
    began = time.monotonic()
    subprocess.run([BOTTEGA, "run", file, "--address", address], check=True, capture_output=True)
    seconds = time.monotonic() - began
    data = sorted((folder / kind / name / "data").rglob("*.parquet"))
    return seconds, sha256(b"".join(part.read_bytes() for part in data)).hexdigest()


def main() -> int:
    """See above."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    head = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    same = True
    try:
        cluster.add_node(num_cpus=3, num_gpus=2)
        with TemporaryDirectory() as place:
            for kind in sys.argv[2:] or JOBS:
                found = {
                    name: _run(Path(place), kind, name, cluster.address, rows) for name in RUNS
                }
                same = same and len({hashed for _, hashed in found.values()}) == 1
                shown = ", ".join(f"{name} {seconds:.1f} s" for name, (seconds, _) in found.items())
                print(f"{kind}, {rows} rows: {shown}", flush=True)
    finally:
        cluster.shutdown()
    print("the datasets are the same to the byte" if same else "the datasets differ")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())

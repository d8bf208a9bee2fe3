"""A Ray whose autoscaler starts pretended nodes here, two jobs submitted to it, who was there when.

Run by test_autoscaling.py in namespaces of its own: an end of the process ends every node.

    python -m tests.cluster.autoscaled FOLDER

writes one JSON object to FOLDER/found.json: `nodes`, a list of [seconds, students, teachers];
`ended`, when the jobs had; by job `codes`, the exit code of `bottega wait`, and `timelines`, as the
jobs wrote them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

HEAD = "f" * 51 + "00000"
"""The name by which Ray's pretending provider knows the head."""

RAY_FOLDER = "/dev/shm/ray"
"""A short name, as sockets need; and gone with the namespace."""

GONE_AFTER_SECONDS = 90.0
ROWS, HALF = 480, 240
MOST = {"student": 2, "teacher": 4}
"""Nodes of the cluster."""

DASHBOARD = "http://127.0.0.1:8265"

REJECTED = {
    "late": [[0, 0.02], [HALF, 0.9]],
    "early": [[0, 0.9], [HALF, 0.02]],
}
"""By job, the rejected fraction from a row on: one job needs teachers when the other does not."""

MOST_OF_A_JOB = {"student": 1, "teacher": 3}
"""Actors. Together more teachers than the cluster has nodes for."""


def cluster_config() -> dict[str, Any]:
    """Two node types as in ray_config.yaml; a teacher's node comes when it is asked for."""
    nothing: list[str] = []
    commands = ("initialization", "setup", "head_setup", "worker_setup")
    starts = ("head_start_ray", "worker_start_ray")
    types = {
        name: {
            "resources": {"CPU": 4, "GPU": 1},
            "labels": {"bottega-pool": name},
            "node_config": {},
            "min_workers": int(name == "student"),
            "max_workers": most,
        }
        for name, most in MOST.items()
    }
    head = {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0}
    return {
        "cluster_name": "pretended",
        "max_workers": 8,
        "idle_timeout_minutes": 0.05,
        "upscaling_speed": 10.0,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": "127.0.0.1:6379",
            "head_node_id": HEAD,
            "launch_multiple": True,
        },
        "available_node_types": {"ray.head.default": head, **types},
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": nothing,
        **{f"{name}_commands": nothing for name in (*commands, *starts)},
    }


def start_head(folder: Path) -> None:
    """Start the head, with a token."""
    token = folder / "token"
    token.write_text("0" * 64)
    token.chmod(0o600)
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    # A submitted job finds `bottega` as its head does.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    config = folder / "cluster.yaml"
    config.write_text(yaml.safe_dump(cluster_config()))
    subprocess.run(
        [
            *(Path(sys.executable).with_name("ray"), "start", "--head", "--port=6379"),
            *(f"--autoscaling-config={config}", "--node-ip-address=127.0.0.1"),
            *("--num-cpus=2", "--num-gpus=0", "--include-dashboard=true", "--disable-usage-stats"),
            *("--object-store-memory=200000000", f"--temp-dir={RAY_FOLDER}"),
            # As a Ray that Bottega starts: else each file has a process of its own (session.py).
            '--system-config={"idle_worker_killing_time_threshold_ms": 60000}',
        ],
        env=os.environ
        | {
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        },
        check=True,
        stdout=sys.stderr,
    )


def job_file(folder: Path, name: str) -> Path:
    """The job of a name in REJECTED."""
    rows = range(ROWS)
    table = pa.table({"prompt": [f"prompt {row}" for row in rows], "number": list(rows)})
    pq.write_table(table, folder / "prompts.parquet")
    small = {"steps": 1, "guidance_scale": 1.0, "batch_size": 8, "width": 8, "height": 8}
    fast = {"load_seconds": 0.5}
    job = {
        "name": name,
        "input": str(folder / "prompts.parquet"),
        "output": str(folder / name),
        "seed_column": "number",
        "rows_per_part": 64,
        "budget": {"threshold": 0.5},
        "models": {
            "student": {**small, "timed": {"seconds": {8: 0.25}, **fast}},
            "oracle": {
                "batch_size": 8,
                "timed": {"seconds": {8: 0.01}, "rejected": REJECTED[name], **fast},
            },
            "teacher": {**small, "timed": {"seconds": {8: 0.8}, **fast}},
        },
        "pools": {"grow": True, **{n: {"max_size": most} for n, most in MOST_OF_A_JOB.items()}},
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(job))
    return file


def bottega(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    return subprocess.run(
        [Path(sys.executable).with_name("bottega"), *words, "--address", DASHBOARD],
        stdout=subprocess.PIPE, stderr=sys.stderr, text=True, check=False,
    )  # fmt: skip


def main() -> None:
    """See above."""
    folder = Path(sys.argv[1])
    start_head(folder)
    from cluster.session import ray_session  # reads the environment that the head has set

    begin, seen, over = monotonic(), list[list[float]](), Event()

    def watch() -> None:
        import ray

        while not over.wait(0.5):
            labels = [n["Labels"].get("bottega-pool") for n in ray.nodes() if n["Alive"]]
            count = Counter(labels)
            seen.append([monotonic() - begin, count["student"], count["teacher"]])

    with ray_session("127.0.0.1:6379"):
        watching = Thread(target=watch)
        watching.start()
        submitted = {
            name: bottega("submit", job_file(folder, name), "--shared", folder).stdout.strip()
            for name in REJECTED
        }
        codes = {name: bottega("wait", job).returncode for name, job in submitted.items()}
        ended = monotonic() - begin
        while seen[-1][2] and monotonic() - begin < ended + GONE_AFTER_SECONDS:
            over.wait(0.5)
        over.set()
        watching.join()
    timelines = {
        name: [json.loads(line) for line in (folder / name / "timeline.jsonl").open()]
        for name in submitted
    }
    found = {"nodes": seen, "ended": ended, "codes": codes, "timelines": timelines}
    (folder / "found.json").write_text(json.dumps(found))  # Ray itself writes to stdout


if __name__ == "__main__":
    main()

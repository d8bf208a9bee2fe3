"""The bytes that go through the driver's node: `python -m benchmarks.driver_node`.

A head without GPUs, where the driver runs, and three nodes with one each, all on this machine, each
with an object store of its own. The same job is run three times: into a folder that only the
driver's node may write to (`output_shared: false`), into the same kind of folder with nothing said
(each node sees it, and so writes there), and with `output_shared: true`. The bytes are Ray's own
count of what each node received from the others and sent to them; the bound is what a driver needs
to know: nothing of a picture.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any
from urllib.request import urlopen

import ray
from ray.cluster_utils import Cluster

from benchmarks.timed_jobs import Case
from jobs.execution.launch import dispatcher_on_ray
from jobs.execution.resources import Resources
from jobs.execution.run import run_job
from jobs.resolution import resolve
from jobs.spec.job_spec import make_spec
from tests.servers.object_store import free_port

NODES = 3
STORE_BYTES = 500_000_000
REPORT_SECONDS = 12.0
"""Ray's agents tell their metrics every few seconds."""
BYTES = re.compile(r'^ray_object_manager_bytes\{.*Type="(Received|PushedFromLocal\w+)".*\} (\S+)$')


class Nodes:
    """The cluster; the first node is the driver's."""

    def __init__(self) -> None:
        self.ports = [free_port() for _ in range(NODES + 1)]
        common: dict[str, Any] = {"object_store_memory": STORE_BYTES}
        self.cluster: Any = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 2, "metrics_export_port": self.ports[0], "include_dashboard": False,
                **common,
            },
        )  # fmt: skip
        for port in self.ports[1:]:
            self.cluster.add_node(num_cpus=4, num_gpus=1, metrics_export_port=port, **common)
        ray.init(address=self.cluster.address, log_to_driver=False)

    def bytes_moved(self) -> list[float]:
        """Of each node, received and sent, since it started."""
        sleep(REPORT_SECONDS)
        moved = []
        for port in self.ports:
            with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                lines = answer.read().decode().splitlines()
            moved.append(sum(float(found[2]) for line in lines if (found := BYTES.match(line))))
        return moved

    def stop(self) -> None:
        """End every process."""
        ray.shutdown()
        self.cluster.shutdown()


def measure(nodes: Nodes, shared: bool | None, rows: int, side: int) -> None:
    """Run the job once, and print a line."""
    case = Case(name="driver-node", models="timed", gpus=NODES, rows=rows, side=side,
                rows_per_part=256)  # fmt: skip
    with TemporaryDirectory(prefix="bottega-") as folder:
        fields = case.job(Path(folder)).spec.model_dump(mode="json", exclude_unset=True)
        job = resolve(make_spec({**fields, "output_shared": shared, "png_level": 0}))
        before, start = nodes.bytes_moved(), monotonic()
        run_job(job, lambda _: dispatcher_on_ray(job, Resources.of_ray()))
        seconds = monotonic() - start
        moved = [now - then for now, then in zip(nodes.bytes_moved(), before, strict=True)]
        parts = job.output.storage.entries("data")
        size = sum(entry.size for entry in parts)
    said = "nothing said" if shared is None else f"output_shared: {str(shared).lower()}"
    each = ", ".join(f"{bytes_ / 1e6:.1f}" for bytes_ in moved[1:])
    print(
        f"{said:22} {size / 1e6:7.1f} MB in {len(parts)} parts, {seconds:5.1f} s; through the "
        f"driver's node {moved[0] / 1e6:7.1f} MB ({moved[0] / size:.1%}); the others {each} MB",
        flush=True,
    )


def main() -> None:
    """Measure, and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--side", type=int, default=512, help="pixels of a picture's side")
    arguments = parser.parse_args()
    nodes = Nodes()
    try:
        for shared in (False, None, True):
            measure(nodes, shared, arguments.rows, arguments.side)
    finally:
        nodes.stop()


if __name__ == "__main__":
    main()

"""Kill actors, nodes and drivers while an embedded job runs, again and again; compare every byte.

    python -m tests.chaos --seconds 600 --seed 1
    python -m tests.chaos --seconds 600 --on-object-store

One job runs without faults. Then the same job runs in trials, each into a folder of its own, on a
Ray of three nodes; at moments and in an order that follow from the trial's seed, an actor's
process, a whole node or the driver gets SIGKILL. A killed driver is started again with the same
command. At the end of a trial every part must have the bytes of the run without faults.

On an object store the server gets SIGKILL too, in the midst of requests, and comes back.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any

import psutil
import yaml
from ray.cluster_utils import Cluster

from cluster.session import IDLE_WORKER_SECONDS
from jobs.storage.storage_at import storage_at
from tests.servers.object_store import ObjectStoreServer

ROOT = Path(__file__).parents[2]
BOTTEGA = [sys.executable, "-c", "from cluster.cli import main; main()"]

JOB: dict[str, Any] = {
    "input": str(ROOT / "examples/prompts.parquet"),
    "models": {
        "preset": "shapes",
        "student": {"batch_size": 4},
        "oracle": {"batch_size": 4},
        "teacher": {"batch_size": 4},
    },
    "teacher_steps": 3,
    # A fixed threshold: a calibration that lost rows would choose another.
    "budget": {"threshold": 0.2},
    "save_student": True,
    "rows_per_part": 16,
    "seed": 7,
    # No row is to blame here, however often its actor dies.
    "max_attempts": 20,
    "max_failed": 0.0,
}

KINDS = ("actor", "node", "driver")
SERVER = "server"
"""A further one, on an object store."""
ACTORS = tuple(
    f"ray::{kind}{role}" for kind in ("", "Timed") for role in ("Student", "Oracle", "Teacher")
)
MOST_KILLS = 6
"""In one trial; then nothing more dies. Chosen: each kind twice on average."""

PAUSE_SECONDS = (0.5, 6.0)
"""Between two kills. Chosen: shorter and longer than an actor's load of some seconds."""

POLL_SECONDS = 0.05
"""Between two looks at a driver. Chosen: a fraction of the time from one part to the next."""

LONGEST_SECONDS = 500.0
"""A trial that takes longer has failed. Chosen: many times a run without faults."""

AS_ON_LARGE_CLUSTERS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
    "max_direct_call_object_size": 4096,
    "idle_worker_killing_time_threshold_ms": int(1000 * IDLE_WORKER_SECONDS),
}
"""Ray notices a dead node within seconds, and the node takes its actors' outputs with it. By
default Ray sends objects of up to 100 kB, such as our small pictures, to the driver, where no node
could lose them. The processes of file tasks stay, as where some cores are free.
"""


@dataclass(frozen=True)
class Bucket:
    """Where trials on an object store write to."""

    server: ObjectStoreServer
    url: str

    def num_dangling(self) -> int:
        """Uploads that were begun and never ended: of killed drivers and nodes."""
        client: Any = self.server.client()
        found = client.list_multipart_uploads(Bucket=self.url.partition("://")[2])
        return len(found.get("Uploads", []))


@dataclass
class Trial:
    """The result of one trial. `differing`: parts that are missing or have other bytes."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    parts: int = 0
    differing: list[str] = field(default_factory=list)
    seconds: float = 0.0
    problem: str = ""
    """The driver's last output, if it failed."""

    @property
    def good(self) -> bool:
        """Whether every part has the bytes of the run without faults."""
        return not self.differing and not self.problem


class Nodes:
    """A Ray on this machine with a head, where the driver lives, and two nodes that may die."""

    def __init__(self) -> None:
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 1,
                "include_dashboard": False,
                "_system_config": AS_ON_LARGE_CLUSTERS,
            },
        )
        self.mortal = [self._add(), self._add()]

    def _add(self) -> Any:
        return self.cluster.add_node(num_cpus=2)

    def actors(self) -> list[psutil.Process]:
        """The processes of our actors, by pid."""
        found = []
        for node in [self.cluster.head_node, *self.mortal]:
            raylet = node.all_processes["raylet"][0].process.pid
            for child in psutil.Process(raylet).children():
                if _is_actor(child):
                    found.append(child)
        return sorted(found, key=lambda process: process.pid)

    def kill_node(self, rng: Random) -> None:
        """Kill a node with everything on it; another one joins."""
        node = self.mortal.pop(rng.randrange(len(self.mortal)))
        self.cluster.remove_node(node, allow_graceful=False)
        self.mortal.append(self._add())

    def stop(self) -> None:
        """End every process."""
        self.cluster.shutdown()


def _is_actor(process: psutil.Process) -> bool:
    """Ray names a worker's process by its task: `ray::Student.draw`."""
    try:
        return " ".join(process.cmdline()).startswith(ACTORS)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def nodes() -> Iterator[Nodes]:
    """A Ray for the trials."""
    made = Nodes()
    try:
        yield made
    finally:
        made.stop()


def start(
    job_file: Path,
    output: Path | str,
    address: str,
    name: str = "",
    bottega: Sequence[str] = BOTTEGA,
) -> subprocess.Popen[str]:
    """Start a driver as a user does; its output goes to a file of its `name`."""
    command = [*bottega, "run", str(job_file), "--output", str(output), "-v", "--address", address]
    with log_of(job_file, output, name).open("a") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, text=True)


def log_of(job_file: Path, output: Path | str, name: str = "") -> Path:
    """Where a driver's output goes: beside the job file, whose folder is on this machine."""
    return job_file.with_name(f"{str(output).rpartition('/')[2]}{name}.log")


def hashes(output: Path | str) -> dict[str, str]:
    """The parts of a dataset, by content."""
    storage = storage_at(output)
    return {
        entry.path.rpartition("/")[2]: sha256(storage.get(entry.path)).hexdigest()
        for entry in storage.entries("data")
    }


def num_parts(output: Path | str) -> int:
    """The parts of a dataset, by now."""
    return len(storage_at(output).entries("data"))


def run_without_faults(folder: Path, here: Nodes, **fields: Any) -> dict[str, str]:
    """The parts, by content, that every trial must end with. fields: as for `write_job`."""
    output, job_file = folder / "faultless", write_job(folder, **fields)
    driver = start(job_file, output, here.cluster.address)
    if driver.wait(timeout=LONGEST_SECONDS) != 0:
        raise RuntimeError(log_of(job_file, output).read_text())
    return hashes(output)


def write_job(folder: Path, **fields: Any) -> Path:
    """The job file of every run; fields replace those of JOB."""
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump({**JOB, **fields}))
    return file


def trial(
    seed: int,
    folder: Path,
    here: Nodes,
    faultless: dict[str, str],
    kills: Sequence[str] = (),
    on: Bucket | None = None,
    **fields: Any,
) -> Trial:
    """Run the job with kills; `fields` are as for `write_job`.

    kills: what to kill, in this order, each as soon as one more part is written. By default the
    seed decides what dies, and when. on: where the output is, instead of in the folder.
    """
    rng, result, begin = Random(seed), Trial(seed), monotonic()
    name, job_file = f"trial-{seed}", write_job(folder, **fields)
    output = f"{on.url}/{name}" if on else str(folder / name)
    kinds = (*KINDS, SERVER) if on else KINDS
    plan = list(kills) or [rng.choice(kinds) for _ in range(MOST_KILLS)]
    next_kill = begin + rng.uniform(*PAUSE_SECONDS)

    def is_due() -> bool:
        if not plan or (plan[0] == "actor" and not here.actors()):
            return False
        return num_parts(output) > result.parts if kills else monotonic() > next_kill

    driver = start(job_file, output, here.cluster.address)
    while (code := driver.poll()) in (None, -signal.SIGKILL):
        if code is not None:
            driver = start(job_file, output, here.cluster.address)
        elif monotonic() - begin > LONGEST_SECONDS:
            driver.kill()
            result.problem = f"not done after {LONGEST_SECONDS:.0f} s"
            break
        elif is_due():
            result.parts = num_parts(output)
            kind = plan.pop(0)
            if on and kind == SERVER:
                on.server.kill_and_restart()
            else:
                KILL[kind](here, driver, rng)
            result.kills[kind] += 1
            next_kill = monotonic() + rng.uniform(*PAUSE_SECONDS)
        sleep(POLL_SECONDS)
    if code:
        result.problem = log_of(job_file, output).read_text()[-2000:]
    ended = hashes(output)
    result.parts = len(ended)
    result.differing = sorted(dict(ended.items() ^ faultless.items()))
    result.seconds = monotonic() - begin
    return result


def _kill_actor(here: Nodes, _driver: subprocess.Popen[str], rng: Random) -> None:
    if actors := here.actors():
        os.kill(rng.choice(actors).pid, signal.SIGKILL)


def _kill_node(here: Nodes, _driver: subprocess.Popen[str], rng: Random) -> None:
    here.kill_node(rng)


def _kill_driver(_here: Nodes, driver: subprocess.Popen[str], _rng: Random) -> None:
    driver.kill()


KILL: dict[str, Callable[[Nodes, subprocess.Popen[str], Random], None]] = {
    "actor": _kill_actor,
    "node": _kill_node,
    "driver": _kill_driver,
}


def report(trials: list[Trial]) -> dict[str, Any]:
    """The figures of all trials."""
    kills: Counter[str] = sum((t.kills for t in trials), Counter())
    return {
        "runs": len(trials),
        "kills": dict(kills),
        "parts": sum(t.parts for t in trials),
        "parts_that_differ": sum(len(t.differing) for t in trials),
        "bad_seeds": [t.seed for t in trials if not t.good],
        "seconds": round(sum(t.seconds for t in trials)),
    }


def summary(result: Trial) -> str:
    """A trial in one line."""
    kills = ", ".join(f"{n} {kind}s" for kind, n in sorted(result.kills.items())) or "nothing"
    end = "same bytes" if result.good else f"DIFFERS {result.differing} {result.problem}"
    return (
        f"seed {result.seed}: killed {kills}; {result.parts} parts, {end}, {result.seconds:.0f} s"
    )


def many(
    seconds: float, first_seed: int, folder: Path, on: Bucket | None = None, **fields: Any
) -> dict[str, Any]:
    """Run trials for this many seconds, and return their figures. fields: as for `write_job`."""
    trials: list[Trial] = []
    begin = monotonic()
    with nodes() as here:
        faultless = run_without_faults(folder, here, **fields)
        while monotonic() - begin < seconds:
            seed = first_seed + len(trials)
            trials.append(trial(seed, folder, here, faultless, on=on, **fields))
            print(summary(trials[-1]), flush=True)
    figures = report(trials)
    if on is not None:
        figures["dangling_uploads"] = on.num_dangling()
    print(json.dumps(figures), flush=True)
    return figures

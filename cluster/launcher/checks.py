"""What is wrong with a cluster's file before a cloud bill says so. Pure: a file and facts in,
findings out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from cluster.launcher.finding import Finding, error, warning
from cluster.launcher.node_types import HOMES, POOL_LABEL, Cluster
from jobs import JobSpec

TOKEN_FILE = ".ray/auth_token"

ENCODING_CORES = 4
"""Cores for each GPU that encode pictures: what a plan counts with (docs/plan.md)."""

HEAD_CORES = 2
"""The fewest of a head: one for the driver, one for Ray's processes and the Jobs API."""

OPEN_FILES = 65_536
"""Ray has a connection and more for each worker process: its documentation names this number."""

RGB_BYTES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the checks have to know beside the file.

    `token_mode`: of ~/.ray/auth_token here, None where it is missing. `versions`: of Ray and Python
    here. `shared`: folders that every node mounts.
    """

    token_mode: int | None
    ray_version: str
    python: tuple[int, int]
    shared: tuple[str, ...] = ()


def check_cluster(cluster: Cluster, facts: Facts, job: JobSpec | None = None) -> list[Finding]:
    """Everything that is wrong with a file that Ray's schema accepts; errors first."""
    found = [finding for check in CHECKS for finding in check(cluster, facts)]
    if job is not None:
        found += [finding for of_job in JOB_CHECKS for finding in of_job(cluster, facts, job)]
    return sorted(found, key=lambda finding: finding.severity)


# ---- the file by itself


def check_token(cluster: Cluster, facts: Facts) -> Iterator[Finding]:
    """Ray takes no work without a token, and every node has it."""
    for where in ("head", "worker"):
        for command in cluster.starts(where):
            if not re.search(r"RAY_AUTH_MODE=['\"]?token", command):
                yield error(
                    "token",
                    f"{where}_start_ray_commands start Ray without RAY_AUTH_MODE=token: whoever "
                    "reaches a port of it runs code. Put it before `ray start`.",
                )
    mounts = cluster.config.get("file_mounts") or {}
    if not any(str(target).endswith(TOKEN_FILE) for target in mounts):
        yield error(
            "token",
            f"file_mounts bring no ~/{TOKEN_FILE} to the nodes, and Ray does not start without "
            "it. Add `/home/ray/.ray/auth_token: ~/.ray/auth_token`.",
        )
    if facts.token_mode is None:
        yield error(
            "token",
            f"there is no ~/{TOKEN_FILE} here. Make it once: `ray get-auth-token --generate && "
            f"chmod 600 ~/{TOKEN_FILE}`.",
        )
    elif facts.token_mode & 0o077:
        yield error(
            "token",
            f"~/{TOKEN_FILE} can be read by others (mode {facts.token_mode:04o}), and whoever has "
            f"it runs code as you: `chmod 600 ~/{TOKEN_FILE}`.",
        )


def check_dashboard(cluster: Cluster, _: Facts) -> Iterator[Finding]:
    """The dashboard, with the Jobs API, stays on the loopback interface."""
    for command in cluster.starts("head"):
        found = re.search(r"--dashboard-host[= ]['\"]?([^\s'\"]+)", command)
        if found and found[1] not in ("127.0.0.1", "localhost", "::1"):
            yield error(
                "dashboard",
                f"--dashboard-host={found[1]} opens the Jobs API to the network. Leave it at "
                "127.0.0.1: `ray dashboard FILE` makes a tunnel to it.",
            )


def check_labels(cluster: Cluster, _: Facts) -> Iterator[Finding]:
    """Each node with GPUs is one that some pool asks for."""
    labelled = [node for node in cluster.workers if POOL_LABEL in node.labels]
    for node in labelled:
        if node.labels[POOL_LABEL] not in HOMES:
            hint = (
                "the oracle's actors go to the nodes of the student"
                if node.labels[POOL_LABEL] == "oracle"
                else "the pools are student and teacher"
            )
            yield error(
                "labels",
                f"no pool asks for nodes with {POOL_LABEL}: {node.labels[POOL_LABEL]} (of type "
                f"{node.name!r}): {hint}. They would idle.",
            )
    homes = {node.labels[POOL_LABEL] for node in labelled}
    if set(HOMES) <= homes:
        for node in cluster.workers:
            if node.gpus and POOL_LABEL not in node.labels:
                yield warning(
                    "labels",
                    f"the nodes of type {node.name!r} have GPUs and no label {POOL_LABEL}, and "
                    "every pool has nodes of its own: they would idle.",
                )
    if cluster.head.gpus:
        yield warning(
            "labels",
            f"the head ({cluster.head.name!r}) has {cluster.head.gpus:g} GPUs: it lives as long as "
            "the cluster, and so do they. Set its GPU to 0, or choose a type without.",
        )


def check_cores(cluster: Cluster, _: Facts) -> Iterator[Finding]:
    """Pictures are encoded on cores, of the head and of the other nodes."""
    if cluster.head.cores < HEAD_CORES:
        yield error(
            "head",
            f"the head has {cluster.head.cores:g} cores, and the driver and Ray's own processes "
            f"need {HEAD_CORES}.",
        )
    gpus = sum(node.most * node.gpus for node in cluster.workers)
    cores = cluster.head.cores + sum(node.most * node.cores for node in cluster.workers)
    needed = ENCODING_CORES * gpus
    # An actor keeps a core busy beside its GPU.
    there = cores - gpus
    if gpus and there < needed:
        yield warning(
            "head",
            f"{there:g} cores are left to encode the pictures of {gpus:g} GPUs, and a plan counts "
            f"{needed:g} ({ENCODING_CORES} for each): GPUs would wait for PNGs. Take nodes with "
            f"more cores, or a head with {needed - there:g} more; or `image_format: jpeg`.",
        )


def check_limits(cluster: Cluster, _: Facts) -> Iterator[Finding]:
    """The limits of the file agree with each other, and those of the nodes are raised."""
    most = sum(node.most for node in cluster.workers)
    if most > cluster.max_workers:
        yield warning(
            "limits",
            f"the node types allow {most} workers together, and max_workers allows "
            f"{cluster.max_workers}: not all of them can be there at once.",
        )
    for node in cluster.workers:
        if node.least > node.most:
            yield error("limits", f"{node.name!r}: min_workers is more than max_workers.")
    for where in ("head", "worker"):
        for command in cluster.starts(where):
            found = re.search(r"ulimit -n (\d+)", command)
            if not found or int(found[1]) < OPEN_FILES:
                yield warning(
                    "limits",
                    f"{where}_start_ray_commands do not raise the limit of open files: put `ulimit "
                    f"-n {OPEN_FILES};` before `ray start`.",
                )
    if cluster.config.get("idle_timeout_minutes") in (None, 0):
        yield warning(
            "limits", "idle_timeout_minutes is not set: who pays for nodes that nobody uses?"
        )


def check_spot_head(cluster: Cluster, _: Facts) -> Iterator[Finding]:
    """The driver is on the head: a head that goes takes the run with it."""
    text = str(cluster.head.node_config).lower()
    if any(word in text for word in ("'spot", "preemptible': true", "priority': 'low")):
        yield warning(
            "head",
            "the head is a spot machine, and the driver goes with it: the job then has to be "
            "submitted again. Take spot machines for workers.",
        )


def check_versions(cluster: Cluster, facts: Facts) -> Iterator[Finding]:
    """Driver and cluster have the same Ray, and the same Python."""
    docker = cluster.config.get("docker") or {}
    for name in ("image", "head_image", "worker_image"):
        image = str(docker.get(name) or "")
        found = re.search(r"rayproject/ray(?:-ml)?:(\d+\.\d+\.\d+)(?:-py(\d)(\d+))?", image)
        if found and found[1] != facts.ray_version:
            yield error(
                "versions",
                f"docker.{name} has Ray {found[1]}, and here it is {facts.ray_version}: Ray "
                "refuses to connect different versions.",
            )
        if found and found[2] and (int(found[2]), int(found[3])) < (3, 11):
            yield error(
                "versions", f"docker.{name} has Python {found[2]}.{found[3]}; 3.11 is needed."
            )


def check_store(cluster: Cluster, _: Facts) -> Iterator[Finding]:
    """The object store is in memory."""
    docker = cluster.config.get("docker") or {}
    options = " ".join(map(str, docker.get("run_options") or []))
    if docker.get("disable_shm_size_detection") and "--shm-size" not in options:
        yield error(
            "object store",
            "docker.disable_shm_size_detection without --shm-size in run_options: the container "
            "has 64 MB of shared memory, and Ray's object store would be on the disk.",
        )


# ---- with a job


def check_job_labels(cluster: Cluster, _: Facts, job: JobSpec) -> Iterator[Finding]:
    """Every pool finds nodes with the labels that it asks for."""
    for name, pool in job.pools.by_name.items():
        wanted = pool.node_label.items()
        if wanted and not any(wanted <= dict(node.labels).items() for node in cluster.workers):
            shown = ", ".join(f"{key}: {value}" for key, value in wanted)
            yield error(
                "labels",
                f"pools.{name}.node_label asks for nodes with {shown}, and no type has that: the "
                "job would wait for its place until place_timeout_seconds are over.",
            )


def check_job_sizes(cluster: Cluster, _: Facts, job: JobSpec) -> Iterator[Finding]:
    """The job asks for no more nodes than there can be."""
    for name in HOMES:
        pool = job.pools.by_name[name]
        wanted = pool.size or pool.max_size
        own = [n for n in cluster.workers if n.labels.get(POOL_LABEL, name) == name and n.gpus]
        share = pool.gpus_per_actor or 1.0
        there = sum(node.most * node.gpus for node in own) / min(share, 1.0)
        if wanted and own and wanted > there:
            yield warning(
                "limits",
                f"pools.{name} asks for up to {wanted} actors, and the file allows GPUs for "
                f"{there:g}: raise max_workers of {own[0].name!r}.",
            )
    if job.pools.device != "cpu" and not any(node.gpus for node in cluster.workers):
        yield error("limits", "no type of worker has a GPU, and the job's models are for GPUs.")


def check_job_store(cluster: Cluster, _: Facts, job: JobSpec) -> Iterator[Finding]:
    """The object stores whose sizes are known have room for two parts."""
    student = job.models.student
    width, height = student.width, student.height
    if not (width and height):
        return
    part = job.part_rows * job.draws * width * height * RGB_BYTES
    for node in cluster.workers:
        store = node.object_store_bytes
        if store is not None and store < 2 * part:
            yield warning(
                "object store",
                f"{node.name!r} has an object store of {store / 1e9:.3g} GB, and the pictures "
                f"of one part take {part / 1e9:.3g} (rows_per_part {job.part_rows}): it would "
                f"draw in small pieces. Give {2 * part / 1e9:.3g} GB, or fewer rows_per_part.",
            )


def check_job_storage(cluster: Cluster, facts: Facts, job: JobSpec) -> Iterator[Finding]:
    """Input and output are where every node sees them."""
    for name, path in (("output", job.output), ("input", job.input)):
        if "://" in path or any(_is_below(path, folder) for folder in facts.shared):
            continue
        severity = error if name == "output" else warning
        yield severity(
            "shared storage",
            f"{name}: {path!r} is a folder of one node, and tasks on any node write parts. "
            "Give a URL of an object store, or a folder that every node mounts at this place, "
            "named with --shared.",
        )


def _is_below(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(PurePosixPath(folder))


Check = Callable[[Cluster, Facts], Iterator[Finding]]
JobCheck = Callable[[Cluster, Facts, JobSpec], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    check_token,
    check_dashboard,
    check_labels,
    check_cores,
    check_limits,
    check_spot_head,
    check_versions,
    check_store,
)
JOB_CHECKS: tuple[JobCheck, ...] = (
    check_job_labels,
    check_job_sizes,
    check_job_store,
    check_job_storage,
)

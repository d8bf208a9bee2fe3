"""The RayJob of a job: its cluster, how it starts, when it is given up, and what it leaves."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from actors.errors import SpecError
from cluster.kubernetes.names import MOST_RAY_JOB, check_name
from cluster.kubernetes.worker_groups import CORES, HEAD_GIB, WorkerGroup
from jobs import JobSpec

JOB_FOLDER = "/etc/bottega"
JOB_FILE = "job.yaml"

JOB_LABEL = "bottega/job"
"""The label of a RayJob with the job's id, for `kubectl get rayjobs -l`."""

BACKOFF_LIMIT = 3
"""A retry is a resume: it costs the start of a cluster and the parts that were open. Chosen: three
lost heads in one job are an accident, a fourth is a fault that a person should see."""

TTL_SECONDS = 600
"""For which the cluster stays after the job, for who wants to read its logs."""

LATE = 3.0
"""A job is given up after so many times its plan, and what it may wait for its places. Chosen: spot
nodes that come and go double a job's time; a job that takes three times as long is not well."""

SPOT_TOLERATIONS = (
    {"key": "cloud.google.com/gke-spot", "value": "true", "effect": "NoSchedule"},
    {"key": "kubernetes.azure.com/scalesetpriority", "value": "spot", "effect": "NoSchedule"},
)
"""The taints of spot nodes on GKE and AKS; those of EKS have none."""

GPU_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


@dataclass(frozen=True, slots=True)
class Claim:
    """A PersistentVolumeClaim that every pod mounts."""

    name: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the cluster's owner decides. `secrets`: names of Secrets that become environment
    variables. `node_labels`: by worker group, of the nodes that its pods may use."""

    image: str
    namespace: str | None = None
    secrets: tuple[str, ...] = ()
    claim: Claim | None = None
    spot: bool = False
    node_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ray_version: str = ""


def claim_from(text: str | None) -> Claim | None:
    """`NAME:/path` as a claim. Raises SpecError."""
    if text is None:
        return None
    name, colon, path = text.partition(":")
    if not colon or not path.startswith("/"):
        raise SpecError(f"--claim {text!r}: give a claim and where it is mounted, as data:/data.")
    return Claim(check_name(name, "--claim"), path.rstrip("/") or "/")


def check_reachable(paths: Mapping[str, str], claim: Claim | None) -> None:
    """Refuse an input or output that no pod would see. Raises SpecError.

    paths: by the field's name.
    """
    for name, path in paths.items():
        if "://" in path or (claim and (path + "/").startswith(claim.path.rstrip("/") + "/")):
            continue
        where = f"below {claim.path!r}, where --claim is mounted" if claim else "on a volume"
        raise SpecError(
            f"{name}: {path!r} is a path of this machine, which no pod sees. Give a URL of an "
            f"object store, or a path {where} (--claim NAME:/path mounts one)."
        )


def check_hooks(spec: JobSpec) -> None:
    """Refuse a hook whose words name a file of this machine: only the job file goes into the
    cluster. Raises SpecError."""
    for name in ("on_success", "on_failure"):
        for word in getattr(spec.after, name) or ():
            if not Path(word).is_absolute() and Path(word).is_file():
                raise SpecError(
                    f"after.{name}: {word!r} is a file of this machine, which no pod has. Put it "
                    "into the image, and give its absolute path there."
                )


def deadline_seconds(planned_seconds: float, place_timeout_seconds: float) -> int:
    """When a job is given up, in whole minutes."""
    return 60 * ceil((LATE * planned_seconds + place_timeout_seconds) / 60)


def metadata(name: str, wishes: Wishes, **labels: str) -> dict[str, Any]:
    """The metadata of an object of this job."""
    found: dict[str, Any] = {"name": name}
    if wishes.namespace:
        found["namespace"] = wishes.namespace
    found["labels"] = {"app.kubernetes.io/name": "bottega", **labels}
    return found


def config_map(name: str, job_file: str, wishes: Wishes) -> dict[str, Any]:
    """The ConfigMap that carries the job file, as it was written."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(name, wishes),
        "data": {JOB_FILE: job_file},
    }


def ray_job(
    job: str,
    groups: list[WorkerGroup],
    wishes: Wishes,
    *,
    config: str,
    run_for: str = "",
    deadline: int | None = None,
) -> dict[str, Any]:
    """The RayJob of a job. `job`: its id. `config`: the name of its ConfigMap."""
    words = ["bottega", "run", f"{JOB_FOLDER}/{JOB_FILE}", "--address", "auto"]
    words += ["--log-format", "json", *(["--for", run_for] if run_for else [])]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": metadata(
            check_name(job, "the job's id", MOST_RAY_JOB), wishes, **{JOB_LABEL: job}
        ),
        "spec": {
            "entrypoint": shlex.join(words),
            "jobId": job,
            "backoffLimit": BACKOFF_LIMIT,
            **({"activeDeadlineSeconds": deadline} if deadline else {}),
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": TTL_SECONDS,
            "rayClusterSpec": _cluster(groups, wishes, config),
        },
    }


def _cluster(groups: list[WorkerGroup], wishes: Wishes, config: str) -> dict[str, Any]:
    grows = any(group.least < group.most for group in groups)
    scaling = {"autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": 300}} if grows else {}
    return {
        **({"rayVersion": wishes.ray_version} if wishes.ray_version else {}),
        # KubeRay makes the token: without one whoever reaches a port of Ray runs code.
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": grows,
        **scaling,
        "headGroupSpec": {
            # The driver's work, and no actor's: the head has no GPU.
            "rayStartParams": {"dashboard-host": "0.0.0.0", "num-gpus": "0"},
            "template": _pod("ray-head", wishes, config, CORES, HEAD_GIB, 0, {}),
        },
        "workerGroupSpecs": [
            {
                "groupName": group.name,
                **({"labels": dict(group.labels)} if group.labels else {}),
                "replicas": group.least,
                "minReplicas": group.least,
                "maxReplicas": group.most,
                "rayStartParams": {},
                "template": _pod(
                    "ray-worker",
                    wishes,
                    config,
                    group.cores,
                    group.memory_gib,
                    group.gpus,
                    wishes.node_labels.get(group.name, {}),
                ),
            }
            for group in groups
        ],
    }


def _pod(
    container: str,
    wishes: Wishes,
    config: str,
    cores: int,
    memory_gib: int,
    gpus: int,
    node_labels: Mapping[str, str],
) -> dict[str, Any]:
    # Requests are limits: Ray plans with a pod's limits, and what is not reserved is not there.
    resources: dict[str, Any] = {"cpu": str(cores), "memory": f"{memory_gib}Gi"}
    if gpus:
        resources["nvidia.com/gpu"] = str(gpus)
    mounts = [{"name": "job", "mountPath": JOB_FOLDER, "readOnly": True}]
    volumes: list[dict[str, Any]] = [{"name": "job", "configMap": {"name": config}}]
    if wishes.claim:
        mounts.append({"name": "data", "mountPath": wishes.claim.path})
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": wishes.claim.name}})
    spot = list(SPOT_TOLERATIONS) if wishes.spot and container == "ray-worker" else []
    tolerations = [*([GPU_TOLERATION] if gpus else []), *spot]
    return {
        "spec": {
            "containers": [
                {
                    "name": container,
                    "image": wishes.image,
                    "resources": {"requests": dict(resources), "limits": dict(resources)},
                    "envFrom": [{"secretRef": {"name": name}} for name in wishes.secrets],
                    "volumeMounts": mounts,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
            "volumes": volumes,
            **({"tolerations": tolerations} if tolerations else {}),
            **({"nodeSelector": dict(node_labels)} if node_labels else {}),
        }
    }

"""The CronJob that creates a RayJob for each date, and what it is allowed to do.

A RayCronJob (alpha in KubeRay 1.7) has no concurrency policy, so that runs could overlap. A plain
CronJob has one; its Job lasts until the RayJob has ended, and ends as that did. The RayJob's name
is the job's id for the date (`cluster.kubernetes.dated`): whoever comes second for a date finds it
there, and waits for it instead of paying twice.
"""

from __future__ import annotations

from typing import Any

from cluster.kubernetes.names import MOST_CRON_JOB, check_name
from cluster.kubernetes.ray_job import JOB_FOLDER, Wishes, config_map, metadata
from cluster.kubernetes.to_yaml import to_yaml

KUBECTL_IMAGE = "alpine/kubectl:1.34.1"
"""An image with kubectl and a shell; `--kubectl-image` names another."""

RAY_JOB_FILE = "rayjob.yaml"
MANIFEST = f"/manifest/{RAY_JOB_FILE}"

START_SECONDS = 3600
"""A run that cannot start within an hour of its time is left out."""

KEPT_RUNS = 14
"""Ended Jobs of the CronJob that stay for a look, of each kind: two weeks of nights."""

WATCH_TRIES = 3
"""The pod that waits for a RayJob may be evicted so often; the next one finds the RayJob there."""

SCRIPT = f"""\
set -eu
kubectl create -f {MANIFEST} || kubectl get -f {MANIFEST} -o name
while true; do
  status=$(kubectl get -f {MANIFEST} -o 'jsonpath={{.status.jobDeploymentStatus}}')
  case "$status" in
    Complete) break ;;
    Failed|ValidationFailed) echo "the RayJob: $status" >&2; exit 1 ;;
  esac
  sleep "$POLL_SECONDS"
done
result=$(kubectl get -f {MANIFEST} -o 'jsonpath={{.status.jobStatus}}')
echo "the RayJob: $result"
test "$result" = SUCCEEDED
"""
"""Create the RayJob, or find it; wait for its end; end as it did."""


def cron_job(
    name: str,
    job_file: str,
    ray_job: dict[str, Any],
    wishes: Wishes,
    *,
    schedule: str,
    time_zone: str,
    kubectl_image: str = KUBECTL_IMAGE,
) -> list[dict[str, Any]]:
    """The objects of a CronJob that runs a job again and again.

    ray_job: of any date; `cluster.kubernetes.dated` makes that of the day from it. schedule: five
    fields of cron, in `time_zone`.
    """
    check_name(name, "the CronJob", MOST_CRON_JOB)
    config = config_map(name, job_file, wishes)
    config["data"][RAY_JOB_FILE] = to_yaml([ray_job])
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata(name, wishes),
        "rules": [
            {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get"]},
        ],
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(name, wishes),
    }
    subject: dict[str, Any] = {"kind": "ServiceAccount", "name": name}
    if wishes.namespace:
        subject["namespace"] = wishes.namespace
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata(name, wishes),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [subject],
    }
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(name, wishes),
        "spec": {
            "schedule": schedule,
            "timeZone": time_zone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": START_SECONDS,
            "successfulJobsHistoryLimit": KEPT_RUNS,
            "failedJobsHistoryLimit": KEPT_RUNS,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": WATCH_TRIES,
                    "template": {"spec": _pod(name, wishes, time_zone, kubectl_image)},
                }
            },
        },
    }
    return [config, account, role, binding, cron]


def _pod(name: str, wishes: Wishes, time_zone: str, kubectl_image: str) -> dict[str, Any]:
    manifest = {"name": "manifest", "mountPath": "/manifest"}
    small = {"cpu": "100m", "memory": "256Mi"}
    common = {
        "resources": {"requests": small, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "serviceAccountName": name,
        "restartPolicy": "Never",
        "initContainers": [
            {
                "name": "date",
                "image": wishes.image,
                "command": ["python", "-m", "cluster.kubernetes.dated", JOB_FOLDER, MANIFEST],
                "env": [
                    # Of the Job, whose name Kubernetes makes of the time that the run is for.
                    {
                        "name": "JOB_NAME",
                        "valueFrom": {
                            "fieldRef": {
                                "fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"
                            }
                        },
                    },
                    {"name": "TIME_ZONE", "value": time_zone},
                ],
                "volumeMounts": [
                    {"name": "job", "mountPath": JOB_FOLDER, "readOnly": True},
                    manifest,
                ],
                **common,
            }
        ],
        "containers": [
            {
                "name": "run",
                "image": kubectl_image,
                "command": ["sh", "-c", SCRIPT],
                "env": [{"name": "POLL_SECONDS", "value": "15"}],
                "volumeMounts": [manifest],
                **common,
            }
        ],
        "volumes": [
            {"name": "job", "configMap": {"name": name}},
            {"name": "manifest", "emptyDir": {}},
        ],
    }

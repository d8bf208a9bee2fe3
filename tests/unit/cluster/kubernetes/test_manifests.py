"""The objects are what Kubernetes and KubeRay take, and what the job needs. Nothing runs here."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from actors.errors import SpecError
from actors.models.presets import CATALOGUE, WEIGHTS_GB
from cluster import cli
from cluster.kubernetes.names import MOST_CRON_JOB, MOST_RAY_JOB, cron_name
from cluster.kubernetes.ray_job import deadline_seconds
from cluster.kubernetes.worker_groups import worker_groups
from jobs import make_spec
from jobs.job_id import job_id
from jobs.scaling.initial_sizes import HOMES, POOL_LABEL

SCHEMA = Path(__file__).parents[3] / "data/kuberay/rayjob-v1.schema.json"
KUBERNETES = "1.34"

GROWING = {"grow": True, "student": {"max_size": 2}, "teacher": {"min_size": 1, "max_size": 6}}
JOB: dict[str, Any] = {
    "name": "Faces, by night",
    "input": "/data/prompts/{date}.parquet",
    "output": "/data/faces/{date}",
    "models": "sdxl-turbo",
    "pools": GROWING,
}
STAND_INS = {**JOB, "models": "timed", "pools": {}}
"""Whose seconds are known, so that there is a plan."""

Export = Callable[..., tuple[list[dict[str, Any]], str]]


@cache
def schema() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA.read_text()))


def check(objects: list[dict[str, Any]]) -> None:
    """Each object is what its schema says, and nothing more."""
    for each in objects:
        if each["kind"] == "RayJob":
            errors = [f"{e.json_path}: {e.message}" for e in schema().iter_errors(each)]
            assert not errors
        else:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)


@pytest.fixture
def export(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Export:
    """Exports a job of these fields with the command; the objects, and what it says beside them."""

    def run(fields: dict[str, Any], *options: str) -> tuple[list[dict[str, Any]], str]:
        file = tmp_path / "job.yaml"
        file.write_text(yaml.safe_dump(fields))
        words = ["bottega", "export", "kubernetes", str(file), "--image", "example.org/bottega:1"]
        monkeypatch.setattr(sys, "argv", [*words, "--claim", "data:/data", *options])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        assert caught.value.code in (0, None), shown.err
        assert "&id" not in shown.out, "aliases, which people and some tools do not read"
        return list(yaml.safe_load_all(shown.out)), shown.err

    return run


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [each for each in objects if each["kind"] == kind]
    return found


def test_the_schema_refuses_what_kubernetes_would_drop_or_refuse(export: Export) -> None:
    made = of_kind(export(JOB, "--for", "2026-11-23")[0], "RayJob")
    check([made])
    group = made["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    for where, name, value in [
        (made["spec"], "backOffLimit", 3),
        (made["spec"], "ttlSecondsAfterFinished", "600"),
        (group, "maxReplica", 2),
        (group["template"]["spec"], "toleration", []),
    ]:
        before = where.get(name)
        where[name] = value
        assert not schema().is_valid(made), name
        if before is None:
            del where[name]
        else:
            where[name] = before
    check([made])


def test_a_ray_job_runs_the_job_file_of_its_config_map_under_its_id(export: Export) -> None:
    objects, _ = export(JOB, "--for", "2026-11-23", "--namespace", "pictures")
    check(objects)
    config, made = of_kind(objects, "ConfigMap"), of_kind(objects, "RayJob")
    filled = {
        **JOB,
        "input": "/data/prompts/2026-11-23.parquet",
        "output": "/data/faces/2026-11-23",
    }
    expected = job_id(make_spec(filled), "2026-11-23")
    assert made["metadata"]["name"] == made["spec"]["jobId"] == expected
    assert expected.startswith("bottega-faces-by")
    assert yaml.safe_load(config["data"]["job.yaml"]) == JOB
    words = shlex.split(made["spec"]["entrypoint"])
    assert words[:5] == ["bottega", "run", "/etc/bottega/job.yaml", "--address", "auto"]
    assert words[-2:] == ["--for", "2026-11-23"]
    assert {each["metadata"]["namespace"] for each in objects} == {"pictures"}
    cluster = made["spec"]["rayClusterSpec"]
    pods = [group["template"] for group in cluster["workerGroupSpecs"]]
    for pod in (cluster["headGroupSpec"]["template"], *pods):
        (container,) = pod["spec"]["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts == {"job": "/etc/bottega", "data": "/data"}
        (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == "job"]
        assert volume["configMap"]["name"] == config["metadata"]["name"]
    assert cluster["authOptions"] == {"mode": "token"}
    # KubeRay refuses a time to live without it.
    assert made["spec"]["shutdownAfterJobFinishes"] is True
    assert made["spec"]["ttlSecondsAfterFinished"] > 0
    assert made["spec"]["backoffLimit"] > 0


def test_groups_are_the_nodes_that_the_pools_look_for(export: Export) -> None:
    made = of_kind(export(JOB, "--for", "2026-11-23")[0], "RayJob")
    cluster = made["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    assert set(groups) == set(HOMES.values())
    assert all(group["labels"] == {POOL_LABEL: name} for name, group in groups.items())
    limits = {n: (g["minReplicas"], g["replicas"], g["maxReplicas"]) for n, g in groups.items()}
    assert limits == {"student": (1, 1, 2), "teacher": (1, 1, 6)}
    assert cluster["enableInTreeAutoscaling"] is True
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"]["num-gpus"] == "0"
    for pod, gpus in ((head["template"], None), (groups["teacher"]["template"], "1")):
        resources = pod["spec"]["containers"][0]["resources"]
        assert resources["requests"] == resources["limits"]
        assert resources["limits"].get("nvidia.com/gpu") == gpus


def test_an_object_store_needs_no_volume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "job.yaml"
    urls = {"input": "s3://bucket/in.parquet", "output": "s3://bucket/faces/{date}"}
    file.write_text(yaml.safe_dump({**JOB, **urls}))
    words = ["bottega", "export", "kubernetes", str(file), "--image", "i", "--for", "2026-11-23"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr("cluster.kubernetes.manifests.plan", no_plan)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    shown = capsys.readouterr()
    assert caught.value.code in (0, None), shown.err
    objects = list(yaml.safe_load_all(shown.out))
    check(objects)
    assert "persistentVolumeClaim" not in shown.out


def no_plan(*_: Any, **__: Any) -> None:
    """In place of the plan, which would ask the object store for the input."""
    raise SpecError("nobody knows how long the models take")


def test_without_growth_the_sizes_are_the_plans_and_so_is_the_deadline(export: Export) -> None:
    objects, said = export(STAND_INS, "--for", "2026-11-23", "--rows", "20000", "--gpus", "8")
    check(objects)
    spec = of_kind(objects, "RayJob")["spec"]
    sizes = {g["groupName"]: g["replicas"] for g in spec["rayClusterSpec"]["workerGroupSpecs"]}
    assert sum(sizes.values()) == 8
    assert sizes["teacher"] > sizes["student"]
    assert spec["rayClusterSpec"]["enableInTreeAutoscaling"] is False
    more = of_kind(
        export(STAND_INS, "--for", "2026-11-23", "--rows", "40000", "--gpus", "8")[0], "RayJob"
    )["spec"]
    waiting = make_spec(
        {**STAND_INS, "input": "/data/x", "output": "/data/y"}
    ).place_timeout_seconds
    first, second = spec["activeDeadlineSeconds"], more["activeDeadlineSeconds"]
    assert (second - waiting) == pytest.approx(2 * (first - waiting), rel=0.1)
    assert "planned: " in said


def test_a_deadline_is_three_plans_and_the_wait_for_places_in_whole_minutes() -> None:
    assert deadline_seconds(100.0, 59.0) == 360


def test_without_a_plan_there_is_no_deadline_and_the_sizes_have_to_be_said(export: Export) -> None:
    objects, said = export(JOB, "--for", "2026-11-23")
    assert "activeDeadlineSeconds" not in of_kind(objects, "RayJob")["spec"]
    assert said.startswith("no activeDeadlineSeconds, since there is no plan")
    with pytest.raises(AssertionError, match="how many pods"):
        export({**JOB, "pools": {}}, "--for", "2026-11-23")
    fixed = {"student": {"size": 2}, "teacher": {"size": 3}}
    made = of_kind(export({**JOB, "pools": fixed}, "--for", "2026-11-23")[0], "RayJob")
    groups = made["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert [group["maxReplicas"] for group in groups] == [2, 3]


def test_cores_alone_need_one_group_without_gpus(export: Export) -> None:
    fields = {
        **STAND_INS,
        "pools": {"device": "cpu", "student": {"size": 3}, "teacher": {"size": 2}},
    }
    objects, _ = export(fields, "--for", "2026-11-23", "--rows", "100")
    check(objects)
    (group,) = of_kind(objects, "RayJob")["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert "nvidia.com/gpu" not in str(group)
    assert "labels" not in group


def test_secrets_spot_nodes_and_kinds_of_nodes(export: Export) -> None:
    label = "cloud.google.com/gke-accelerator=nvidia-l4"
    objects, _ = export(
        JOB, "--for", "2026-11-23", "--secret", "hub", "--secret", "store", "--spot",
        "--student-node", label,
    )  # fmt: skip
    check(objects)
    cluster = of_kind(objects, "RayJob")["spec"]["rayClusterSpec"]
    head = cluster["headGroupSpec"]["template"]["spec"]
    student, teacher = (g["template"]["spec"] for g in cluster["workerGroupSpecs"])
    references = [{"secretRef": {"name": "hub"}}, {"secretRef": {"name": "store"}}]
    for pod in (head, student, teacher):
        assert pod["containers"][0]["envFrom"] == references
        assert "env" not in pod["containers"][0]
    assert student["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert "nodeSelector" not in teacher
    spot = {"cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority"}
    assert spot < {each["key"] for each in student["tolerations"]}
    # The driver is on the head: it does not go with a spot node.
    assert "tolerations" not in head


def test_a_schedule_is_a_cron_job_whose_runs_do_not_overlap(export: Export) -> None:
    objects, _ = export(JOB, "--cron", "0 3 * * *", "--time-zone", "Europe/Zurich")
    check(objects)
    kinds = [each["kind"] for each in objects]
    assert kinds == ["ConfigMap", "ServiceAccount", "Role", "RoleBinding", "CronJob"]
    assert {each["metadata"]["name"] for each in objects} == {"bottega-faces-by-night"}
    spec = of_kind(objects, "CronJob")["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("0 3 * * *", "Europe/Zurich")
    assert spec["concurrencyPolicy"] == "Forbid"
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == of_kind(objects, "ServiceAccount")["metadata"]["name"]
    (rule,) = of_kind(objects, "Role")["rules"]
    assert rule == {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get"]}
    config = of_kind(objects, "ConfigMap")["data"]
    check([yaml.safe_load(config["rayjob.yaml"])])
    # Not run here: that is test_cron_job's.
    assert pod["initContainers"][0]["command"][:3] == ["python", "-m", "cluster.kubernetes.dated"]


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_preset_has_pods_of_a_size(name: str) -> None:
    preset = CATALOGUE[name]
    for model in (preset.student, preset.teacher):
        assert model.timed or "shapes" in str(model.path) or model.path in WEIGHTS_GB
    spec = make_spec({"input": "/data/x", "output": "/data/y", "models": name, **task_of(name)})
    student, teacher = worker_groups(spec, {"student": 1, "teacher": 1})
    for group, model in ((student, preset.student), (teacher, preset.teacher)):
        # The weights, and Ray's object store beside them.
        weights = WEIGHTS_GB.get(str(model.path), 0.0)
        assert group.memory_gib >= 4
        assert weights / 0.7 < group.memory_gib < 3 * weights + 16
    assert worker_groups(spec, {"student": 1, "teacher": 1}, 99)[1].memory_gib == 99


def task_of(name: str) -> dict[str, Any]:
    """The fields that a preset for pictures needs."""
    preset = CATALOGUE[name]
    if preset.student.controlnet:
        return {"task": "control", "image_column": "image"}
    if preset.instructed:
        return {"task": "edit", "image_column": "image"}
    return {}


def test_models_of_no_preset_need_their_memory(export: Export) -> None:
    own = {"preset": "sdxl-turbo", "teacher": {"path": "/data/mine"}}
    with pytest.raises(AssertionError, match="--worker-memory"):
        export({**JOB, "models": own}, "--for", "2026-11-23")
    made = export({**JOB, "models": own}, "--for", "2026-11-23", "--worker-memory", "80")[0]
    assert "80Gi" in str(of_kind(made, "RayJob"))


@pytest.mark.parametrize(
    ("fields", "options", "said"),
    [
        ({"output": "out"}, (), "output: 'out' is a path of this machine"),
        ({"input": "/database/x.csv"}, (), "input: '/database/x.csv' is a path of this machine"),
        ({}, ("--cron", "0 3 * * *"), "--for names one run"),
        ({}, ("--secret", "Hub_Token"), "'Hub_Token' (--secret) is no name in Kubernetes"),
        ({}, ("--namespace", "a" * 64), "--namespace"),
        ({}, ("--student-node", "gpu"), "--student-node 'gpu'"),
        ({}, ("--student-node", "gpu=l4,a=b"), "--student-node 'gpu=l4,a=b'"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_here(
    fields: dict[str, Any], options: tuple[str, ...], said: str, export: Export
) -> None:
    with pytest.raises(AssertionError) as caught:
        export({**JOB, **fields}, "--for", "2026-11-23", *options)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 100, "Ünïcode", "7", "a/b: c {}", "-"])
def test_names_are_within_their_limits_whatever_the_job_is_called(
    name: str, export: Export
) -> None:
    one, _ = export({**JOB, "name": name}, "--for", "2026-11-23T03-00")
    many, _ = export({**JOB, "name": name}, "--cron", "0 3 * * *")
    check([*one, *many])
    assert len(of_kind(one, "RayJob")["metadata"]["name"]) <= MOST_RAY_JOB
    assert len(of_kind(many, "CronJob")["metadata"]["name"]) <= MOST_CRON_JOB
    assert cron_name(name).strip("-") == cron_name(name)


def test_a_schedule_needs_a_time_zone_that_there_is(export: Export) -> None:
    for zone in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(AssertionError, match="is no time zone"):
            export(JOB, "--cron", "0 3 * * *", "--time-zone", zone)


def test_a_job_file_that_is_not_there_is_a_sentence() -> None:
    from cluster.kubernetes.manifests import PlanOptions, manifests
    from cluster.kubernetes.ray_job import Wishes

    with pytest.raises(SpecError, match="cannot read the job file"):
        manifests(Path("/nothing.yaml"), Wishes(image="x"), PlanOptions(), kubectl_image="k")


def test_what_follows_the_dataset_has_to_be_where_a_pod_sees_it(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tell.py").write_text("")
    hook = ["python3", "/opt/tell.py"]
    good = {"publish": {"to": "/data/public/{date}"}, "on_success": hook}
    objects, _ = export({**JOB, "after": good}, "--for", "2026-11-23")
    (config,) = [each for each in objects if each["kind"] == "ConfigMap"]
    assert yaml.safe_load(config["data"]["job.yaml"])["after"] == good
    for after, said in (
        ({"publish": {"to": "public/{date}"}}, "after.publish.to: 'public/2026-11-23' is a path"),
        ({"on_failure": ["python3", "tell.py"]}, "after.on_failure: 'tell.py' is a file of this"),
    ):
        (tmp_path / "job.yaml").write_text(yaml.safe_dump({**JOB, "after": after}))
        words = ["export", "kubernetes", "job.yaml", "--image", "i:1", "--claim", "data:/data"]
        monkeypatch.setattr(sys, "argv", ["bottega", *words, "--for", "2026-11-23"])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == 2
        assert said in capsys.readouterr().err

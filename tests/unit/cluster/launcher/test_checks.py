"""Each mistake in a cluster's file is found, and the files that ship have none."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from cluster import cli
from cluster.launcher import ray_commands
from cluster.launcher.checks import Facts, check_cluster
from cluster.launcher.finding import Severity
from cluster.launcher.node_types import HOMES, POOL_LABEL, cluster_of
from cluster.launcher.read_file import facts_of_this_machine, read_cluster
from jobs import make_spec
from jobs.scaling import initial_sizes

ROOT = Path(__file__).parents[4]
FILES = [ROOT / "ray_config.yaml", *sorted((ROOT / "docs/clusters").glob("*.yaml"))]
GOOD = Facts(token_mode=0o600, ray_version=ray.__version__, python=(3, 11))

Config = dict[str, Any]


def read(file: Path) -> Config:
    loaded: Config = yaml.safe_load(file.read_text())
    return loaded


def found(config: Config, facts: Facts = GOOD, **job: Any) -> list[tuple[str, str, str]]:
    base = {"input": "/data/in.csv", "output": "/data/out", "models": "timed", "pools": {}}
    spec = make_spec({**base, **job}) if job else None
    findings = check_cluster(cluster_of(config), facts, spec)
    return [(f.severity.value, f.about, f.text) for f in findings]


def test_the_labels_are_those_that_the_pools_look_for() -> None:
    assert POOL_LABEL == initial_sizes.POOL_LABEL
    assert set(HOMES) == set(initial_sizes.HOMES.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_is_wrong_with_the_files_that_ship(file: Path) -> None:
    cluster, wrong = read_cluster(file)
    assert wrong == []
    assert cluster is not None
    assert check_cluster(cluster, GOOD) == []


def test_there_is_a_file_for_three_clouds() -> None:
    providers = {read(file)["provider"]["type"] for file in FILES}
    assert providers == {"aws", "gcp", "azure"}


def change(path: str, value: Any) -> Callable[[Config], None]:
    """Sets a field, named by its path; None takes it out."""

    def apply(config: Config) -> None:
        *above, name = path.split("/")
        below: Any = config
        for step in above:
            below = below[step]
        if value is None:
            del below[name]
        else:
            below[name] = value

    return apply


def in_starts(where: str, old: str, new: str) -> Callable[[Config], None]:
    def apply(config: Config) -> None:
        commands = config[f"{where}_start_ray_commands"]
        assert any(old in command for command in commands)
        config[f"{where}_start_ray_commands"] = [c.replace(old, new) for c in commands]

    return apply


TYPES = "available_node_types"
MISTAKES: list[tuple[Callable[[Config], None], str, str, str]] = [
    (in_starts("head", "RAY_AUTH_MODE=token ", ""), "error", "token", "head_start_ray_commands"),
    (in_starts("worker", "RAY_AUTH_MODE=token ", ""), "error", "token", "worker_start_ray"),
    (change("file_mounts", {"/home/ray/bottega": "."}), "error", "token", "file_mounts bring no"),
    (in_starts("head", "host=127.0.0.1", "host=0.0.0.0"), "error", "dashboard", "=0.0.0.0 opens"),
    (
        change(f"{TYPES}/student/labels", {POOL_LABEL: "oracle"}),
        "error", "labels", "the oracle's actors go to the nodes of the student",
    ),
    (
        change(f"{TYPES}/teacher/labels", {POOL_LABEL: "teachers"}),
        "error", "labels", "no pool asks for nodes with bottega-pool: teachers",
    ),
    (
        change(f"{TYPES}/more", {"resources": {"CPU": 16, "GPU": 1}, "max_workers": 0}),
        "warning", "labels", "of type 'more' have GPUs and no label",
    ),
    (change(f"{TYPES}/head/resources", {"CPU": 8, "GPU": 1}), "warning", "labels", "the head"),
    (change(f"{TYPES}/head/resources", {"CPU": 1}), "error", "head", "the head has 1 cores"),
    (
        change(f"{TYPES}/teacher/resources", {"CPU": 16, "GPU": 8}),
        "warning", "head", "GPUs would wait for PNGs",
    ),
    (
        change(f"{TYPES}/head/node_config", {"InstanceMarketOptions": {"MarketType": "spot"}}),
        "warning", "head", "the head is a spot machine",
    ),
    (change("max_workers", 3), "warning", "limits", "max_workers allows 3"),
    (change(f"{TYPES}/student/min_workers", 5), "error", "limits", "min_workers is more than"),
    (in_starts("worker", "ulimit -n 65536;", ""), "warning", "limits", "limit of open files"),
    (in_starts("head", "ulimit -n 65536;", "ulimit -n 1024;"), "warning", "limits", "open files"),
    (change("idle_timeout_minutes", None), "warning", "limits", "idle_timeout_minutes"),
    (change("docker/image", "rayproject/ray:2.9.0-py311-gpu"), "error", "versions", "Ray 2.9.0"),
    (change("docker/image", "rayproject/ray:2.60.0-py310"), "error", "versions", "Python 3.10"),
    (change("docker/disable_shm_size_detection", True), "error", "object store", "64 MB of shared"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "severity", "about", "text"), MISTAKES)
def test_a_mistake_is_found_and_nothing_else(
    mistake: Callable[[Config], None], severity: str, about: str, text: str
) -> None:
    config = copy.deepcopy(read(FILES[0]))
    mistake(config)
    ((severe, of, said),) = found(config)
    assert (severe, of) == (severity, about)
    assert text in said


def test_a_token_that_is_missing_or_open_is_found() -> None:
    config = read(FILES[0])
    for mode, text in ((None, "there is no ~/.ray/auth_token here"), (0o644, "mode 0644")):
        facts = Facts(token_mode=mode, ray_version=ray.__version__, python=(3, 11))
        ((severity, about, said),) = found(config, facts)
        assert (severity, about) == ("error", "token")
        assert text in said


def test_the_token_of_this_machine_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert facts_of_this_machine().token_mode is None
    (tmp_path / ".ray").mkdir()
    token = tmp_path / ".ray/auth_token"
    token.touch(0o600)
    assert facts_of_this_machine().token_mode is None, "an empty one is none"
    token.write_text("x")
    token.chmod(0o640)
    assert facts_of_this_machine().token_mode == 0o640


SHARED = Facts(token_mode=0o600, ray_version=ray.__version__, python=(3, 11), shared=("/data",))


def test_nothing_is_wrong_with_a_job_that_the_cluster_suits() -> None:
    pools = {"grow": True, "student": {"max_size": 4}, "teacher": {"max_size": 12}}
    assert found(read(FILES[0]), SHARED, pools=pools) == []


@pytest.mark.parametrize(
    ("job", "severity", "about", "text"),
    [
        ({"pools": {"teacher": {"node_label": {"zone": "b"}}}}, "error", "labels", "zone: b"),
        ({"pools": {"teacher": {"size": 13}}}, "warning", "limits", "up to 13 actors"),
        ({"output": "/database/out"}, "error", "shared storage", "output: '/database/out'"),
        ({"input": "in.csv"}, "warning", "shared storage", "input: 'in.csv'"),
    ],
)
def test_a_job_that_the_cluster_does_not_suit(
    job: dict[str, Any], severity: str, about: str, text: str
) -> None:
    ((severe, of, said),) = found(read(FILES[0]), SHARED, **job)
    assert (severe, of) == (severity, about)
    assert text in said


def test_an_object_store_that_is_too_small_for_the_parts_of_a_job() -> None:
    config = read(FILES[0])
    config[TYPES]["student"]["resources"]["object_store_memory"] = 1_000_000_000
    ((severity, about, said),) = found(config, SHARED, rows_per_part=4096)
    assert (severity, about) == ("warning", "object store")
    assert "'student' has an object store of 1 GB" in said
    assert found(config, SHARED, rows_per_part=64) == []


def test_a_cluster_without_gpus_is_for_models_on_cores() -> None:
    config = read(FILES[0])
    for name in HOMES:
        config[TYPES][name]["resources"] = {"CPU": 16}
    assert ("error", "limits") in [f[:2] for f in found(config, SHARED, rows_per_part=64)]
    assert found(config, SHARED, pools={"device": "cpu"}) == []


# ---- the command


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """The command in the home of somebody with a token, with a `ray` that shows its words."""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("x")
    (tmp_path / ".ray/auth_token").chmod(0o600)
    (tmp_path / "ray").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nexit 7\n')
    (tmp_path / "ray").chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ray_commands, "RAY", tmp_path / "ray")

    def bottega(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bottega", "cluster", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        shown = capsys.readouterr()
        return int(caught.value.code or 0), shown.out, shown.err

    return bottega


def test_ray_does_the_work_and_its_exit_code_is_ours(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    file = FILES[0]
    for words, rays in (
        (["up", file, "--yes"], f"up {file} --yes"),
        (["down", file], f"down {file}"),
        (["status", file], f"exec {file} RAY_AUTH_MODE=token ray status"),
    ):
        assert run(*words)[0] == 7
        assert (tmp_path / "words").read_text().strip() == rays


def test_up_starts_no_cluster_with_an_error_in_its_file(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    config = read(FILES[0])
    in_starts("head", "RAY_AUTH_MODE=token ", "")(config)
    bad = tmp_path / "bad.yaml"
    bad.write_text(yaml.safe_dump(config))
    code, out, err = run("up", bad, "--yes")
    assert code == 2
    assert "error (token)" in out
    assert "the cluster is not started" in err
    assert not (tmp_path / "words").exists()


def test_check_says_what_is_wrong_and_its_exit_code_too(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    assert run("check", FILES[0])[:2] == (0, f"{FILES[0]}: nothing is wrong with it\n")
    config = read(FILES[0])
    config["max_workers"] = 3
    file = tmp_path / "file.yaml"
    file.write_text(yaml.safe_dump(config))
    code, out, _ = run("check", file, "--json")
    assert code == 0, "a warning is no error"
    (finding,) = yaml.safe_load(out)["findings"]
    assert finding["severity"] == Severity.WARNING
    config[TYPES]["teacher"]["max_wokers"] = 1
    file.write_text(yaml.safe_dump(config))
    code, out, _ = run("check", file)
    assert code == 1
    assert "error (schema): available_node_types.teacher" in out
    assert "max_wokers" in out


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[]", 2),
        ("a: [", 2),
        ("cluster_name: x\n", 1),
        ("provider: 3\n", 1),
        ("head_node_type: 1", 1),
    ],
)
def test_a_file_that_is_no_cluster_is_a_sentence(
    text: str, code: int, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    found_code, out, err = run("check", file)
    assert found_code == code
    assert "Traceback" not in out + err

"""ray_config.yaml is what `ray up` takes, and what the pools expect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import fillout_defaults, prepare_config, validate_config

from actors.pool_settings import PoolsSettings
from jobs.scaling.initial_sizes import plan_pools

CONFIG = Path(__file__).parents[3] / "ray_config.yaml"


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    return loaded


def test_ray_accepts_it(config: dict[str, Any]) -> None:
    validate_config(prepare_config(fillout_defaults(config)))


def test_rays_schema_would_refuse_a_misspelt_field(config: dict[str, Any]) -> None:
    config["available_node_types"]["teacher"]["max_wokers"] = 1
    with pytest.raises(ValidationError, match="max_wokers"):
        validate_config(prepare_config(fillout_defaults(config)))


def test_student_and_teacher_nodes_carry_the_labels_of_their_pools(config: dict[str, Any]) -> None:
    for name in ("student", "teacher"):
        node = config["available_node_types"][name]
        assert node["labels"] == {"bottega-pool": name}
        assert name in PoolsSettings.model_fields
        assert node["resources"]["GPU"] >= 1
    assert config["available_node_types"]["head"]["resources"]["GPU"] == 0


@pytest.mark.parametrize(("students", "teachers"), [(1, 1), (1, 12), (2, 10), (4, 1), (4, 12)])
def test_the_pools_as_they_are_by_default_fit_the_nodes(
    config: dict[str, Any], students: int, teachers: int
) -> None:
    """Every actor finds a place on a node of its label, by the GPUs and cores of the file."""
    nodes = config["available_node_types"]
    gpus, cores = {}, nodes["head"]["resources"]["CPU"]
    for name, number in (("student", students), ("teacher", teachers)):
        assert nodes[name]["min_workers"] <= number <= nodes[name]["max_workers"]
        gpus[nodes[name]["labels"]["bottega-pool"]] = number * nodes[name]["resources"]["GPU"]
        cores += number * nodes[name]["resources"]["CPU"]
    plans = plan_pools(PoolsSettings(), cores, sum(gpus.values()), gpus)
    wanted = dict.fromkeys(gpus, 0.0)
    for plan in (plans.student, plans.oracle, plans.teacher):
        assert plan.size >= 1
        wanted[plan.node_label["bottega-pool"]] += plan.size * plan.gpus
        cores -= plan.size * plan.cpus
    assert cores >= 0
    assert all(0 < wanted[label] <= gpus[label] for label in gpus), (wanted, gpus)


def test_no_node_starts_without_the_token(config: dict[str, Any]) -> None:
    for where in ("head", "worker"):
        starts = [c for c in config[f"{where}_start_ray_commands"] if "ray start" in c]
        assert starts
        assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in str(config["head_start_ray_commands"])
    assert "/home/ray/.ray/auth_token" in config["file_mounts"]

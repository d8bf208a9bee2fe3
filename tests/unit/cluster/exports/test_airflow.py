"""The DAG as Python: what it says, whatever the job is called. Airflow runs it in its own tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from actors.errors import SpecError
from cluster.exports.airflow import dag
from cluster.exports.command import JobCommand

WORDS = ("/opt/bottega", "submit", "/jobs/faces.yaml", "--wait", "--address", "http://head:8265")


def made(name: str = "faces", words: tuple[str, ...] = WORDS, zone: str = "Europe/Zurich") -> str:
    command = JobCommand(Path("/jobs"), words)
    return dag(name, command, schedule="0 3 * * *", time_zone=zone, timeout_seconds=7200, year=2026)


def keywords(text: str) -> dict[str, ast.expr]:
    """The arguments of the task and of the DAG, by name."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return {k.arg: k.value for call in calls for k in call.keywords if k.arg}


def test_the_task_waits_for_the_job_and_is_tried_again() -> None:
    found = keywords(made())
    line = ast.literal_eval(found["bash_command"])
    assert line.startswith("/opt/bottega submit /jobs/faces.yaml --wait")
    date = "{{ (dag_run.data_interval_end or dag_run.run_after).astimezone(zone).date() }}"
    assert f"--for '{date}'" in line
    assert ast.literal_eval(found["retries"]) > 0
    assert ast.literal_eval(found["max_active_runs"]) == 1
    assert ast.literal_eval(found["catchup"]) is False
    assert ast.literal_eval(found["dag_id"]) == "bottega_faces"
    assert "try_number" not in made()


def test_a_name_or_a_path_cannot_leave_its_string() -> None:
    words = ("/opt/bottega", "run", "/jobs/'\"\\{{ x }}.yaml")
    text = made('"""\nimport os\n"""', words)
    assert "import os" not in text
    line = ast.literal_eval(keywords(text)["bash_command"])
    assert line.startswith("{% raw %}/opt/bottega")
    assert ast.literal_eval(keywords(text)["dag_id"]) == "bottega_import_os"


def test_a_zone_that_there_is_not_is_refused() -> None:
    with pytest.raises(SpecError, match="is no time zone"):
        made(zone="Mars/Olympus")

"""The documentation names what is there, and all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
import yaml

from cluster.cli.app import app
from jobs.spec.job_spec import load_spec, make_spec

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = {command.name for command in app.registered_commands}
COMMANDS |= {group.name for group in app.registered_groups if group.name}
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def test_every_command_is_documented_and_every_documented_command_exists() -> None:
    assert set(re.findall(r"bottega ([a-z]+)", README)) == COMMANDS


def test_every_option_in_the_readme_exists() -> None:
    verbs = list(typer.main.get_command(app).commands.values())  # type: ignore[attr-defined]
    verbs += [below for verb in verbs for below in getattr(verb, "commands", {}).values()]
    options = {option for verb in verbs for each in verb.params for option in each.opts}
    assert set(re.findall(r"`?(--[a-z][a-z-]+)", README)) <= options


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", README)) - {"the"} <= targets


def test_the_yaml_of_the_readme_is_a_job() -> None:
    whole, own_models = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    job = make_spec(yaml.safe_load(whole))
    assert job == load_spec(ROOT / "examples/shapes.yaml").model_copy(
        update={"rows_per_part": 256, "calibration_rows": None, "save_student": False}
    )
    needed = {"input": "prompts.csv", "output": "out"}
    assert make_spec({**needed, **yaml.safe_load(own_models)}).models.teacher.steps == 50


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", ["docs/security.md", "docs/faults.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = set(re.findall(r"`(test_[a-z_]+)`", (ROOT / page).read_text(encoding="utf-8")))
    code = "\n".join(file.read_text(encoding="utf-8") for file in ROOT.glob("tests/**/test_*.py"))
    assert named
    assert named <= set(re.findall(r"def (test_\w+)", code))

"""A job file to begin with, for a preset of models: `bottega init` writes it.

What a job usually says stands there with its default; every other field is a comment with its
description, so that the file tells what there is.
"""

from __future__ import annotations

from textwrap import wrap

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from actors.models.presets import CATALOGUE
from jobs.spec.job_spec import JobSpec

WIDTH = 96
"""Characters of a line. Chosen: it fits beside another file on a screen."""


def starter(preset: str, name: str = "my-job") -> str:
    """A job file for a preset of `CATALOGUE`, with comments; `JobSpec` accepts it as it is."""
    known = CATALOGUE[preset]
    usual: dict[str, object] = {"budget": {"refine": 0.3}}
    if known.strategy == "refine":
        usual["rollback"] = known.rollback
    usual |= {"keep": "teacher", "seed": 0}
    if known.student.controlnet:
        usual = {"task": "control", "image_column": "picture", **usual}
    elif known.instructed:
        usual = {"task": "edit", "image_column": "picture", **usual}
    lines = [
        "# A job of Bottega. `bottega run job.yaml` runs it; docs/job-file.md has every field.",
        *_field("name", name),
        *_field("input", "prompts.csv"),
        *_field("output", f"out/{name}"),
        *_field("models", preset),
        *(line for field in usual for line in _field(field, usual[field])),
        "# Everything below is as it is without the line.",
    ]
    there = {"name", "input", "output", "models", *usual}
    for field, about in JobSpec.model_fields.items():
        if field not in there:
            lines += [*_comment(about), f"# {_yaml(field, _default(about))}", ""]
    return "\n".join(lines).rstrip() + "\n"


def _field(name: str, value: object) -> list[str]:
    return [*_comment(JobSpec.model_fields[name]), _yaml(name, value), ""]


def _comment(about: FieldInfo) -> list[str]:
    return [f"# {line}" for line in wrap(about.description or "", WIDTH - 2)]


def _default(about: FieldInfo) -> object:
    value = about.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    return value


def _yaml(name: str, value: object) -> str:
    flow = isinstance(value, dict | list | tuple)
    text = yaml.safe_dump(
        {name: list(value) if isinstance(value, tuple) else value},
        default_flow_style=None if flow else False,
        sort_keys=False,
        allow_unicode=True,
        width=10_000,
    )
    return text.rstrip("\n")

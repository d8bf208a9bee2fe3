"""The Python API: these names, whatever was imported before; and the command uses nothing else."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jobs
from jobs.execution.observers import EVENT_KINDS
from tests.unit.test_layers import imports, modules

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/python.md").read_text(encoding="utf-8")

ERRORS = {
    *("BottegaError", "UserError", "SpecError", "InputError", "OutputError", "ModelError"),
    *(
        "ClusterError",
        "JobError",
        "MissingError",
        "StorageError",
        "TooManyFailuresError",
        "PoolFailedError",
        "OutputFailedError",
    ),
    *("StalledError", "NoPlaceError", "InterruptedJobError", "CancelledJobError"),
    *("NoSuchJobError", "NoInputError"),
}
FUNCTIONS = {
    *("load_spec", "make_spec", "resolve", "calibrate", "plan", "run", "retry", "open_output"),
    "search_ladders",
}
TYPES = {
    *("JobSpec", "Job", "Forecast", "ScoredSample", "LadderSearch", "Progress", "Resources"),
    *("Output", "OutputProgress"),
}


def test_these_names_are_public() -> None:
    assert set(jobs.__all__) == ERRORS | FUNCTIONS | TYPES
    assert sorted(jobs.__all__) == jobs.__all__
    assert set(jobs.__all__) <= set(dir(jobs))


@pytest.mark.parametrize("name", jobs.__all__)
def test_a_public_name_is_documented_and_typed(name: str) -> None:
    value = getattr(jobs, name)
    assert value.__module__.startswith(("jobs.", "actors."))
    assert inspect.isclass(value) == (name not in FUNCTIONS)
    assert inspect.cleandoc(value.__doc__).endswith(".")
    assert f"`{name}`" in PAGE
    if name in FUNCTIONS:
        signature = inspect.signature(value)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(p.annotation is not p.empty for p in signature.parameters.values())


def test_every_class_of_error_is_public() -> None:
    tree = ast.parse((ROOT / "actors/errors.py").read_text(encoding="utf-8"))
    assert {node.name for node in tree.body if isinstance(node, ast.ClassDef)} == ERRORS


def test_type_checkers_see_each_name_where_it_is() -> None:
    """They read the imports below TYPE_CHECKING, Python at run time the table of places."""
    tree = ast.parse((ROOT / "jobs/__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and alias_of_ours(node.module)
        for alias in node.names
    }
    assert seen == {name: getattr(jobs, name).__module__ for name in jobs.__all__}


def alias_of_ours(module: str | None) -> bool:
    return (module or "").startswith(("jobs.", "actors."))


def test_another_name_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'jobs' has no attribute 'rum'"):
        _ = jobs.rum  # type: ignore[attr-defined]


def python(code: str) -> str:
    end = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert end.returncode == 0, end.stderr
    return end.stdout.strip()


def test_to_import_jobs_imports_nothing_else() -> None:
    code = "import jobs, sys; print([m for m in sys.modules if m.startswith(('jobs.', 'actors'))])"
    assert python(code) == "[]"


def test_no_module_takes_the_place_of_a_function() -> None:
    """The trap: importing jobs.x puts the module x in the place of the function x."""
    every = sorted(name for name in modules() if name.startswith("jobs"))
    code = (
        f"import importlib\nfor name in {every}: importlib.import_module(name)\n"
        "import jobs, types\nfrom jobs import *\n"
        "print([name for name in jobs.__all__ if isinstance(globals()[name], types.ModuleType)])"
    )
    assert python(code) == "[]"


PUBLIC = {
    "jobs.events",
    # A job file before it is a job, and beside the one that an output holds.
    *("jobs.job_id", "jobs.held_job", "jobs.input.discovery", "jobs.planning.prices"),
    *("jobs.spec.strict_yaml", "jobs.spec.changes", "jobs.spec.starter"),
    *("jobs.spec.gpu_limits", "jobs.spec.ladder", "jobs.spec.ladder_search"),
    "jobs.spec.search",
    # An output's state, which whoever watches a job reads; the driver says who it is.
    *("jobs.output.status", "jobs.output.status_file", "jobs.storage.storage_at"),
    "jobs.output.dated_outputs",
    *("jobs.execution.attempt", "jobs.execution.progress"),
    # What jobs left on a cluster for the next ones.
    "jobs.execution.warm_list",
}
"""Modules of `jobs` that the command uses beside the names of the API."""


def test_the_command_uses_the_api_and_nothing_else_of_jobs() -> None:
    within = {
        f"{name} imports {imported}"
        for name, found in imports().items()
        if name.split(".")[0] == "cluster"
        for imported in found
        if imported.startswith("jobs.") and imported not in PUBLIC
    }
    assert within == set()


def test_every_block_of_the_page_is_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        ast.parse(block)


def test_every_public_name_that_the_page_imports_is_there() -> None:
    imported = re.findall(r"^from jobs import (.*)$", PAGE, re.MULTILINE)
    names = {name.strip() for line in imported for name in line.split(",")}
    assert names <= set(jobs.__all__)
    assert names >= FUNCTIONS


def test_the_events_of_observers_are_public_too() -> None:
    from jobs import events

    assert {kind.__name__ for kind in EVENT_KINDS} < set(events.__all__)
    assert all(getattr(events, name).__doc__ for name in events.__all__ if name != "JobEvent")

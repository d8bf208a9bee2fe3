"""Imports run one way. Read from the import statements, those of TYPE_CHECKING too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]

LAYERS = (
    "actors",
    "jobs.storage",
    "jobs.spec",
    "jobs.job_id",
    "jobs.parquet_writing",
    "jobs.input",
    "jobs.output",
    "jobs.searched",
    "jobs.held_job",
    "jobs.rules",
    "jobs.refinement",
    "jobs.resolution",
    "jobs.identity",
    "jobs.scaling",
    "jobs.execution",
    "jobs.simulation",
    "jobs.planning",
    "jobs.events",
    "jobs",
    "cluster",
)
"""From below; a module imports from its own layer and from those before it. `jobs`: __init__.py."""

PURE = (
    *("jobs.spec", "jobs.job_id", "jobs.rules", "jobs.scaling", "jobs.planning.prices"),
    *("jobs.execution.cascade", "jobs.execution.calls", "jobs.execution.stages"),
    *("jobs.execution.outputs", "jobs.execution.row_set", "jobs.execution.row_state"),
    *("jobs.execution.call_queue", "jobs.execution.estimators", "jobs.execution.failures"),
    *("jobs.execution.in_flight", "jobs.execution.part_log", "jobs.execution.progress"),
    "jobs.execution.remaining",
)
"""What decides without Ray and without a model: tested in milliseconds, simulated at any size."""


def name_of(file: Path) -> str:
    """`jobs.spec.task` of jobs/spec/task.py, `jobs.spec` of jobs/spec/__init__.py."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    files = (file for package in ("actors", "jobs", "cluster") for file in files_of(package))
    return {name_of(file): file for file in files}


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports_of(file: Path) -> Iterator[str]:
    """Every module that a file names in an import, wherever the import stands."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found = below & modules().keys()
            yield from found
            if below - found:
                yield str(node.module)


@cache
def imports() -> dict[str, set[str]]:
    return {name: set(imports_of(file)) for name, file in modules().items()}


def layer_of(name: str) -> int | None:
    """The layer that a module is in; None for other people's modules."""
    within = [layer for layer in LAYERS if name == layer or name.startswith(f"{layer}.")]
    longest = max(within, key=len, default=None)
    assert longest != "jobs" or name == "jobs", f"{name} is in no layer: say in which it belongs"
    return None if longest is None else LAYERS.index(longest)


def test_imports_run_one_way() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, found in imports().items()
        for imported in found
        if (above := layer_of(imported)) is not None and above > (layer_of(name) or 0)
    ]
    assert not wrong, f"these go up; from below the layers are {' < '.join(LAYERS)}"


def test_no_module_imports_one_that_imports_it() -> None:
    ours = {
        name: {imported for imported in found if imported in modules() and imported != name}
        for name, found in imports().items()
    }
    TopologicalSorter(ours).prepare()


def test_no_product_code_imports_tests_or_benchmarks() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, found in imports().items()
        for imported in found
        if imported.split(".")[0] in ("tests", "benchmarks")
    ]
    assert not wrong


def test_what_decides_imports_neither_ray_nor_torch() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, found in imports().items()
        if any(name == pure or name.startswith(f"{pure}.") for pure in PURE)
        for imported in found
        if imported.split(".")[0] in ("ray", "torch")
    ]
    assert not wrong

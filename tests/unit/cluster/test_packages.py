"""Where another project's package is first on the path, every verb says so in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

VERBS = {
    "run": ["run", "job.yaml"],
    "calibrate": ["calibrate", "job.yaml"],
    "plan": ["plan", "--models", "timed", "--rows", "100"],
    "sheet": ["sheet", "out"],
    "verify": ["verify", "out"],
    "retry": ["retry", "out"],
    "models": ["models"],
    "no verb": ["--help"],
}

COMMANDS = {
    "as installed": "from bottega import main; main()",
    "without the script": "from cluster.cli import main; main()",
}

EDITABLE = f"""
import sys
from importlib.util import spec_from_file_location
from runpy import run_path

class Last:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in ("actors", "jobs", "cluster"):
            return spec_from_file_location(name, f"{ROOT}/{{name}}/__init__.py")

sys.meta_path.append(Last)
run_path("{ROOT}/bottega.py")["main"]()
"""
"""An editable install comes behind the whole path, and so behind a folder with job files."""


def python(*arguments: str, path: list[Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Python, started in `folder`, which it looks through before `path`."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
    )  # fmt: skip


def other(folder: Path, name: str, kind: str) -> Path:
    """Another project's package, module or plain folder of that name; running it is a mistake."""
    folder.mkdir(exist_ok=True)
    if kind == "module":
        (folder / f"{name}.py").write_text("raise RuntimeError('it ran')\n")
        return folder / f"{name}.py"
    (folder / name).mkdir()
    if kind == "package":
        (folder / name / "__init__.py").write_text("raise RuntimeError('it ran')\n")
    return folder / name


def says_so(end: subprocess.CompletedProcess[str], name: str, place: Path) -> None:
    assert (end.returncode, end.stdout) == (2, "")
    assert end.stderr == (
        f"bottega: the package {name!r} comes from {place}, not from Bottega in {ROOT}. Start from "
        "another folder, or take the other one off PYTHONPATH.\n"
    )


@pytest.mark.parametrize("kind", ["package", "module"])
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_that_jobs_is_another_projects(
    verb: str, kind: str, tmp_path: Path
) -> None:
    place = other(tmp_path / "theirs", "jobs", kind)
    code = COMMANDS["as installed"]
    end = python("-c", code, *VERBS[verb], path=[place.parent, ROOT], folder=tmp_path)
    says_so(end, "jobs", place)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["actors", "jobs"])
def test_the_folder_in_which_python_starts_is_looked_at_too(
    name: str, command: str, tmp_path: Path
) -> None:
    place = other(tmp_path, name, "package")
    end = python("-c", COMMANDS[command], "models", path=[ROOT], folder=tmp_path)
    says_so(end, name, place)


@pytest.mark.parametrize("kind", ["package", "module"])
def test_the_command_itself_may_be_hidden(kind: str, tmp_path: Path) -> None:
    """`bottega` is a module of its own for this: `cluster.cli` cannot be imported."""
    place = other(tmp_path, "cluster", kind)
    end = python("-m", "bottega", "models", path=[ROOT], folder=tmp_path)
    says_so(end, "cluster", place)


def test_a_folder_of_job_files_hides_an_editable_install(tmp_path: Path) -> None:
    place = other(tmp_path, "jobs", "folder")
    (place / "mine.yaml").touch()
    # -S: without the editable install that these tests may run on.
    end = python("-S", "-c", EDITABLE, "models", path=[], folder=tmp_path)
    says_so(end, "jobs", place)


def test_other_names_are_no_matter(tmp_path: Path) -> None:
    other(tmp_path, "prompts", "package")
    other(tmp_path / "theirs", "jobs", "package")
    path = [ROOT, tmp_path / "theirs"]
    end = python("-m", "bottega", "models", path=path, folder=tmp_path)
    assert (end.returncode, end.stderr) == (0, "")
    assert "\nshapes " in end.stdout


HEAVY = ("torch", "ray", "diffusers", "transformers", "pyarrow.parquet")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["plan", "--help"]])
def test_help_is_quick_because_it_imports_nothing_heavy(
    arguments: list[str], tmp_path: Path
) -> None:
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules]))\n"
        "from cluster.cli import main\nmain()"
    )
    end = python("-c", code, *arguments, path=[ROOT], folder=tmp_path)
    assert end.returncode == 0, end.stderr
    assert "Usage:" in end.stdout
    assert end.stdout.splitlines()[-1] == "[]"

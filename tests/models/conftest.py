"""Tiny pipelines, built and loaded once a session; and the measured figures of each family."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from math import ceil, log10
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers

from actors.models.diffusion import Diffusion
from actors.models.pipeline_files import PipelineFiles, open_pipeline_files
from actors.rollback import strength_for_steps
from actors.settings import DiffusionSettings
from tests.models.tiny import build

FIGURES = Path(__file__).with_name("families.json")

Folders = Callable[[str], Path]
Loaded = Callable[..., Diffusion]
Note = Callable[[str, str, float | bool], None]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Several would wait for each other where another worker computes on the same cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folder of a tiny pipeline, by its name in `tiny.BUILDERS`."""
    home = tmp_path_factory.mktemp("tiny")
    return cache(lambda name: build(name, home / name))


@pytest.fixture(scope="session")
def loaded(folders: Folders) -> Loaded:
    """A tiny pipeline as Bottega loads it, with the settings in `fields`."""

    @cache
    def load(name: str, fields: str) -> Diffusion:
        return Diffusion(settings_for(folders(name), **json.loads(fields)))

    return lambda name, **fields: load(name, json.dumps(fields, sort_keys=True))


def settings_for(folder: Path, **fields: Any) -> DiffusionSettings:
    """Of a tiny pipeline: pictures of 32 pixels."""
    usual = {"steps": 3, "guidance_scale": 3.0, "batch_size": 8, "width": 32, "height": 32}
    return DiffusionSettings(path=str(folder), **{**usual, **fields})


def files_for(folder: Path, **fields: Any) -> PipelineFiles[DiffusionSettings]:
    """The files of a tiny pipeline, opened with the settings of `settings_for`."""
    return open_pipeline_files(settings_for(folder, **fields))


def skipping(model: Diffusion, strength: float, steps: int) -> dict[str, Any]:
    """diffusers' image-to-image arguments for the start that `refine` has (test_rollback.py)."""
    whole = model.start_at(strength, steps).whole_steps
    return {
        "strength": strength_for_steps(steps, whole, model.family.rounding),
        "num_inference_steps": whole,
    }


@pytest.fixture(scope="session")
def note(request: pytest.FixtureRequest) -> Iterator[Note]:
    """Compare a figure with what families.json promises of it; or write it there.

    `docs/models.md` is generated from that file, so it says what these tests see, and no more.
    """
    written = json.loads(FIGURES.read_text()) if FIGURES.is_file() else {}
    is_writing = bool(request.config.getoption("--write-families"))
    measured: dict[tuple[str, str], list[float]] = {}  # a family may have several pipelines

    def check(family: str, what: str, figure: float | bool) -> None:
        if is_writing:
            figures = written.setdefault("families", {}).setdefault(family, {})
            all_of_them = measured.setdefault((family, what), [])
            all_of_them.append(figure)
            is_yes = isinstance(figure, bool)
            figures[what] = all(all_of_them) if is_yes else _with_room(max(all_of_them))
            return
        promised = written["families"][family][what]
        if isinstance(figure, bool):
            assert figure is promised, f"{family}: {what} is {figure}, and {promised} is promised"
        else:
            assert figure <= promised, f"{family}: {what} is {figure}, and {promised} is promised"

    yield check
    if is_writing:
        written["versions"] = {
            "diffusers": diffusers.__version__,
            "transformers": transformers.__version__,
            "torch": torch.__version__.partition("+")[0],
        }
        FIGURES.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")


def _with_room(figure: float) -> float:
    """The next power of ten with room for another machine's last bits."""
    return 0.0 if figure == 0 else float(f"1e{ceil(log10(3 * figure))}")

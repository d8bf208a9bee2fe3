"""torch.compile: one graph for every batch of a job, the same pictures, and steps still counted.

Dynamo traces here as it always does. Its code generator, Inductor, takes a minute for a network of
this kind, so all tests but one leave it out (`backend="eager"`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shutil import rmtree, which
from typing import Any

import pytest
import torch

from actors.errors import ModelError
from actors.models.diffusion import Diffusion
from actors.models.pairing import fitted
from tests.models.conftest import Folders, Loaded, files_for, settings_for
from tests.models.test_families import PROMPTS, SEEDS, difference, start_for
from tests.models.tiny import unet

COMPILED = ["stable-diffusion", "stable-diffusion-xl", "stable-diffusion-3", "flux"]


@pytest.fixture
def graphs() -> Iterator[dict[str, int]]:
    """Dynamo's own counts, from nothing."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield torch._dynamo.utils.counters["stats"]
    torch._dynamo.reset()


@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_network_has_one_graph_and_is_still_counted(
    name: str,
    folders: Folders,
    loaded: Loaded,
    graphs: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For drawings and refinements, whatever the number of rows and of steps."""
    usual = loaded(name, batch_size=2)
    traced: Any = partial(torch.compile, backend="eager")
    monkeypatch.setattr("actors.models.loading.torch.compile", traced)
    model = Diffusion(settings_for(folders(name), compile=True, batch_size=2))
    for rows, steps in ((2, 3), (1, 3), (3, 5)):
        drawn = model.draw(PROMPTS[:rows], SEEDS[:rows], steps)
        evaluations = model.evaluations
        assert difference(drawn, usual.draw(PROMPTS[:rows], SEEDS[:rows], steps)) < 1e-4
        assert evaluations == usual.evaluations >= steps
        how = (PROMPTS[:rows], SEEDS[:rows], start_for(model)[:rows], 0.6, steps)
        refined = model.refine(*how)
        evaluations = model.evaluations
        assert difference(refined, usual.refine(*how)) < 1e-4
        assert evaluations == usual.evaluations >= steps
    assert graphs["unique_graphs"] == 1


@pytest.fixture
def inductors_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """For its caches, and for 150 MB of precompiled headers, which know no setting of their own."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    for place in ("_HEADER_DIR", "_HEADER_LOCK_DIR"):
        monkeypatch.setattr(f"torch._inductor.codecache.{place}", str(tmp_path / place))
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)
    yield tmp_path
    rmtree(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(which("g++") is None, reason="on a CPU, Inductor needs a C++ compiler")
def test_inductors_code_draws_the_same_pictures(
    folders: Folders, loaded: Loaded, graphs: dict[str, int], inductors_own_folder: Path
) -> None:
    """The whole of torch.compile, as the settings turn it on, for a UNet of one block.

    That is 40 s of one core; the UNets of the tiny pipelines would take a minute and more.
    """
    small = inductors_own_folder / "unet"
    of_one_block = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    torch.manual_seed(0)
    unet(block_out_channels=(8,), **of_one_block).save_pretrained(small)
    name = "stable-diffusion"
    fields = {"batch_size": 2, "guidance_scale": 1.0, "denoiser": {"path": str(small)}}
    usual = loaded(name, **fields)
    model = Diffusion(settings_for(folders(name), compile=True, **fields))
    for rows, steps in ((2, 1), (1, 3)):
        drawn = model.draw(PROMPTS[:rows], SEEDS[:rows], steps)
        assert model.evaluations == steps
        assert difference(drawn, usual.draw(PROMPTS[:rows], SEEDS[:rows], steps)) < 1e-4
        how = (PROMPTS[:rows], SEEDS[:rows], start_for(model)[:rows], 0.6, steps)
        assert difference(model.refine(*how), usual.refine(*how)) < 1e-4
    assert graphs["unique_graphs"] == 1
    assert list(inductors_own_folder.rglob("*.so")), "compiled here, and not found in a cache"


@pytest.mark.parametrize("name", ["z-image", "qwen-image", "qwen-image-edit"])
def test_what_has_no_fixed_shape_is_not_compiled(name: str, folders: Folders) -> None:
    files = files_for(folders(name), width=64, height=64, compile=True)
    with pytest.raises(ModelError, match="as many tokens as the prompt has"):
        fitted(files)


def test_compiled_weights_stay_where_they_are() -> None:
    with pytest.raises(ValueError, match="leave one of them out"):
        settings_for(Path("-"), compile=True, offload="model")

"""ImageReward through its own package: random weights, real classes, the real loading code.

One test has the real size (446 million parameters); the others take a small picture encoder of the
same class.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from actors.errors import ModelError
from actors.models.oracles.image_reward import ImageReward
from actors.oracle import Oracle
from actors.settings import OracleSettings
from tests.models.reward import make_folder, one_by_one, small_encoder
from tests.models.test_unsafe import set_trap

PROMPTS = [
    "a small red circle on a gray background",
    "a large blue square on a white background",
    "a green circle",
    "",
]
CPU = torch.device("cpu")


def pictures(rows: int) -> np.ndarray:
    """Smooth pictures, neither square nor of the model's size."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (rows, 6, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((320, 240))) for one in coarse])


def settings_for(folder: Path, **fields: Any) -> OracleSettings:
    return OracleSettings(kind="image-reward", path=str(folder), **{"batch_size": 4, **fields})


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small model: two layers of pictures, one of text."""
    with small_encoder():
        yield make_folder(tmp_path_factory.mktemp("small"), layers=1)


@pytest.fixture(scope="module")
def oracle(small: Path) -> Oracle:
    return Oracle(settings_for(small), threads=1)


def test_at_its_real_size_it_scores_as_its_package_does(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "real", layers=12)
    loaded = ImageReward(settings_for(folder), CPU)
    (folder / "ImageReward.pt").unlink()
    assert 440e6 < sum(weight.numel() for weight in loaded.model.parameters()) < 450e6
    shown = pictures(2)
    scores = loaded.score(PROMPTS[:2], shown)
    error = 0.01 * np.ptp(scores)
    assert error > 0
    assert scores == pytest.approx(one_by_one(loaded.model, PROMPTS[:2], shown), abs=error)


def test_a_batch_scores_as_one_by_one(oracle: Oracle) -> None:
    shown = pictures(4)
    assert isinstance(oracle.model, ImageReward)
    scores = oracle.model.score(PROMPTS, shown)
    assert np.ptp(scores) > 0.1
    assert scores == pytest.approx(one_by_one(oracle.model.model, PROMPTS, shown), abs=2e-5)


@pytest.mark.parametrize(("dtype", "error"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_half_precision_stays_near(oracle: Oracle, small: Path, dtype: str, error: float) -> None:
    half = ImageReward(settings_for(small, dtype=dtype), CPU)
    shown = pictures(4)
    exact = np.array(oracle.model.score(PROMPTS, shown))
    assert half.score(PROMPTS, shown) == pytest.approx(exact, abs=error * np.ptp(exact))


@pytest.mark.parametrize("rows", [4, 5])
def test_a_row_scores_the_same_to_the_bit_whatever_its_neighbours(
    oracle: Oracle, rows: int
) -> None:
    """At 5 rows its head's last layer would give other bits at another place."""
    shown = pictures(rows)
    prompts = [*PROMPTS, "red"][:rows]
    picks = [(0, n) for n in range(rows)]
    scores, _ = oracle.score(prompts, picks, shown, micro_batch_size=rows)
    assert len(set(scores)) == rows
    assert oracle.score(prompts[::-1], picks[::-1], shown, micro_batch_size=rows)[0] == scores[::-1]
    assert oracle.score(prompts[2:3], picks[2:3], shown, micro_batch_size=rows)[0] == scores[2:3]


def test_a_prompt_counts_up_to_35_tokens(oracle: Oracle) -> None:
    shown = pictures(2)
    beyond = ["red " * 33 + "blue", "red " * 33 + "green circle"]  # and two marks
    within = ["red " * 32 + "blue", "red " * 32 + "green"]
    same = np.stack([shown[0], shown[0]])
    one, other = oracle.model.score(beyond, same)
    assert one == other
    one, other = oracle.model.score(within, same)
    assert one != other
    assert oracle.model.truncated([*beyond, *within]) == (0, 1)
    assert oracle.score([beyond[0], within[0]], [(0, 0), (0, 0)], same)[1].truncated == (0,)


def test_safetensors_are_preferred_and_score_alike(
    oracle: Oracle, small: Path, tmp_path: Path
) -> None:
    for name in ("med_config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((small / name).read_bytes())
    weights = torch.load(small / "ImageReward.pt", weights_only=True)
    save_file(
        {name: tensor.clone() for name, tensor in weights.items()},
        tmp_path / "ImageReward.safetensors",
    )
    (tmp_path / "ImageReward.pt").write_bytes(b"never read")
    safe = ImageReward(settings_for(tmp_path), CPU)
    # To the bit, though a file's layout moves its tensors to where products have other last bits.
    assert safe.score(PROMPTS, pictures(4)) == oracle.model.score(PROMPTS, pictures(4))
    few = load_file(tmp_path / "ImageReward.safetensors")
    del few["mlp.layers.0.weight"]
    save_file(few, tmp_path / "ImageReward.safetensors")
    with pytest.raises(ModelError, match=r"lacks 1 of the weights .* 'mlp\.layers\.0\.weight'"):
        ImageReward(settings_for(tmp_path), CPU)


def test_code_in_its_pickle_does_not_run(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("med_config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((small / name).read_bytes())
    trace = tmp_path / "trace"
    set_trap(tmp_path / "ImageReward.pt", trace)
    with pytest.raises(ModelError, match="cannot read tensors"):
        ImageReward(settings_for(tmp_path), CPU)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(ModelError, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        ImageReward(settings_for(tmp_path), CPU)
    assert not trace.exists()


def test_the_process_is_as_it_was_before_the_package_was_imported(oracle: Oracle) -> None:
    assert not [name for name in sys.modules if name.split(".")[0] == "ImageReward"]
    assert not hasattr(transformers.modeling_utils, "find_pruneable_heads_and_indices")

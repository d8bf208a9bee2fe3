"""ImageReward through its own package: random weights, real classes, the real loading code.

One test has the real size (446 million parameters); the others take a small picture encoder of the
same class.
"""

from __future__ import annotations

import json
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
from actors.models.oracles import image_reward
from actors.models.oracles.image_reward import ImageReward
from actors.oracle import Oracle
from actors.settings import OracleSettings
from tests.models.test_unsafe import set_trap

VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("a", "on", "small", "large", "red", "blue", "green", "gray", "white"),
    *("circle", "square", "background"),
]
PROMPTS = [
    "a small red circle on a gray background",
    "a large blue square on a white background",
    "a green circle",
    "",
]
CPU = torch.device("cpu")


def med_config(layers: int) -> dict[str, Any]:
    """As published, but for the vocabulary and the number of layers."""
    return {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 768,
        "initializer_range": 0.02,
        "intermediate_size": 3072 if layers == 12 else 64,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "model_type": "bert",
        "num_attention_heads": 12,
        "num_hidden_layers": layers,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": 30524 if layers == 12 else len(VOCABULARY) + 2,
        "encoder_width": 768,
        "add_cross_attention": True,
    }


def make_folder(folder: Path, layers: int) -> Path:
    """A folder as the hub has it, with random weights under which scores differ."""
    folder.mkdir(exist_ok=True)
    config = med_config(layers)
    (folder / "med_config.json").write_text(json.dumps(config))
    unused = [f"[unused{n}]" for n in range(config["vocab_size"] - 2 - len(VOCABULARY))]
    (folder / "vocab.txt").write_text("\n".join([*VOCABULARY, *unused]) + "\n")
    with image_reward.init_empty_weights(include_buffers=False):
        shapes = image_reward._package().ImageReward(str(folder / "med_config.json")).state_dict()
    noise = torch.randn(1 << 26, generator=torch.Generator().manual_seed(3))
    weights = {}
    for place, (name, like) in enumerate(shapes.items()):
        flat = noise[place : place + like.numel()].reshape(like.shape)
        if not like.is_floating_point():
            weights[name] = like
        elif "norm" in name.lower():
            weights[name] = torch.full(like.shape, float(name.endswith("weight")))
        else:
            fan_in = like[0].numel() if name.endswith("weight") and like.ndim > 1 else 2500
            weights[name] = flat / fan_in**0.5
    torch.save(weights, folder / "ImageReward.pt")
    return folder


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
    inside = image_reward._package().BLIP_Pretrain.__init__.__globals__
    vision = inside["create_vit"].__globals__["VisionTransformer"]

    def create_vit(_vit: str, image_size: int, *_rest: object) -> tuple[torch.nn.Module, int]:
        size = {"img_size": image_size, "patch_size": 16, "embed_dim": 64}
        return vision(**size, depth=2, num_heads=4), 64

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(inside, "create_vit", create_vit)
        yield make_folder(tmp_path_factory.mktemp("small"), layers=1)


@pytest.fixture(scope="module")
def oracle(small: Path) -> Oracle:
    return Oracle(settings_for(small), threads=1)


def one_by_one(model: Any, prompts: list[str], shown: np.ndarray) -> list[float]:
    """The package's own `score`."""
    with torch.inference_mode():
        return [
            model.score(prompt, Image.fromarray(one))
            for prompt, one in zip(prompts, shown, strict=True)
        ]


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
    scores, _ = oracle.score(prompts, picks, shown, rows_at_once=rows)
    assert len(set(scores)) == rows
    assert oracle.score(prompts[::-1], picks[::-1], shown, rows_at_once=rows)[0] == scores[::-1]
    assert oracle.score(prompts[2:3], picks[2:3], shown, rows_at_once=rows)[0] == scores[2:3]


def test_a_prompt_counts_up_to_35_tokens(oracle: Oracle) -> None:
    shown = pictures(2)
    beyond = ["red " * 33 + "blue", "red " * 33 + "green circle"]  # and two marks
    within = ["red " * 32 + "blue", "red " * 32 + "green"]
    same = np.stack([shown[0], shown[0]])
    one, other = oracle.model.score(beyond, same)
    assert one == other
    one, other = oracle.model.score(within, same)
    assert one != other


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

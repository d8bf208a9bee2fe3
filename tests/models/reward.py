"""ImageReward with random weights, at its size or small, as its tests and benchmarks/gpu.py use it.

A small one is made and loaded within `small_encoder`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accelerate import init_empty_weights
from PIL import Image

from actors.images import Pictures
from actors.models.oracles import image_reward

VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("a", "on", "small", "large", "red", "blue", "green", "gray", "white"),
    *("circle", "square", "background"),
]


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
    with init_empty_weights(include_buffers=False):
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


@contextmanager
def small_encoder() -> Iterator[None]:
    """Within it the package's picture encoder is a small one of the same class: two layers."""
    inside = image_reward._package().BLIP_Pretrain.__init__.__globals__
    vision = inside["create_vit"].__globals__["VisionTransformer"]

    def create_vit(_vit: str, image_size: int, *_rest: object) -> tuple[torch.nn.Module, int]:
        size = {"img_size": image_size, "patch_size": 16, "embed_dim": 64}
        return vision(**size, depth=2, num_heads=4), 64

    with patch.dict(inside, create_vit=create_vit):
        yield


def one_by_one(model: Any, prompts: Sequence[str], shown: Pictures) -> list[float]:
    """The package's own `score`."""
    with torch.inference_mode():
        return [
            model.score(prompt, Image.fromarray(one))
            for prompt, one in zip(prompts, shown, strict=True)
        ]

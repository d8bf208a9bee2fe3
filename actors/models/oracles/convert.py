"""Converts published oracles into folders that a job loads: once, where a pickle does no harm.

    python -m actors.models.oracles.convert KIND WEIGHTS FOLDER OUTPUT

WEIGHTS is the published file, a pickle of which only tensors are read. FOLDER, or a hub id, is the
model that it belongs to, for its settings and its tokenizer. docs/oracles.md has a line for each.
"""

from __future__ import annotations

import re
import shutil
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from actors.errors import BottegaError, ModelError
from actors.models.folders import DESCRIPTIONS, model_folder
from actors.models.oracles import open_oracle
from actors.models.oracles.loading import read_tensors
from actors.models.oracles.oracle_files import AESTHETIC_HEAD, REWARD_WEIGHTS
from actors.settings import ScorerSettings

OPEN_CLIP_NAMES = (
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),  # transformers' own spelling
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.proj$", "visual_projection.weight"),
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^text_projection$", "text_projection.weight"),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.attn\.", ".self_attn."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
"""open_clip's names -> those of transformers' CLIPModel."""


def convert(kind: str, weights: Path, base: str, output: Path) -> None:
    """Make the folder `output` and load it once, as a job will. Raises ModelError."""
    tensors = read_tensors(weights)
    match kind:
        case "hps-v2":
            name, tensors = "model.safetensors", from_open_clip(tensors.get("state_dict", tensors))
        case "aesthetic":
            name = AESTHETIC_HEAD
        case _:
            name = REWARD_WEIGHTS[0]
    if output.exists():
        raise ModelError(f"{output} exists. Choose a new folder.")
    folder = model_folder(base)
    output.mkdir(parents=True)
    patterns = [*DESCRIPTIONS, *(["*.safetensors"] if kind == "aesthetic" else [])]
    for file in (file for pattern in patterns for file in folder.glob(pattern)):
        shutil.copyfile(file, output / file.name)
    # A tensor that is a view of another could not be saved.
    save_file({key: value.clone().contiguous() for key, value in tensors.items()}, output / name)
    open_oracle(ScorerSettings(kind=kind, path=str(output)), torch.device("cpu"))


def from_open_clip(weights: dict[str, Any]) -> dict[str, Any]:
    """A CLIP's weights by open_clip's names -> by those of transformers.

    open_clip keeps the two projections transposed, and queries, keys and values in one tensor.
    """
    renamed: dict[str, Any] = {}
    for name, tensor in weights.items():
        new = name
        for pattern, replacement in OPEN_CLIP_NAMES:
            new = re.sub(pattern, replacement, new)
        if ".in_proj_" in new:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                renamed[new.replace("in_proj_", f"{part}_proj.")] = piece
        else:
            renamed[new] = tensor.T if name in ("visual.proj", "text_projection") else tensor
    return renamed


def main() -> int:
    """The command. Returns its exit code."""
    parser = ArgumentParser(prog="python -m actors.models.oracles.convert", description=__doc__)
    parser.add_argument("kind", choices=["hps-v2", "aesthetic", "image-reward"])
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    try:
        convert(arguments.kind, arguments.weights, arguments.folder, arguments.output)
    except BottegaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{arguments.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The teacher's and the student's parts, and how they become standard diffusers folders."""

import functools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    LCMScheduler,
    SchedulerMixin,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from actors.models.shapes.training import text

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
}
"""Stable Diffusion's schedule with a last step of pure noise (Lin et al. 2024, section 3.1):
backgrounds are plain, and a schedule that leaks would give their brightness away in training."""


ONLY_DDIM = ("clip_sample", "set_alpha_to_one")
"""Settings that the ancestral Euler sampler, with which the teacher ships, does not have.

Fresh noise at every step mends what earlier steps painted wrong (Karras et al. 2022, section 4).
docs/embedded.md compares it with DDIM.
"""


def build_unet() -> UNet2DConditionModel:
    """5.3 M parameters: objects are bound to places at 8x8, where attention is affordable."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(48, 96, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=text.TEXT_WIDTH,
        attention_head_dim=4,  # the number of heads, by diffusers' historical name
        norm_num_groups=16,
    )


def fast_training(unet: UNet2DConditionModel, encoder: CLIPTextModel) -> None:
    """Attention as plain matrix products.

    On a CPU the backward pass of torch's fused attention took more than half of a training step.
    """
    unet.set_attn_processor(AttnProcessor())
    encoder.set_attn_implementation("eager")


@functools.cache
def alphas_cumprod() -> Tensor:
    """The signal's share of the variance at each of the 1000 timesteps."""
    alphas: Tensor = DDIMScheduler(**SCHEDULE).alphas_cumprod
    return alphas


@dataclass(kw_only=True)
class Parts:
    """The parts that the two pipelines are made of."""

    vae: AutoencoderTiny
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel

    @torch.no_grad()
    def encode_text(self, captions: list[str]) -> Tensor:
        """(batch, MAX_TOKENS, TEXT_WIDTH): the text encoder's last hidden states."""
        ids = tokenize(self.tokenizer, captions)
        return self.text_encoder(ids)[0]  # type: ignore[no-any-return]

    def save(self, folder: Path, *, student: bool) -> None:
        """Write a pipeline folder, the larger parts in float16 to stay small.

        transformers loads a model in the type in which it is stored, diffusers in float32: the text
        encoder is stored in float32, so that both halves of the pipeline agree by default.
        """
        scheduler: SchedulerMixin = EulerAncestralDiscreteScheduler(
            **{name: SCHEDULE[name] for name in SCHEDULE if name not in ONLY_DDIM}
        )
        if student:
            settings = SCHEDULE | {"timestep_spacing": "leading"}
            scheduler = LCMScheduler(**settings, original_inference_steps=50)
        pipeline = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        shutil.rmtree(folder, ignore_errors=True)
        halves = [(part, part.dtype) for part in (self.vae, self.unet)]
        for part, _ in halves:
            part.half()
        pipeline.save_pretrained(folder, safe_serialization=True)
        for part, dtype in halves:
            part.to(dtype)
        forget_paths(folder)


def load(folder: Path) -> Parts:
    """The parts of a pipeline that was saved, in float32."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    return Parts(
        vae=pipe.vae, tokenizer=pipe.tokenizer, text_encoder=pipe.text_encoder, unet=pipe.unet
    )


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """(batch, MAX_TOKENS) token ids, padded and cut as the pipelines do it."""
    encoded = tokenizer(
        captions,
        padding="max_length",
        max_length=text.MAX_TOKENS,
        truncation=True,
        return_tensors="pt",
    )
    ids = encoded.input_ids
    assert isinstance(ids, Tensor)
    return ids


def forget_paths(folder: Path) -> None:
    """Take out of the configurations what loaders warn about and where this machine kept it."""
    for file in sorted(folder.rglob("*.json")):
        content = json.loads(file.read_text())
        if isinstance(content, dict) and file.name == "config.json":
            content.pop("_name_or_path", None)
            if content.get("_class_name") == "AutoencoderTiny":
                content.pop("block_out_channels", None)
            file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")

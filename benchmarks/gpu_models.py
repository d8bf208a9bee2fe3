"""Pipelines of published sizes with random weights: speed does not depend on the weights.

Configurations: those in the hub folders of stable-diffusion-v1-5, stable-diffusion-xl-base-1.0,
stable-diffusion-3.5-medium and -large, and FLUX.1-schnell; other fields have the class's default.
The tiny ones are for a machine without a GPU. Tokenizers are small, since any tokenizer pads a
prompt to the same length.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

from tests.models.tiny import (
    BETAS,
    clip_tokenizer,
    flux,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_xl,
    t5,
)


def _tokenizer() -> CLIPTokenizer:
    tokenizer = clip_tokenizer()
    tokenizer.model_max_length = 77
    return tokenizer


def _clip(kind: type, width: int, inner: int, heads: int, layers: int, projection: int) -> Any:
    tokenizer = _tokenizer()
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=inner,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        projection_dim=projection,
        hidden_act="quick_gelu" if width == 768 else "gelu",
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind(config)


def _clip_l(kind: type = CLIPTextModel) -> Any:
    return _clip(kind, 768, 3072, 12, 12, 768)


def _clip_big_g() -> Any:
    return _clip(CLIPTextModelWithProjection, 1280, 5120, 20, 32, 1280)


def _autoencoder(channels: int, **more: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=channels,
        **more,
    )


def _on_cpu(kind: type, **arguments: Any) -> Any:
    """A scheduler on the CPU: its constructor computes with numbers, also under a meta device."""
    with torch.device("cpu"):
        return kind(**arguments)


def sd15() -> Any:
    """Stable Diffusion 1.5: 512 pixels, a UNet of 860 million parameters."""
    return StableDiffusionPipeline(
        vae=_autoencoder(4, scaling_factor=0.18215),
        text_encoder=_clip_l(),
        tokenizer=_tokenizer(),
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        scheduler=_on_cpu(
            DDIMScheduler, **BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl() -> Any:
    """SDXL: 1024 pixels, a UNet of 2.6 billion parameters."""
    return StableDiffusionXLPipeline(
        vae=_autoencoder(4, scaling_factor=0.13025, force_upcast=True),
        text_encoder=_clip_l(),
        text_encoder_2=_clip_big_g(),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        unet=UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(5, 10, 20),
            transformer_layers_per_block=(1, 2, 10),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        scheduler=_on_cpu(
            EulerDiscreteScheduler, **BETAS, steps_offset=1, timestep_spacing="leading"
        ),
        add_watermarker=False,
    )


def _t5_xxl() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=32128,
            d_model=4096,
            d_kv=64,
            d_ff=10240,
            num_layers=24,
            num_heads=64,
            feed_forward_proj="gated-gelu",
        )
    )


def _sd35(**transformer: Any) -> Any:
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=128,
            joint_attention_dim=4096,
            pooled_projection_dim=2048,
            qk_norm="rms_norm",
            **transformer,
        ),
        vae=_autoencoder(
            16,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=_clip_l(CLIPTextModelWithProjection),
        tokenizer=_tokenizer(),
        text_encoder_2=_clip_big_g(),
        tokenizer_2=_tokenizer(),
        text_encoder_3=_t5_xxl(),
        tokenizer_3=t5()["tokenizer"],
        scheduler=_on_cpu(FlowMatchEulerDiscreteScheduler, shift=3.0),
    )


def sd35_medium() -> Any:
    """Stable Diffusion 3.5 Medium: 1024 pixels, a transformer of 2.5 billion parameters."""
    return _sd35(
        num_layers=24,
        num_attention_heads=24,
        caption_projection_dim=1536,
        pos_embed_max_size=384,
        dual_attention_layers=tuple(range(13)),
    )


def sd35_large() -> Any:
    """Stable Diffusion 3.5 Large: 1024 pixels, a transformer of 8 billion parameters."""
    return _sd35(
        num_layers=38,
        num_attention_heads=38,
        caption_projection_dim=2432,
        pos_embed_max_size=192,
    )


def flux_schnell() -> Any:
    """FLUX.1 [schnell]: 1024 pixels, a transformer of 12 billion parameters."""
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=64,
            num_layers=19,
            num_single_layers=38,
            attention_head_dim=128,
            num_attention_heads=24,
            joint_attention_dim=4096,
            pooled_projection_dim=768,
            guidance_embeds=False,
        ),
        vae=_autoencoder(
            16,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=_clip_l(),
        tokenizer=_tokenizer(),
        text_encoder_2=_t5_xxl(),
        tokenizer_2=t5()["tokenizer"],
        scheduler=_on_cpu(FlowMatchEulerDiscreteScheduler, shift=1.0),
    )


class Model(NamedTuple):
    """One pipeline, and the batch sizes at which it is measured."""

    build: Callable[[], Any]
    dtype: str
    side: int
    """Width and height in pixels."""
    batches: dict[str, tuple[int, ...]]
    """By role; the smallest is 1, in which batching can gain nothing."""


_TINY = {"student": (1, 2), "teacher": (1, 2)}
MODELS = {
    "tiny-sd": Model(stable_diffusion, "float32", 32, _TINY),
    "tiny-sdxl": Model(stable_diffusion_xl, "float32", 32, _TINY),
    "tiny-sd3": Model(stable_diffusion_3, "float32", 32, _TINY),
    "tiny-flux": Model(flux, "float32", 32, {"student": (1, 2)}),
    "sd15": Model(sd15, "float16", 512, {"student": (1, 8, 32), "teacher": (1, 8, 32)}),
    "sdxl": Model(sdxl, "float16", 1024, {"student": (1, 4, 16), "teacher": (1, 4, 8)}),
    "sd35-medium": Model(
        sd35_medium, "bfloat16", 1024, {"student": (1, 4, 16), "teacher": (1, 4, 8)}
    ),
    "sd35-large": Model(sd35_large, "bfloat16", 1024, {"student": (1, 4), "teacher": (1, 4)}),
    "flux-schnell": Model(flux_schnell, "bfloat16", 1024, {"student": (1, 4)}),
}


def save(name: str, folder: Path, device: torch.device) -> Path:
    """The pipeline with random weights, in its precision, saved in `folder`."""
    build, dtype, *_ = MODELS[name]
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    try:
        # Made on the fast device and in its final precision: 26 GB are not written as 52.
        torch.set_default_dtype(getattr(torch, dtype))
        with device:
            pipe = build()
    finally:
        torch.set_default_dtype(before)
    pipe.to(dtype=getattr(torch, dtype)).save_pretrained(folder)
    return folder

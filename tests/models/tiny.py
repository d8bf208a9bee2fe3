"""Tiny pipelines of the real classes with random weights, saved as real models are.

A few thousand parameters each, so that a whole family is tested in seconds. Their pictures mean
nothing; the tests compare them with those of diffusers' own calls, and vary what must not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLQwenImage,
    ControlNetModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImageControlNetModel,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from actors.models.file_reader import read_config
from actors.models.presets import PRESETS

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LETTERS = [chr(code) for code in range(33, 127)]


def clip_tokenizer() -> CLIPTokenizer:
    """The embedded set's; it reads 32 tokens."""
    return CLIPTokenizer.from_pretrained(Path(PRESETS["shapes"].student.path) / "tokenizer")


def clip(kind: type = CLIPTextModel, width: int = 32) -> Any:
    tokenizer = clip_tokenizer()
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=37,
            projection_dim=width,
            num_attention_heads=4,
            num_hidden_layers=2,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def t5(width: int = 32) -> dict[str, Any]:
    """Text encoder and tokenizer."""
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    tokenizer = T5TokenizerFast(vocab=words + [(one, -3.0) for one in LETTERS], extra_ids=0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_ff=37, d_kv=8, num_heads=4, num_layers=2
    )
    return {"text_encoder": T5EncoderModel(config), "tokenizer": tokenizer}


def qwen_tokenizer() -> Qwen2Tokenizer:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    vocab = {one: place for place, one in enumerate(bytes_to_unicode().values())}
    special = [
        "<|endoftext|>",
        "<|vision_start|>",
        "<|image_pad|>",
        "<|video_pad|>",
        "<|vision_end|>",
    ]
    vocab |= {one: len(vocab) + place for place, one in enumerate(special)}
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=[], additional_special_tokens=special[1:])
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}:"
    return tokenizer


def autoencoder(channels: int, **more: Any) -> AutoencoderKL:
    """Of two pixels a latent cell."""
    return AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=16,
        **more,
    )


FLOW_AUTOENCODER = {
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "shift_factor": 0.0609,
    "scaling_factor": 1.5035,
}


def unet(**more: Any) -> UNet2DConditionModel:
    wanted: dict[str, Any] = {
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "sample_size": 8,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 4,
        "norm_num_groups": 4,
        "cross_attention_dim": 32,
    }
    return UNet2DConditionModel(**{**wanted, **more})


def stable_diffusion() -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=autoencoder(4),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        unet=unet(),
        scheduler=DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


XL = {
    "cross_attention_dim": 64,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 32,
}


def stable_diffusion_xl() -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline(
        vae=autoencoder(4, scaling_factor=0.13025),
        text_encoder=clip(),
        text_encoder_2=clip(CLIPTextModelWithProjection),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet(**XL),
        scheduler=EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading"),
        add_watermarker=False,
    )


def instruct_pix2pix_xl() -> StableDiffusionXLInstructPix2PixPipeline:
    """The same of SDXL."""
    made = stable_diffusion_xl()
    parts = {**made.components, "unet": unet(**{**XL, "in_channels": 8})}
    names = ("image_encoder", "feature_extractor")
    return StableDiffusionXLInstructPix2PixPipeline(
        **{name: part for name, part in parts.items() if name not in names}, add_watermarker=False
    )


def instruct_pix2pix() -> StableDiffusionInstructPix2PixPipeline:
    """Its UNet is shown a picture's latents beside its own."""
    return StableDiffusionInstructPix2PixPipeline(
        vae=autoencoder(4),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        unet=unet(in_channels=8),
        scheduler=EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl_refiner() -> StableDiffusionXLImg2ImgPipeline:
    """It knows one text encoder, the second, and an aesthetic score."""
    return StableDiffusionXLImg2ImgPipeline(
        vae=autoencoder(4, scaling_factor=0.13025),
        text_encoder=None,
        text_encoder_2=clip(CLIPTextModelWithProjection),
        tokenizer=None,
        tokenizer_2=clip_tokenizer(),
        unet=unet(
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=5 * 8 + 32,
        ),
        scheduler=EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading"),
        requires_aesthetics_score=True,
        add_watermarker=False,
    )


def stable_diffusion_3() -> StableDiffusion3Pipeline:
    large = t5()
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=64,
            caption_projection_dim=32,
            pooled_projection_dim=64,
            out_channels=16,
            pos_embed_max_size=16,
        ),
        vae=autoencoder(16, **FLOW_AUTOENCODER),
        text_encoder=clip(CLIPTextModelWithProjection),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip(CLIPTextModelWithProjection),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5(64)["text_encoder"],
        tokenizer_3=large["tokenizer"],
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def flux() -> FluxPipeline:
    """As FLUX.1-dev: guidance is an input of the network, the schedule shifts with the size."""
    large = t5()
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
        vae=autoencoder(16, **FLOW_AUTOENCODER),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=large["text_encoder"],
        tokenizer_2=large["tokenizer"],
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
    )


def flux_kontext() -> FluxKontextPipeline:
    """The same parts; it is shown a picture's latents beside its own."""
    return FluxKontextPipeline(**flux().components)


def _sana_parts(**more: Any) -> dict[str, Any]:
    vocab = {one: place for place, one in enumerate(("<pad>", "<eos>", "<bos>", "<unk>", "▁"))}
    vocab |= {one: len(vocab) + place for place, one in enumerate(LETTERS)}
    tokenizer = GemmaTokenizerFast(vocab=vocab, merges=[])
    tokenizer.padding_side = "right"
    encoder = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_hidden_layers=1,
        head_dim=4,
        pad_token_id=0,
    )
    return {
        "transformer": SanaTransformer2DModel(
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=8,
            sample_size=8,
            **more,
        ),
        "vae": AutoencoderDC(
            in_channels=3,
            latent_channels=4,
            attention_head_dim=2,
            encoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock"),
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            encoder_qkv_multiscales=((), (5,)),
            decoder_qkv_multiscales=((), (5,)),
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            scaling_factor=0.41407,
        ),
        "text_encoder": Gemma2Model(encoder),
        "tokenizer": tokenizer,
    }


def sana() -> SanaPipeline:
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return SanaPipeline(**_sana_parts(), scheduler=scheduler)


def sana_sprint() -> SanaSprintPipeline:
    parts = _sana_parts(
        guidance_embeds=True, guidance_embeds_scale=0.1, qk_norm="rms_norm_across_heads"
    )
    return SanaSprintPipeline(**parts, scheduler=SCMScheduler())


def z_image() -> ZImagePipeline:
    config = Qwen3Config(
        vocab_size=len(qwen_tokenizer()),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
    transformer = ZImageTransformer2DModel(
        in_channels=16,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    )
    # Padding tokens are left as the memory was; a trained model has them.
    torch.nn.init.normal_(transformer.x_pad_token)
    torch.nn.init.normal_(transformer.cap_pad_token)
    return ZImagePipeline(
        transformer=transformer,
        vae=autoencoder(16, **FLOW_AUTOENCODER),
        text_encoder=Qwen3Model(config),
        tokenizer=qwen_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def _qwen_parts(halvings: int, width: int) -> dict[str, Any]:
    tokenizer = qwen_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": 16,
    }
    marks = {"image_token_id": "<|image_pad|>", "vision_start_token_id": "<|vision_start|>"}
    tokens = {name: tokenizer.convert_tokens_to_ids(token) for name, token in marks.items()}
    return {
        "transformer": QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=64,
            out_channels=16,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(8, 4, 4),
        ),
        "vae": AutoencoderKLQwenImage(
            base_dim=width,
            z_dim=16,
            dim_mult=[1] * (halvings + 1),
            num_res_blocks=1,
            temperal_downsample=[False] * halvings,
            latents_mean=[0.1 * place for place in range(16)],
            latents_std=[1.0 + 0.1 * place for place in range(16)],
        ),
        "text_encoder": Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
        ),
        "tokenizer": tokenizer,
        "scheduler": FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, shift_terminal=0.02
        ),
    }


def qwen_image() -> QwenImagePipeline:
    return QwenImagePipeline(**_qwen_parts(halvings=1, width=6))


def _qwen_edit_parts() -> dict[str, Any]:
    """The pipelines bring a picture to a million pixels: these are few cells of 32 pixels each."""
    few = {"min_pixels": 28 * 28, "max_pixels": 56 * 56}
    processor = Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(**few),
        tokenizer=qwen_tokenizer(),
        video_processor=Qwen2VLVideoProcessor(),
    )
    return _qwen_parts(halvings=5, width=2) | {"processor": processor}


def qwen_image_edit() -> QwenImageEditPipeline:
    """Its text encoder sees the picture too."""
    return QwenImageEditPipeline(**_qwen_edit_parts())


def qwen_image_edit_plus() -> QwenImageEditPlusPipeline:
    return QwenImageEditPlusPipeline(**_qwen_edit_parts())


BUILDERS: dict[str, Callable[[], Any]] = {
    "stable-diffusion": stable_diffusion,
    "stable-diffusion-xl": stable_diffusion_xl,
    "sdxl-refiner": sdxl_refiner,
    "instruct-pix2pix": instruct_pix2pix,
    "instruct-pix2pix-xl": instruct_pix2pix_xl,
    "stable-diffusion-3": stable_diffusion_3,
    "flux": flux,
    "flux-kontext": flux_kontext,
    "sana": sana,
    "sana-sprint": sana_sprint,
    "z-image": z_image,
    "qwen-image": qwen_image,
    "qwen-image-edit": qwen_image_edit,
    "qwen-image-edit-plus": qwen_image_edit_plus,
}


EDITORS = (
    "instruct-pix2pix",
    "instruct-pix2pix-xl",
    "flux-kontext",
    "qwen-image-edit",
    "qwen-image-edit-plus",
)
"""Those that edit a picture by an instruction."""


def build(name: str, folder: Path) -> Path:
    """The pipeline of this name, saved in `folder`."""
    torch.manual_seed(0)
    BUILDERS[name]().save_pretrained(folder)
    return folder


def controlnet(pipeline: Path, folder: Path, **more: Any) -> Path:
    """A ControlNet for the network of a tiny pipeline, saved in `folder`; it has a say."""
    torch.manual_seed(1)
    name = read_config(pipeline / "model_index.json")["_class_name"]
    if "StableDiffusion" in name:
        network = UNet2DConditionModel.from_pretrained(pipeline, subfolder="unet")
        # As many halvings as the autoencoder has: one.
        made: Any = ControlNetModel.from_unet(
            network, conditioning_embedding_out_channels=(4, 8), **more
        )
    else:
        kind = FluxControlNetModel if name == "FluxPipeline" else QwenImageControlNetModel
        config = read_config(pipeline / "transformer" / "config.json")
        made = kind.from_config({**config, "num_layers": 1, **more})
    for weights in made.parameters():
        torch.nn.init.normal_(weights, std=0.1)  # those that begin with zero would say nothing
    made.save_pretrained(folder)
    return folder

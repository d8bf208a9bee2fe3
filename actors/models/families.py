"""The families of diffusion pipelines: how diffusers' classes differ where it matters here.

A table, and arithmetic on settings and configurations. It reads no file and imports neither torch
nor diffusers, so that a job that cannot work is refused before anything starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from pathlib import Path
from typing import Any, Literal

from actors.errors import ModelError
from actors.rollback import Noise, Rounding
from actors.settings import DiffusionSettings

Condition = Literal["pictures", "latents", "unscaled latents"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The properties of one family.

    `text_to_image`, `image_to_image`: diffusers' classes; empty where diffusers has none.
    `guidance`: the name of the pipeline's argument for the guidance scale. `doubles_above`: the
    scale above which a step takes `guided_passes` network evaluations; None where the network takes
    the scale as an input. `rounding`: how img2img gets from a strength to steps. `controlnet`: the
    class of the ControlNets that it takes here; `controlnet_img2img`: whether also from a picture.
    `gives_sigmas`: whether the pipeline gives its scheduler the levels of noise, evenly spaced, or
    only their number. `condition`: the form in which an editor's pipeline takes the picture that it
    edits by an instruction; None for a family without editors. `own_pixels`: default width and
    height; None where they follow from the network's `sample_size`. `patch`: latent cells, along a
    side, that the network takes as one. `multiple_of`: pixels, where the pipeline itself asks for
    more. `most_tokens`: of the prompt, where there is a choice.
    `by_row`: the prompt's embeddings are as long as the prompt, and a batch is padded to its
    longest: each row is computed alone, so that it does not depend on its neighbours.
    """

    name: str
    text_to_image: tuple[str, ...]
    image_to_image: tuple[str, ...] = ()
    denoiser: Literal["unet", "transformer"] = "transformer"
    noise: Noise = "flow"
    rounding: Rounding = "up"
    gives_sigmas: bool = False
    guidance: Literal["guidance_scale", "true_cfg_scale"] = "guidance_scale"
    doubles_above: float | None = 1.0
    guided_passes: int = 2
    own_pixels: int | None = None
    patch: int = 1
    multiple_of: int = 1
    most_tokens: int | None = None
    by_row: bool = False
    controlnet: str | None = None
    controlnet_img2img: bool = True
    condition: Condition | None = None

    @property
    def instructed(self) -> bool:
        """Whether it edits a picture by an instruction, and is shown the picture at every step."""
        return self.condition is not None

    @property
    def refines(self) -> bool:
        """Whether it can start from a picture.

        By diffusers' image-to-image; or, for an editor of flow matching, by the latents and levels
        of noise that its pipeline takes.
        """
        return bool(self.image_to_image) or (self.instructed and self.noise == "flow")

    @property
    def has_image_guidance(self) -> bool:
        """Whether the picture guides it too: a pass with both, with the picture, with neither."""
        return self.guided_passes == 3

    def evaluations_per_step(self, guidance_scale: float, denoiser: dict[str, Any]) -> int:
        """Network evaluations of one step. denoiser: config.json of the network."""
        if self.doubles_above is None or denoiser.get("time_cond_proj_dim") is not None:
            return 1  # The scale is an input of the network.
        return self.guided_passes if guidance_scale > self.doubles_above else 1


FAMILIES = (
    Family(
        name="stable-diffusion",
        text_to_image=("StableDiffusionPipeline",),
        image_to_image=("StableDiffusionImg2ImgPipeline",),
        controlnet="ControlNetModel",
        denoiser="unet",
        noise="diffusion",
        rounding="down",
    ),
    Family(
        name="stable-diffusion-xl",
        text_to_image=("StableDiffusionXLPipeline",),
        image_to_image=("StableDiffusionXLImg2ImgPipeline",),
        controlnet="ControlNetModel",
        denoiser="unet",
        noise="diffusion",
        rounding="down",
    ),
    Family(
        name="instruct-pix2pix",
        text_to_image=(
            "StableDiffusionInstructPix2PixPipeline",
            "StableDiffusionXLInstructPix2PixPipeline",
        ),
        denoiser="unet",
        noise="diffusion",
        rounding="down",
        guided_passes=3,
        condition="unscaled latents",
    ),
    Family(
        name="stable-diffusion-3",
        text_to_image=("StableDiffusion3Pipeline",),
        image_to_image=("StableDiffusion3Img2ImgPipeline",),
        patch=2,
        most_tokens=512,
    ),
    Family(
        name="flux",
        text_to_image=("FluxPipeline",),
        image_to_image=("FluxImg2ImgPipeline",),
        controlnet="FluxControlNetModel",
        doubles_above=None,
        own_pixels=1024,
        patch=2,
        most_tokens=512,
        gives_sigmas=True,
    ),
    Family(
        name="flux-kontext",
        text_to_image=("FluxKontextPipeline",),
        doubles_above=None,
        own_pixels=1024,
        patch=2,
        most_tokens=512,
        condition="latents",
        gives_sigmas=True,
    ),
    Family(name="sana", text_to_image=("SanaPipeline",), most_tokens=300, multiple_of=32),
    Family(
        name="sana-sprint",
        text_to_image=("SanaSprintPipeline",),
        noise="angle",
        doubles_above=None,
        most_tokens=300,
        multiple_of=32,
    ),
    Family(
        name="z-image",
        text_to_image=("ZImagePipeline",),
        image_to_image=("ZImageImg2ImgPipeline",),
        doubles_above=0.0,
        own_pixels=1024,
        patch=2,
        most_tokens=512,
        by_row=True,
        gives_sigmas=True,
    ),
    Family(
        name="qwen-image",
        text_to_image=("QwenImagePipeline",),
        image_to_image=("QwenImageImg2ImgPipeline",),
        controlnet="QwenImageControlNetModel",
        controlnet_img2img=False,
        guidance="true_cfg_scale",
        own_pixels=1024,
        patch=2,
        most_tokens=1024,
        by_row=True,
        gives_sigmas=True,
    ),
    Family(
        name="qwen-image-edit",
        text_to_image=("QwenImageEditPipeline", "QwenImageEditPlusPipeline"),
        guidance="true_cfg_scale",
        own_pixels=1024,
        patch=2,
        by_row=True,
        condition="pictures",
        gives_sigmas=True,
    ),
)

_BY_PIPELINE = {
    pipeline: family
    for family in FAMILIES
    for pipeline in (*family.text_to_image, *family.image_to_image)
}


@dataclass(frozen=True, slots=True)
class Shape:
    """`width` and `height` of a picture, and `cell`, the width of a latent cell, in pixels."""

    width: int
    height: int
    cell: int


def family_of(pipeline: str, folder: Path) -> Family:
    """The family of a pipeline's class. Raises ModelError for one that is not known.

    folder: where it was found, for the message.
    """
    if pipeline not in _BY_PIPELINE:
        raise ModelError(
            f"model folder {str(folder)!r} is a {pipeline}, and Bottega knows "
            f"{', '.join(sorted(_BY_PIPELINE))}. Use a model of one of these."
        )
    return _BY_PIPELINE[pipeline]


MOST_SIDE = 16_384
"""Pixels of a side that follows from a model's configuration. Chosen: no model draws 4,096."""


def shape_of(
    settings: DiffusionSettings, family: Family, network: dict[str, Any], vae: dict[str, Any]
) -> Shape:
    """The shape of a model's pictures. Raises ModelError for sizes that it cannot draw.

    network, vae: config.json of the UNet or transformer, and of the autoencoder.
    """
    cell = cell_of(vae)
    multiple = lcm(cell * family.patch, family.multiple_of)
    own = family.own_pixels or _side(network.get("sample_size"), cell)
    for name, given in (("width", settings.width), ("height", settings.height)):
        if given is None and own is not None and own > MOST_SIDE:
            raise ModelError(
                f"model {settings.path!r} draws {own:,} pixels a side by its sample_size, and "
                f"{MOST_SIDE:,} is the most. Copy the model again, or give its {name}."
            )
        if given is None and own is None:
            raise ModelError(f"model {settings.path!r} has no size of its own: give its {name}.")
        if given is not None and given % multiple:
            raise ModelError(
                f"{name}: {given} pixels is not a multiple of {multiple}, as model "
                f"{settings.path!r} needs. Try {max(1, round(given / multiple)) * multiple}."
            )
    return Shape(settings.width or own or 0, settings.height or own or 0, cell)


def _side(sample_size: Any, cell: int) -> int | None:
    """`sample_size` is in latent cells: a number, or a pair of equal ones."""
    if isinstance(sample_size, list):
        sample_size = sample_size[0] if len(set(sample_size)) == 1 else None
    return sample_size * cell if isinstance(sample_size, int) and sample_size > 0 else None


def cell_of(vae: dict[str, Any]) -> int:
    """The width of a latent cell, in pixels. vae: config.json of the autoencoder."""
    if isinstance(vae.get("temperal_downsample"), list):
        return int(2 ** len(vae["temperal_downsample"]))
    blocks = vae.get("block_out_channels") or vae.get("encoder_block_out_channels") or [1]
    return int(2 ** (len(blocks) - 1)) if isinstance(blocks, list) else 1

"""A diffusers text-to-image pipeline as Bottega uses it: one shape a batch, noise per row.

`Student` and `Teacher` are thin roles over this class. It leaves prompts and denoising to the
pipeline's own `__call__`; encoding and decoding are done here, because the latents are wanted too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from actors.errors import ModelError
from actors.images import Pictures, resized
from actors.models.batches import best_device, padded
from actors.models.families import Shape
from actors.models.loading import load_pipeline
from actors.models.noise_levels import Start, even_sigmas, set_steps, start_of
from actors.models.pipeline_files import PipelineFiles, open_pipeline_files
from actors.models.prompt_cuts import TOKENIZERS, reader_of
from actors.models.schedulers import noise_of_each_row
from actors.models.timesteps import mend
from actors.refinement import Conditioning, RowOptions
from actors.rollback import strength_for_steps
from actors.settings import ControlNetSettings, DiffusionSettings

if TYPE_CHECKING:
    from actors.models.long_prompts import LongPrompts

T = TypeVar("T")

Overflow = Literal["latents", "pixels"]
"""The numbers of a row that are not finite."""


def in_batches(compute: Callable[[slice], T], num_rows: int, size: int) -> list[T]:
    """The results of `compute` for each `size` rows in turn."""
    with torch.inference_mode():
        return [compute(slice(first, first + size)) for first in range(0, num_rows, size)]


def _start_in(
    files: PipelineFiles[DiffusionSettings], shape: Shape, strength: float, steps: int
) -> Start:
    sides = {"width": shape.width, "height": shape.height}
    settings = files.settings.model_copy(update=sides)
    return start_of(replace(files, settings=settings), strength, steps)


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One generator for each row. On the CPU, also for a GPU: the same noise on every device."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


class Diffusion:
    """One loaded pipeline.

    Latents are (rows, channels, height, width) in every family, scaled as the network takes them.
    """

    def __init__(self, settings: DiffusionSettings) -> None:
        self.settings = settings
        files = open_pipeline_files(settings)
        self.family, self.shape, self._own_shape = files.family, files.shape, files.shape
        self._guidance_scale = settings.guidance_scale
        self.device = best_device()
        self.pipe: Any = load_pipeline(files, self.device)
        mend(self.pipe.scheduler)
        self._draws = files.draws
        self._start_at: Callable[[Shape, float, int], Start] = cache(partial(_start_in, files))
        passes = settings.guidance_passes or self.family.evaluations_per_step(
            settings.guidance_scale, files.network
        )
        self._is_guided = passes > 1
        self._refining: Any = None
        self._long_prompts: LongPrompts | None = None
        if settings.prompt_windows > 1:
            # Here, because few models need it.
            from actors.models.long_prompts import LongPrompts

            self._long_prompts = LongPrompts(self.pipe, settings.prompt_windows, self.device)
        self.denoiser = getattr(self.pipe, self.family.denoiser)
        self._evaluated_rows = self._computed_rows = 0
        self._finite_pixels: list[bool] = []
        """By row of the last `decode`."""
        self.denoiser.register_forward_pre_hook(self._count, with_kwargs=True)

    def adopt(self, options: RowOptions) -> None:
        """Draw and refine with these options from now on; the settings' own are in place of None.

        The cached schedules and the number of network evaluations of a step stay as they are.
        """
        own, settings = self._own_shape, self.settings
        width, height = options.canvas or (own.width, own.height)
        self.shape = replace(own, width=width, height=height)
        given = options.guidance_scale
        self._guidance_scale = settings.guidance_scale if given is None else given

    def start_at(self, strength: float, steps: int) -> Start:
        """Where a refinement in the present size starts (`actors.models.noise_levels`)."""
        return self._start_at(self.shape, strength, steps)

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        steps: int,
        micro_batch_size: int | None = None,
        conditions: torch.Tensor | None = None,
        negatives: Sequence[str] | None = None,
    ) -> torch.Tensor:
        """Draw from noise, `micro_batch_size` (the batch size by default) rows together.

        Returns latents: (rows, channels, height, width), on the device. `seeds` are the stage's
        own (`actors.seeds.stage_seed`), one a row. conditions: as `conditions` returns them, shown
        to the network at every step. negatives: the rows' negative prompts, which a model without
        guidance does not read; None: as the pipeline has them.
        """
        if not self._draws:
            raise ModelError(f"a {type(self.pipe).__name__} only refines: it needs a picture.")
        scheduler = self.settings.scheduler
        timesteps = scheduler.timesteps if scheduler else None
        more = {"timesteps": list(timesteps)} if timesteps else {"num_inference_steps": steps}

        def batch(rows: slice, size: int) -> torch.Tensor:
            noise = generators(padded(seeds[rows], size))
            own = self._condition(self.pipe, conditions, rows, size)
            own |= self._negatives(negatives, rows, size)
            return self._call(self.pipe, prompts[rows], noise, more | own)

        return self._in_batches(batch, len(prompts), micro_batch_size)

    def refine(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        start: torch.Tensor,
        strength: float,
        steps: int,
        micro_batch_size: int | None = None,
        conditions: torch.Tensor | None = None,
        negatives: Sequence[str] | None = None,
    ) -> torch.Tensor:
        """Noise `start` to `strength` and denoise from there in `steps` steps; see `draw`.

        start: latents (rows, channels, height, width), as `draw` or `encode` return them.
        Returns latents, on the device. Source: arXiv 2312.10835, section 3.2.
        """
        if self._refining is None:
            self._refining = self.pipe if self.family.instructed else self._image_to_image()
        pipe = self._refining
        whole = self.start_at(strength, steps).whole_steps
        skipping = {
            "strength": strength_for_steps(steps, whole, self.family.rounding),
            "num_inference_steps": whole,
        }

        def batch(rows: slice, size: int) -> torch.Tensor:
            noise = generators(padded(seeds[rows], size))
            image = torch.stack(padded(list(start[rows]), size))
            image = image.to(self.device, self.denoiser.dtype)
            if self.family.instructed:
                more = self._from_latents(image, noise, steps, whole)
            else:
                more = {"image": image, **skipping}
            own = self._condition(pipe, conditions, rows, size)
            own |= self._negatives(negatives, rows, size)
            return self._call(pipe, prompts[rows], noise, more | own)

        return self._in_batches(batch, len(prompts), micro_batch_size)

    def draw_anew(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        steps: int,
        conditioning: Conditioning | None,
        pictures: Pictures | None,
        micro_batch_size: int | None = None,
        negatives: Sequence[str] | None = None,
    ) -> torch.Tensor:
        """Draw as the task wants it: from noise, or from the rows' own pictures; see `draw`.

        pictures: the rows' own, as `actors.images.prepared` makes them for this conditioning; there
        are as many prompts for each as the row has drawings.
        """
        if conditioning is None:
            return self.draw(prompts, seeds, steps, micro_batch_size, negatives=negatives)
        assert pictures is not None, f"task {conditioning.task} without pictures"
        draws = len(prompts) // len(pictures)
        conditions = self.conditions(conditioning, pictures, micro_batch_size)
        if conditions is not None:
            shown = conditions.repeat_interleave(draws, dim=0)
            return self.draw(prompts, seeds, steps, micro_batch_size, shown, negatives)
        start = self.encode(pictures, micro_batch_size).repeat_interleave(draws, dim=0)
        return self.refine(
            prompts,
            seeds,
            start,
            conditioning.strength,
            steps,
            micro_batch_size,
            negatives=negatives,
        )

    def conditions(
        self,
        conditioning: Conditioning | None,
        pictures: Pictures | None,
        micro_batch_size: int | None = None,
    ) -> torch.Tensor | None:
        """The rows' pictures or latents that the network is shown at every step.

        For a ControlNet pictures (rows, 3, height, width) uint8. For an editor pictures (rows,
        height, width, 3) uint8, or latents: its pipeline would encode them in the network's
        precision, in which some autoencoders overflow, or bring them to another size. None for an
        edit by image-to-image, which starts from the picture.
        """
        if conditioning is None or pictures is None:
            return None
        if conditioning.task == "control":
            return torch.from_numpy(pictures).permute(0, 3, 1, 2)
        if self.family.condition is None:
            return None
        if self.family.condition == "pictures":
            return torch.from_numpy(pictures)
        latents = self.encode(pictures, micro_batch_size)
        if self.family.condition == "unscaled latents":
            return latents / self._scale() + self._shift()
        return latents

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a picture, in pixels."""
        return self.shape.width, self.shape.height

    def _negatives(self, negatives: Sequence[str] | None, rows: slice, size: int) -> dict[str, Any]:
        if negatives is None or not self._is_guided:
            return {}
        return {"negative_prompt": padded(negatives[rows], size)}

    def _condition(
        self, pipe: Any, conditions: torch.Tensor | None, rows: slice, size: int
    ) -> dict[str, Any]:
        """The arguments that show a batch to a ControlNet, or to an editor by instructions."""
        if conditions is None:
            return {}
        if self.pipe.vae.dtype != self.denoiser.dtype:
            # The pipeline casts the conditions to the autoencoder's precision.
            torch.nn.Module.to(self.pipe.vae, self.denoiser.dtype)
        shown = torch.stack(padded(list(conditions[rows]), size))
        if self.settings.controlnet:
            return self._control(self.settings.controlnet, pipe, shown)
        if self.family.condition == "pictures":
            return {"image": [Image.fromarray(picture.numpy()) for picture in shown]}
        scale = self.settings.image_guidance_scale
        return {"image": shown} | ({} if scale is None else {"image_guidance_scale": scale})

    def _control(
        self, network: ControlNetSettings, pipe: Any, pictures: torch.Tensor
    ) -> dict[str, Any]:
        """The arguments for a ControlNet that is shown `pictures` (rows, 3, height, width)."""
        known = signature(pipe.__call__).parameters
        shown = pictures.float() / 255  # Only of a batch at a time.
        if self.family.denoiser == "transformer":
            shown = shown * 2 - 1  # These pipelines encode them with the autoencoder.
        arguments = {
            "control_image" if "control_image" in known else "image": shown,
            "controlnet_conditioning_scale": network.scale,
        }
        if network.mode is not None:
            # Image-to-image does not repeat one number for a batch, as drawing does.
            is_drawing = pipe is self.pipe
            arguments["control_mode"] = (
                network.mode if is_drawing else [network.mode] * len(pictures)
            )
        return arguments

    def _from_latents(
        self, start: torch.Tensor, noise: list[torch.Generator], steps: int, whole: int
    ) -> dict[str, Any]:
        """The arguments that start an editor's pipeline from latents, as image-to-image would.

        At the level of noise from which `steps` of a schedule of `whole` steps are left.
        """
        scheduler = self.pipe.scheduler
        set_steps(scheduler, self.family, self.shape, whole, steps)
        level = scheduler.sigmas[0].to(start.device, start.dtype)
        drawn = randn_tensor(start.shape, noise, self.device, start.dtype)
        latents = self.pipe._pack_latents((1 - level) * start + level * drawn, *start.shape)
        return {"latents": latents, "sigmas": even_sigmas(whole)[whole - steps :].tolist()}

    def _image_to_image(self) -> Any:
        if not self.family.refines:
            raise ModelError(
                f"diffusers has no image-to-image pipeline for a {type(self.pipe).__name__}: it "
                "can draw anew (strategy: regenerate, or such a rung of a ladder) and not refine."
            )
        # Here, because it imports every pipeline of diffusers, and no student needs it.
        from diffusers import AutoPipelineForImage2Image

        pipe = AutoPipelineForImage2Image.from_pipe(self.pipe)
        pipe.set_progress_bar_config(disable=True)
        # The processor knows latents by this number of channels; Z-Image does not set it.
        config = self.pipe.vae.config
        channels = config.get("latent_channels") or config.get("z_dim")
        pipe.image_processor.register_to_config(vae_latent_channels=channels)
        if type(pipe).__name__ == "FluxControlNetImg2ImgPipeline":
            # This pipeline alone would encode latents as if they were pictures.
            pipe._encode_vae_image = lambda image, generator: image
        return pipe

    def _in_batches(
        self,
        batch: Callable[[slice, int], torch.Tensor],
        num_rows: int,
        micro_batch_size: int | None,
    ) -> torch.Tensor:
        size = 1 if self.family.by_row else micro_batch_size or self.settings.batch_size
        self._evaluated_rows = self._computed_rows = 0
        return torch.cat(in_batches(lambda rows: batch(rows, size), num_rows, size))

    def _call(
        self,
        pipe: Any,
        prompts: Sequence[str],
        noise: list[torch.Generator],
        more: dict[str, Any],
    ) -> torch.Tensor:
        """Latents of `len(prompts)` rows, computed as many as there are generators."""
        size = len(noise)
        self._computed_rows += size
        texts = padded(prompts, size)
        arguments = self._arguments(pipe, size) | more
        arguments["prompt"] = texts
        if self._long_prompts:
            avoided = arguments.pop("negative_prompt", None)
            del arguments["prompt"]
            arguments |= self._long_prompts.arguments(texts, avoided, self._is_guided)
        with noise_of_each_row(self.pipe.scheduler, noise):
            latents: torch.Tensor = pipe(generator=noise, output_type="latent", **arguments).images
        if pipe is not self.pipe:
            # Frees the weights that this call put on the GPU: `pipe` frees only its own hooks.
            self.pipe.maybe_free_model_hooks()
        return self._unpacked(latents)[: len(prompts)]

    def _arguments(self, pipe: Any, size: int) -> dict[str, Any]:
        """The arguments that are the same in each call of this pipeline."""
        settings = self.settings
        wanted: dict[str, Any] = {
            "width": self.shape.width,
            "height": self.shape.height,
            "max_area": self.shape.width * self.shape.height,
            "max_sequence_length": settings.prompt_tokens,
            "eta": settings.scheduler.eta if settings.scheduler else None,
            "guidance_rescale": settings.guidance_rescale,
            "clip_skip": settings.clip_skip,
        }
        known = signature(pipe.__call__).parameters
        arguments = {k: v for k, v in wanted.items() if v is not None and k in known}
        arguments[self.family.guidance] = self._guidance_scale
        if self.family.guidance == "true_cfg_scale" and settings.guidance_scale > 1:
            # Its `guidance_scale` is for networks that take it as an input; none is published.
            arguments["negative_prompt"] = [" "] * size
        if "use_resolution_binning" in known:
            arguments["use_resolution_binning"] = False  # The size that was asked for.
        if "intermediate_timesteps" in known and settings.steps != 2:
            arguments["intermediate_timesteps"] = None  # Defined for two steps only.
        return arguments

    def _unpacked(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (rows, channels, height, width), also of pipelines that return patches."""
        if latents.dim() == 3:
            latents = self.pipe._unpack_latents(
                latents, self.shape.height, self.shape.width, self.pipe.vae_scale_factor
            )
        return latents.squeeze(2) if latents.dim() == 5 else latents

    def _count(self, _module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._evaluated_rows += len(args[0] if args else kwargs["hidden_states"])

    def truncated(self, prompts: Sequence[str]) -> tuple[int, ...]:
        """The places of the prompts that are longer than every text encoder of the pipeline reads.

        The pipeline reads their beginning.
        """
        tokenizers = [getattr(self.pipe, name, None) for name in TOKENIZERS]
        call, condition = self.pipe.__call__, self.family.condition
        return reader_of(tokenizers, call, self.settings, condition).cut(prompts)

    @property
    def evaluations(self) -> int:
        """Network evaluations of a row in the last `draw` or `refine`, as they happened.

        Counted and not computed: some schedulers take one step more than asked, and some distilled
        models have their guidance built in and take one evaluation a step.
        """
        return self._evaluated_rows // self._computed_rows

    def decode(self, latents: torch.Tensor, micro_batch_size: int | None = None) -> Pictures:
        """Latents, as `draw` returns them -> pictures (rows, height, width, 3), uint8.

        Afterwards `not_finite` names the rows of which these are no pictures.
        """
        self._finite_pixels = []
        size = micro_batch_size or self.settings.batch_size
        vae = self._upcast_vae()

        def batch(rows: slice) -> Pictures:
            whole = torch.stack(padded(list(latents[rows]), size)).to(vae.dtype)
            decoded = vae.decode(self._video(whole / self._scale() + self._shift())).sample
            decoded = decoded.squeeze(2) if decoded.dim() == 5 else decoded
            finite = decoded.isfinite().flatten(1).all(dim=1).tolist()
            self._finite_pixels += finite[: len(latents[rows])]
            # NaN becomes black everywhere; cast to uint8, it would differ between machines. Made on
            # the device, a picture of 1024 pixels costs 8 ms less than on the CPU (an H200's).
            pixels = decoded[: len(latents[rows])].nan_to_num().float()
            if self.pipe.image_processor.config.do_normalize:
                pixels = pixels / 2 + 0.5
            bytes_ = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
            pictures: Pictures = bytes_.permute(0, 2, 3, 1).contiguous().cpu().numpy()
            return pictures

        return np.concatenate(in_batches(batch, len(latents), size))

    def not_finite(self, latents: torch.Tensor) -> list[tuple[int, Overflow]]:
        """Rows of which the last `decode`, that of `latents`, made no picture, and the cause.

        Such a picture would be flat, with a score as any other. Float16 overflows in networks, and
        in autoencoders after latents that were good.
        """
        finite_latents = latents.isfinite().flatten(1).all(dim=1).tolist()
        return [
            (row, "pixels" if latents_are else "latents")
            for row, (latents_are, pixels_are) in enumerate(
                zip(finite_latents, self._finite_pixels, strict=True)
            )
            if not (latents_are and pixels_are)
        ]

    def encode(self, pictures: Pictures, micro_batch_size: int | None = None) -> torch.Tensor:
        """Pictures (rows, height, width, 3), uint8, of any size -> latents of this model's shape.

        The mean of the encoder's distribution. diffusers takes a sample of it, which only adds
        noise, and this noise would have to be drawn row by row.
        """
        size = micro_batch_size or self.settings.batch_size
        vae = self._upcast_vae()

        def batch(rows: slice) -> torch.Tensor:
            sized = np.stack([resized(p, self.size) for p in padded(list(pictures[rows]), size)])
            pixels = torch.from_numpy(sized).permute(0, 3, 1, 2).to(self.device, torch.float32)
            encoded = vae.encode(self._video((pixels / 127.5 - 1).to(vae.dtype)))
            if hasattr(encoded, "latent_dist"):
                means = encoded.latent_dist.mode()
            else:
                means = encoded.latents if hasattr(encoded, "latents") else encoded.latent
            means = means.squeeze(2) if means.dim() == 5 else means
            latents: torch.Tensor = (means - self._shift()) * self._scale()
            return latents.to(self.denoiser.dtype)[: len(pictures[rows])]

        return torch.cat(in_batches(batch, len(pictures), size))

    def _upcast_vae(self) -> Any:
        """The autoencoder, in float32 where diffusers' own pipeline computes it so.

        SDXL's overflows in float16. `force_upcast` alone does not say so: it is the class's default
        and true for all others too.
        """
        vae, is_xl = self.pipe.vae, "StableDiffusionXL" in type(self.pipe).__name__
        if is_xl and vae.dtype == torch.float16 and vae.config.get("force_upcast"):
            vae.to(torch.float32)
        return vae

    def _video(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures as videos of one frame, for Qwen-Image's autoencoder, which takes videos."""
        is_video = "temperal_downsample" in self.pipe.vae.config
        return pictures.unsqueeze(2) if is_video else pictures

    def _scale(self) -> float | torch.Tensor:
        """The factor between the autoencoder's latents and the network's."""
        config = self.pipe.vae.config
        scale: float = config.get("scaling_factor") or 1.0
        spread = config.get("latents_std")
        return scale / self._by_channel(spread) if spread is not None else scale

    def _shift(self) -> float | torch.Tensor:
        """The value that is subtracted from latents before they are scaled."""
        config = self.pipe.vae.config
        means = config.get("latents_mean")
        if means is not None:
            return self._by_channel(means)
        return config.get("shift_factor") or 0.0

    def _by_channel(self, values: Sequence[float]) -> torch.Tensor:
        vae = self.pipe.vae
        return torch.tensor(values, dtype=vae.dtype, device=self.device).view(1, -1, 1, 1)

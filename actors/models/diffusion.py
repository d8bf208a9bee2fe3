"""A diffusers text-to-image pipeline as Bottega uses it: safe to load, one shape, noise per row.

`Student` and `Teacher` are thin roles over this class. It leaves prompts and denoising to the
pipeline's own `__call__`; decoding is done here, because the latents are wanted too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from math import inf
from pickle import UnpicklingError
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoPipelineForImage2Image, DiffusionPipeline
from safetensors import SafetensorError

from actors.errors import ModelError
from actors.models.folders import check_folder
from actors.models.timesteps import keep_to_the_number
from actors.rollback import steps_to_ask_for
from actors.settings import DiffusionSettings

Pictures = npt.NDArray[np.uint8]
"""(rows, height, width, 3), uint8 RGB."""

T = TypeVar("T")


def best_device() -> torch.device:
    """The GPU that Ray gave to this process, or else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def padded(rows: Sequence[T], size: int) -> list[T]:
    """`rows` brought to `size` by repeating the last one.

    At one batch size a row's result is the same to the bit whatever its neighbours; at another the
    last bits differ. So every batch has the same shape, and the padding is thrown away.
    """
    if not 0 < len(rows) <= size:
        raise ValueError(f"a batch has 1 to {size} rows, got {len(rows)}")
    return [*rows, *[rows[-1]] * (size - len(rows))]


def in_batches(compute: Callable[[slice], T], num_rows: int, size: int) -> list[T]:
    """What `compute` makes of each `size` rows in turn."""
    with torch.inference_mode():
        return [compute(slice(first, first + size)) for first in range(0, num_rows, size)]


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One generator for each row. On the CPU, also for a GPU: the same noise on every device."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


class Diffusion:
    """One loaded pipeline."""

    def __init__(self, settings: DiffusionSettings) -> None:
        self.settings = settings
        folder = check_folder(settings)
        try:
            pipe = DiffusionPipeline.from_pretrained(
                folder,
                torch_dtype=getattr(torch, settings.dtype),
                use_safetensors=None if settings.allow_pickle else True,
                trust_remote_code=False,
            )
        except (OSError, ValueError, KeyError, SafetensorError, UnpicklingError) as error:
            raise ModelError(f"cannot load the pipeline {settings.path!r}: {error}") from error
        pipe.set_progress_bar_config(disable=True)
        keep_to_the_number(pipe.scheduler)
        self.device = best_device()
        self.pipe: Any = pipe.to(self.device)
        self._img2img: Any = None
        self._evaluated_rows = self._computed_rows = 0
        denoiser = getattr(pipe, "unet", None) or pipe.transformer
        denoiser.register_forward_pre_hook(self._count, with_kwargs=True)

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        steps: int,
        rows_at_once: int | None = None,
    ) -> torch.Tensor:
        """Draw from noise, `rows_at_once` (the batch size by default) rows together.

        Returns latents: (rows, channels, height, width), on the device. `seeds` are the stage's
        own (`actors.seeds.stage_seed`), one a row.
        """
        size = rows_at_once or self.settings.batch_size

        def batch(rows: slice) -> torch.Tensor:
            self._computed_rows += size
            latents: torch.Tensor = self.pipe(
                prompt=padded(prompts[rows], size),
                generator=generators(padded(seeds[rows], size)),
                num_inference_steps=steps,
                guidance_scale=self.settings.guidance_scale,
                width=self.settings.width,
                height=self.settings.height,
                output_type="latent",
            ).images
            return latents[: len(prompts[rows])]

        self._evaluated_rows = self._computed_rows = 0
        return torch.cat(in_batches(batch, len(prompts), size))

    def refine(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        start: torch.Tensor,
        strength: float,
        steps: int,
        rows_at_once: int | None = None,
    ) -> torch.Tensor:
        """Noise `start` to `strength` and denoise from there in `steps` steps; see `draw`.

        start: latents (rows, channels, height, width), scaled as the pipeline returns them; or
        pictures (rows, 3, height, width) in [0, 1], which the pipeline encodes first.
        Returns latents, on the device. Source: arXiv 2312.10835, section 3.2.
        """
        if self._img2img is None:
            self._img2img = AutoPipelineForImage2Image.from_pipe(self.pipe)
            self._img2img.set_progress_bar_config(disable=True)
        size = rows_at_once or self.settings.batch_size

        def batch(rows: slice) -> torch.Tensor:
            self._computed_rows += size
            image = torch.stack(padded(list(start[rows]), size))
            latents: torch.Tensor = self._img2img(
                prompt=padded(prompts[rows], size),
                generator=generators(padded(seeds[rows], size)),
                image=image.to(self.device, self.pipe.vae.dtype),
                strength=strength,
                num_inference_steps=steps_to_ask_for(strength, steps),
                guidance_scale=self.settings.guidance_scale,
                output_type="latent",
            ).images
            return latents[: len(prompts[rows])]

        self._evaluated_rows = self._computed_rows = 0
        return torch.cat(in_batches(batch, len(prompts), size))

    def _count(self, _module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._evaluated_rows += len(args[0] if args else kwargs["hidden_states"])

    def cut_short(self, prompts: Sequence[str]) -> tuple[int, ...]:
        """The places of the prompts that are longer than any text encoder of the pipeline reads.

        The pipeline reads their beginning. An encoder's limit is its tokenizer's, or the
        `max_sequence_length` that the pipeline has by default (256 in Stable Diffusion 3).
        """
        asked = signature(self.pipe.__call__).parameters.get("max_sequence_length")
        most = asked.default if asked else inf
        names = ("tokenizer", "tokenizer_2", "tokenizer_3")
        found: list[Any] = [getattr(self.pipe, name, None) for name in names]
        # Some pipelines have a processor of pictures and text in its place, without a limit.
        tokenizers = [one for one in found if hasattr(one, "model_max_length")]
        cut = set(range(len(prompts))) if tokenizers else set()
        for tokenizer in tokenizers:
            limit = min(tokenizer.model_max_length, most)
            tokens = tokenizer(list(prompts), verbose=False).input_ids
            cut -= {place for place, ids in enumerate(tokens) if len(ids) <= limit}
        return tuple(sorted(cut))

    @property
    def evaluations(self) -> int:
        """Network evaluations of a row in the last `draw` or `refine`, as they happened.

        Counted and not computed: some schedulers take a step more than they are asked for, and
        some distilled models have their guidance built in and do not double.
        """
        return self._evaluated_rows // self._computed_rows

    def decode(self, latents: torch.Tensor, rows_at_once: int | None = None) -> Pictures:
        """Latents as the pipeline returns them -> pictures (rows, height, width, 3), uint8."""
        size = rows_at_once or self.settings.batch_size
        vae = self.pipe.vae
        if vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False):
            vae.to(torch.float32)  # such autoencoders overflow in float16, to black pictures
        shift = getattr(vae.config, "shift_factor", None) or 0.0

        def batch(rows: slice) -> Pictures:
            whole = torch.stack(padded(list(latents[rows]), size))
            decoded = vae.decode(whole.to(vae.dtype) / vae.config.scaling_factor + shift).sample
            pictures = self.pipe.image_processor.postprocess(decoded, output_type="np")
            return np.asarray((pictures * 255).round(), dtype=np.uint8)[: len(latents[rows])]

        return np.concatenate(in_batches(batch, len(latents), size))


def schedule_of(settings: DiffusionSettings) -> list[float]:
    """The noise variance at each training timestep, the cleanest first: 1 - alphas_cumprod.

    From the scheduler's file alone; no weights are loaded.
    """
    folder = check_folder(settings)
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    return [float(1 - a) for a in scheduler.alphas_cumprod]

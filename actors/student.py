"""The student: draws every prompt in a few steps."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import torch

from actors.facts import CallFacts
from actors.models.diffusion import Diffusion, Pictures
from actors.seeds import stage_seed
from actors.settings import StudentSettings


class Student:
    """A plain class; `actors.pool` makes Ray actors of it."""

    def __init__(self, settings: StudentSettings, threads: int | None = None) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.settings = settings
        self.diffusion = Diffusion(settings)

    def ready(self) -> None:
        """Returns when the model is loaded."""

    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], rows_at_once: int | None = None
    ) -> tuple[torch.Tensor, Pictures, CallFacts]:
        """Draw one picture for each prompt.

        seeds: the rows' seeds. rows_at_once: rows computed together, `batch_size` unless the
        device has too little memory; the last bits of a row may depend on it.
        Returns latents (rows, channels, height, width) on the CPU, scaled as diffusers' pipelines
        return them; pictures (rows, height, width, 3) uint8; facts.
        """
        start = perf_counter()
        noise = [stage_seed(seed, "student") for seed in seeds]
        latents = self.diffusion.draw(prompts, noise, self.settings.steps, rows_at_once)
        pictures = self.diffusion.decode(latents, rows_at_once)
        latents = latents.cpu()
        facts = CallFacts(
            rows=len(prompts),
            seconds=perf_counter() - start,
            stored_bytes=(latents.nbytes, pictures.nbytes),
            evaluations=self.diffusion.evaluations,
            truncated=self.diffusion.cut_short(prompts),
        )
        return latents, pictures, facts

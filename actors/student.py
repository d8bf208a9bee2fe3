"""The student draws every prompt in a few steps."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from actors.device_kind import device_kind
from actors.facts import CallFacts, PermanentFailures
from actors.gc_pause import gc_paused
from actors.images import Pictures, all_resized, prepared
from actors.models.batches import rows_by_slot
from actors.refinement import FROM_PROMPTS, DrawPlan
from actors.seeds import stage_seed
from actors.settings import StudentSettings

if TYPE_CHECKING:
    import torch


class Student:
    """A plain class; `actors.pool` makes Ray actors of it."""

    def __init__(self, settings: StudentSettings, threads: int | None = None) -> None:
        # Here, because the driver imports this module too: torch and diffusers take five seconds.
        with gc_paused():
            import torch

            from actors.models.diffusion import Diffusion

            if threads:
                torch.set_num_threads(threads)
            self.diffusion = Diffusion(settings)
        self.settings = settings
        self.device = device_kind()

    def ready(self) -> None:
        """Returns when the model is loaded."""

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        images: Sequence[bytes | str] | None = None,
        micro_batch_size: int | None = None,
        slots: Sequence[int] | None = None,
        negatives: Sequence[str] | None = None,
        *,
        plan: DrawPlan = FROM_PROMPTS,
    ) -> tuple[torch.Tensor, Pictures, CallFacts]:
        """Draw each prompt, as often as the `plan` says; a row's drawings are neighbours.

        seeds: the rows' seeds. images: the rows' own pictures, where the task has them.
        micro_batch_size: pictures computed together, `batch_size` unless the device has too little
        memory; the last bits of a picture may depend on it. slots: the rows' places in their batch,
        ascending; 0, 1, 2 and on by default (`rows_by_slot`). negatives: the rows' negative
        prompts, where the job has them.
        Returns latents (rows * draws, channels, height, width) on the CPU, scaled as diffusers'
        pipelines return them; pictures (rows * draws, height, width, 3) uint8; facts.
        """
        start = perf_counter()
        draws = plan.draws
        self.diffusion.adopt(plan.options)
        rows = rows_by_slot(len(prompts), slots)
        texts = [prompts[row] for row in rows for _ in range(draws)]
        noise = [stage_seed(seeds[row], name) for row in rows for name in _stages(plan)]
        avoided = negatives and [negatives[row] for row in rows for _ in range(draws)]
        conditioning = plan.conditioning
        own: Pictures | None = None
        failures: PermanentFailures = ()
        if conditioning is not None and images is not None:
            own, failures = prepared(images, conditioning, *self.diffusion.size)
            own = own if slots is None else own[rows]
        latents = self.diffusion.draw_anew(
            texts, noise, self.settings.steps, conditioning, own, micro_batch_size, avoided
        )
        pictures = self.diffusion.decode(latents, micro_batch_size)
        not_finite = self.diffusion.not_finite(latents)
        if slots is not None:
            wanted = [slot * draws + which for slot in slots for which in range(draws)]
            latents, pictures = latents[wanted], pictures[wanted]
            not_finite = [(wanted.index(at), why) for at, why in not_finite if at in wanted]
        pictures = all_resized(pictures, plan.size)
        latents = latents.cpu()
        facts = CallFacts(
            rows=len(prompts),
            seconds=perf_counter() - start,
            stored_bytes=(latents.nbytes, pictures.nbytes),
            evaluations=self.diffusion.evaluations * draws,
            truncated=self.diffusion.truncated(prompts),
            device=self.device,
            permanent_failures=tuple({**_no_pictures(not_finite, draws), **dict(failures)}.items()),
        )
        return latents, pictures, facts


def _no_pictures(not_finite: Sequence[tuple[int, str]], draws: int) -> dict[int, str]:
    """Rows of which a drawing is no picture: it would be black, with a score as any other."""
    return {
        drawing // draws: (
            f"the student's {which} are not finite numbers, as when its precision is too "
            "small; try models.student.dtype: bfloat16 or float32"
        )
        for drawing, which in not_finite
    }


def _stages(plan: DrawPlan) -> list[str]:
    """The names of the drawings' noises. The first is that of a job with one drawing a row."""
    numbers = range(plan.first, plan.first + plan.draws)
    return [f"student/{number}" if number else "student" for number in numbers]

"""The teacher improves the pictures that the oracle rejects, or draws them anew."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.device_kind import device_kind
from actors.errors import InputError
from actors.facts import CallFacts
from actors.gc_pause import gc_paused
from actors.images import Pictures, all_resized, prepared
from actors.models.batches import rows_by_slot
from actors.refinement import Refinement
from actors.seeds import stage_seed
from actors.settings import TeacherSettings

if TYPE_CHECKING:
    import torch


class Teacher:
    """A plain class; `actors.pool` makes Ray actors of it."""

    def __init__(self, settings: TeacherSettings, threads: int | None = None) -> None:
        # Here, because the driver imports this module too: torch and diffusers take five seconds.
        with gc_paused():
            import torch

            from actors.models.diffusion import Diffusion

            if threads:
                torch.set_num_threads(threads)
            self.diffusion = Diffusion(settings)
        self.device = device_kind()

    def ready(self) -> None:
        """Returns when the model is loaded."""

    def refine(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        picks: Sequence[tuple[int, int]],
        *starts: torch.Tensor | Pictures,
        plan: Refinement,
        images: Sequence[bytes | str] | None = None,
        micro_batch_size: int | None = None,
        slots: Sequence[int] | None = None,
        negatives: Sequence[str] | None = None,
    ) -> tuple[Pictures, CallFacts]:
        """Improve the student's picture of each prompt, as the `plan` says.

        starts: what the student's calls returned, each (rows, ...): latents or pictures, as
        `through` says; none for `regenerate`. picks: for each row, which of `starts` and which row
        of it. seeds: the rows' seeds. images, micro_batch_size, slots,
        negatives: as for `Student.draw`.
        Returns pictures (rows, height, width, 3) uint8; facts.
        """
        start = perf_counter()
        self.diffusion.adopt(plan.options)
        rows = rows_by_slot(len(prompts), slots)
        texts = [prompts[row] for row in rows]
        stage = f"teacher/{plan.attempt}" if plan.attempt else "teacher"
        noise = [stage_seed(seeds[row], stage) for row in rows]
        avoided = negatives and [negatives[row] for row in rows]
        own: Pictures | None = None
        # A refined edit starts from the student's picture, which came from the row's own. Only an
        # editor is shown the row's own again, at every step.
        is_refined_edit = (
            plan.strategy == "refine" and plan.conditioning and plan.conditioning.task == "edit"
        )
        is_shown = self.diffusion.family.instructed or not is_refined_edit
        if plan.conditioning and is_shown and images is not None:
            own, failures = prepared(images, plan.conditioning, *self.diffusion.size)
            if failures:
                # Only if the file changed meanwhile: the student could read it.
                raise InputError(failures[0][1])
            own = own if slots is None else own[rows]
        if plan.strategy == "regenerate":
            latents = self.diffusion.draw_anew(
                texts, noise, plan.steps, plan.conditioning, own, micro_batch_size, avoided
            )
        else:
            chosen = [starts[which][place] for which, place in picks]
            chosen = [chosen[row] for row in rows]
            latents = self.diffusion.refine(
                texts,
                noise,
                self._latents(chosen, micro_batch_size),
                plan.strength,
                plan.steps,
                micro_batch_size,
                self.diffusion.conditions(plan.conditioning, own, micro_batch_size),
                avoided,
            )
        pictures = self.diffusion.decode(latents, micro_batch_size)
        not_finite = self.diffusion.not_finite(latents)
        if slots is not None:
            wanted = list(slots)
            pictures = pictures[wanted]
            not_finite = [(wanted.index(at), why) for at, why in not_finite if at in wanted]
        pictures = all_resized(pictures, plan.size)
        facts = CallFacts(
            rows=len(prompts),
            seconds=perf_counter() - start,
            stored_bytes=(pictures.nbytes,),
            evaluations=self.diffusion.evaluations,
            truncated=self.diffusion.truncated(prompts),
            device=self.device,
            permanent_failures=tuple(
                (row, f"the teacher's {which} are not finite numbers") for row, which in not_finite
            ),
        )
        return pictures, facts

    def _latents(self, starts: Sequence[Any], micro_batch_size: int | None) -> torch.Tensor:
        """Latents (channels, height, width) of each row as they are; pictures encoded."""
        if isinstance(starts[0], np.ndarray):
            return self.diffusion.encode(np.stack(starts), micro_batch_size)
        import torch

        return torch.stack(list(starts))

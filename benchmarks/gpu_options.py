"""The options of a job that change what a call takes, each measured alone beside none of them.

Of the actors' settings, for which a model is loaded anew, and of single calls: what rows have of
their own. `benchmarks/gpu.py` measures them in its section `options`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from actors.models.pairing import fitted
from actors.models.pipeline_files import open_pipeline_files
from actors.refinement import DrawPlan, Refinement, RowOptions
from actors.student import Student
from actors.teacher import Teacher
from benchmarks.gpu_bits import rows
from benchmarks.gpu_meter import Call

OF_SETTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "channels_last": {"channels_last": True},
    "vae_slicing": {"vae_slicing": True},
    "vae_tiling": {"vae_tiling": True},
    "prompt_windows": {"prompt_windows": 2},
    "guidance_rescale": {"guidance_rescale": 0.7},
    "clip_skip": {"clip_skip": 1},
    "offload model": {"offload": "model"},
    "offload sequential": {"offload": "sequential"},
}
"""Settings that change a call; `compile` is a section of its own."""

GUIDED = 5.0
"""A row's own guidance scale, where its model is guided: another than any model's here."""


def of_rows(guidance_scale: float, side: int) -> dict[str, dict[str, Any]]:
    """By name, what the rows of a call may have of their own; `side`: of the model's pictures.

    A row's guidance scale and negative prompt are for models with guidance.
    """
    portrait = RowOptions(canvas=(side * 3 // 4, side))
    found: dict[str, dict[str, Any]] = {"size": {"options": portrait}}
    if guidance_scale > 1:
        found["guidance_scale"] = {"options": RowOptions(guidance_scale=GUIDED)}
        found["negative_prompt"] = {"negatives": "blurry, text"}
    return found


def check_takes(settings: Any) -> None:
    """Raises ModelError for a setting that this model does not have."""
    fitted(open_pipeline_files(settings))


def call_with(
    actor: Student | Teacher,
    batch: int,
    refinement: Refinement,
    *,
    options: RowOptions | None = None,
    negatives: str | None = None,
) -> Call:
    """A call with a whole batch, as the driver makes it, of rows with these options."""
    prompts, seeds = rows(batch)
    more: dict[str, Any] = {"micro_batch_size": batch}
    if negatives is not None:
        more["negatives"] = [negatives] * batch
    chosen = options or RowOptions()
    if isinstance(actor, Student):
        return partial(actor.draw, prompts, seeds, plan=DrawPlan(options=chosen), **more)
    actor.diffusion.adopt(chosen)
    start = actor.diffusion.draw(prompts, seeds, 1, batch).cpu()
    picks = [(0, row) for row in seeds]
    plan = replace(refinement, options=chosen)
    return partial(actor.refine, prompts, seeds, picks, start, plan=plan, **more)

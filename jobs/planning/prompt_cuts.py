"""How many prompts of an input are longer than the job's models read."""

from __future__ import annotations

from jobs.input.prompts import Prompts
from jobs.refinement import models_are_here
from jobs.spec.job_spec import JobSpec

SAMPLED_ROWS = 256
"""Chosen: as many as the smallest calibration draws; their tokens take a fraction of a second."""


def prompt_cuts(spec: JobSpec) -> tuple[int, dict[str, int]] | None:
    """Rows of a sample, and by role how many of their prompts it cuts off.

    None where the models' files are not on this machine, or the input has no rows.
    """
    if not models_are_here(spec.models):
        return None
    prompts = Prompts(spec)
    if not prompts.num_rows:
        return None
    sample = prompts.sample(min(SAMPLED_ROWS, prompts.num_rows))
    from actors.models.prompt_cuts import cut_prompts  # imports torch

    texts = [text for text in sample.prompts if text]
    return len(texts), cut_prompts(spec.models, texts)

"""Makes a pipeline's scheduler by its settings; `noise_levels` reads the noise of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from typing import Any

import diffusers
import torch

from actors.errors import ModelError, said_by
from actors.models.families import Family, Shape
from actors.models.pipeline_files import PipelineFiles
from actors.settings import DiffusionSettings, SchedulerName, SchedulerSettings

CLASSES: dict[SchedulerName, str] = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "dpm-multistep": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
    "flow-euler": "FlowMatchEulerDiscreteScheduler",
    "flow-heun": "FlowMatchHeunDiscreteScheduler",
    "flow-lcm": "FlowMatchLCMScheduler",
    "heun": "HeunDiscreteScheduler",
    "lcm": "LCMScheduler",
    "pndm": "PNDMScheduler",
    "tcd": "TCDScheduler",
    "unipc": "UniPCMultistepScheduler",
}

OURS: dict[str, dict[str, bool]] = {"PNDMScheduler": {"skip_prk_steps": True}}
"""Class -> options that it has where neither the model nor the job sets them: PNDM's Runge-Kutta
steps, which Stable Diffusion leaves out too, cannot be entered partway."""

CONFIG = "scheduler/scheduler_config.json"

NOISE_OF_A_BATCH = {"CosineDPMSolverMultistepScheduler", "DPMSolverSDEScheduler"}
"""Classes that draw one Brownian tree for a batch, so that a row's noise depends on its place."""


MOST_TIMESTEPS = 100_000
"""Of training. Models have 1,000; each takes a place in several tables."""

REFUSALS = (
    *(AttributeError, ImportError, LookupError, NotImplementedError, TypeError, ValueError),
    *(ArithmeticError, AssertionError, MemoryError, RuntimeError),
)
"""What diffusers' schedulers raise for configurations and steps that they do not take."""


def scheduler_of(pipeline: PipelineFiles[DiffusionSettings]) -> Any:
    """The scheduler of a pipeline, as its settings want it.

    From its file alone; no weights are loaded. Raises ModelError for what does not fit.
    """
    config, wanted = pipeline.folder.config(CONFIG), pipeline.settings.scheduler
    name, file = str(config.get("_class_name")), pipeline.folder.path / CONFIG
    kind, most = getattr(diffusers, name, None), MOST_TIMESTEPS
    for where in (config, dict(wanted.options) if wanted else {}):
        timesteps = where.get("num_train_timesteps")
        if isinstance(timesteps, int | float) and not 1 <= timesteps <= most:
            raise ModelError(
                f"{file}: {name} cannot be made with num_train_timesteps: {timesteps}, and 1 to "
                f"{most:,} are right. Copy the model again, or mend this file."
            )
    try:
        if kind is None or not hasattr(kind, "set_timesteps"):
            raise ModelError(
                f"{file}: diffusers {diffusers.__version__} has no scheduler {name!r}. Choose one "
                "with `scheduler: {name: ...}`, or update diffusers."
            )
        return as_wanted(kind.from_config(config), wanted)
    except REFUSALS as error:
        options = f" with {dict(wanted.options)}" if wanted and wanted.options else ""
        raise ModelError(
            f"{file}: {name}{options} of diffusers {diffusers.__version__} cannot be made: "
            f"{said_by(error)}."
        ) from error


def as_wanted(scheduler: Any, wanted: SchedulerSettings | None) -> Any:
    """`scheduler` with the class and the options that `wanted` changes. Raises ModelError."""
    name = type(scheduler).__name__
    if wanted and wanted.name:
        name = CLASSES[wanted.name]
    if name in NOISE_OF_A_BATCH:
        raise ModelError(
            f"scheduler {name} draws one noise for a whole batch, so that a picture would depend "
            "on its neighbours. Choose another, for example `scheduler: {name: dpm-multistep}`."
        )
    if wanted is None:
        return scheduler
    kind = getattr(diffusers, name)
    known = set(signature(kind.__init__).parameters) - {"self"}
    unknown = sorted(set(wanted.options) - known)
    if unknown:
        raise ModelError(
            f"scheduler.options: {name} of diffusers {diffusers.__version__} has no {unknown[0]!r}."
            f" It has: {', '.join(sorted(known))}."
        )
    if wanted.timesteps and "timesteps" not in signature(kind.set_timesteps).parameters:
        raise ModelError(f"scheduler.timesteps: {name} chooses its own. Leave them out.")
    ours = {k: v for k, v in OURS.get(name, {}).items() if k not in scheduler.config}
    return kind.from_config(scheduler.config, **{**ours, **wanted.options})


def size_shift(scheduler: Any, family: Family, shape: Shape) -> dict[str, float]:
    """`mu`, where the noise levels of the schedule are shifted by the picture's size.

    Source: `calculate_shift` in diffusers' pipelines: linear in the number of tokens.
    """
    config = scheduler.config
    if not config.get("use_dynamic_shifting"):
        return {}
    side = shape.cell * family.patch
    tokens = (shape.width // side) * (shape.height // side)
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    least, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return {"mu": least + (most - least) * (tokens - low) / (high - low)}


@contextmanager
def noise_of_each_row(scheduler: Any, generators: Sequence[torch.Generator]) -> Iterator[None]:
    """While this is open, a step draws its fresh noise from the rows' generators.

    The flow-matching pipelines do not hand their generators to `scheduler.step`: a stochastic
    scheduler would take the noise from torch's global state.
    """
    step = scheduler.step
    if "generator" not in signature(step).parameters:
        yield
        return

    @wraps(step)
    def with_noise(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("generator") is None:
            kwargs["generator"] = list(generators)
        return step(*args, **kwargs)

    scheduler.step = with_noise
    try:
        yield
    finally:
        del scheduler.step

"""The view of a preset of models: its sources, settings and tests, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from actors.models.folders import GIVE_A_TOKEN
from actors.models.preset_sizes import download_gb, is_gated, memory_gib, parameters
from actors.models.presets import OPTIONS, REPOSITORIES, Preset
from actors.settings import DiffusionSettings
from jobs.spec.ladder import LadderRung
from jobs.spec.ladder import describe as describe_ladder


def catalogue(presets: Mapping[str, Preset]) -> Iterator[str]:
    """A line for each preset, and how the gated ones are fetched."""
    widths = "{:24} {:>12} {:>9} {:>12}  {:5}  {}"
    yield widths.format("preset", "parameters", "download", "GPU memory", "gated", "models")
    for name, preset in presets.items():
        models = (preset.student, preset.teacher)
        sizes = ["", "", "", ""]
        if preset.sources:
            billions = "+".join(f"{parameters(model):.1f}" for model in models)
            memory = "+".join(f"{memory_gib(model):.0f}" for model in models)
            gated = "gated" if is_gated(preset) else "open"
            sizes = [f"{billions} B", f"{download_gb(preset):.0f} GB", f"{memory} GiB", gated]
        yield widths.format(name, *sizes, preset.about)
    yield "Two numbers: student and teacher. GPU memory: of an actor with a batch."
    yield (
        "gated: accept the terms on the models' pages (`bottega models show NAME`), then "
        f"{GIVE_A_TOKEN}."
    )


def describe(preset: Preset) -> Iterator[str]:
    """Yield the lines that a person reads before choosing a preset."""
    yield preset.about
    for source in preset.sources:
        gated = ", gated: the hub asks for consent first" if _is_gated(source.at) else ""
        yield f"{source.what}: {source.at} ({source.licence}{gated})"
    for role, settings in (("student", preset.student), ("teacher", preset.teacher)):
        yield f"{role}: {_drawing(settings)}"
        if settings.path in REPOSITORIES:
            yield (
                f"{role}: {parameters(settings):.1f} billion parameters, about "
                f"{memory_gib(settings):.0f} GiB of GPU memory for a batch of {settings.batch_size}"
            )
    if preset.sources:
        yield f"download: {download_gb(preset):.1f} GB, with the oracle's"
    how = preset.rollback or {}
    back = ", ".join(f"{name} {level:g}" for name, level in how.items())
    yield f"by default the teacher {preset.strategy}s" + (f", back to {back}" if back else "")
    for name, ladder in preset.ladders.items():
        rungs = [LadderRung.model_validate(rung) for rung in ladder.rungs]
        yield f"ladder {name}: {describe_ladder(rungs)}. {ladder.measured}"
    for name, reason in preset.reasons.items():
        yield f"{name}: {reason}"
    if preset.published:
        scores = preset.published
        shown = ", ".join(f"{k} %: {score:.2f}" for k, score in scores.percentiles.items())
        yield (
            f"published ImageReward percentiles of the student ({scores.steps} steps, guidance: "
            f"{'unstated' if scores.guidance is None else format(scores.guidance, 'g')}, prompts: "
            f"{scores.prompts}): {shown}"
        )
    for what in preset.unverified:
        yield f"could not be verified: {what}"
    yield f"tested: {preset.tested}"


def _is_gated(place: str) -> bool:
    return place in REPOSITORIES and REPOSITORIES[place].gated


def _drawing(settings: DiffusionSettings) -> str:
    size = f"{settings.width} x {settings.height}" if settings.width else "its own size"
    parts = [size, f"{settings.steps} steps", f"guidance {settings.guidance_scale:g}"]
    if settings.image_guidance_scale is not None:
        parts.append(f"image guidance {settings.image_guidance_scale:g}")
    if settings.prompt_tokens:
        parts.append(f"{settings.prompt_tokens} tokens of the prompt")
    if settings.all_loras:
        parts += [f"LoRA {lora.path}" for lora in settings.all_loras]
    if settings.denoiser:
        parts.append(f"network {settings.denoiser.path}")
    if settings.controlnet:
        parts.append(f"ControlNet {settings.controlnet.path}")
    parts.append(f"scheduler {_scheduler(settings)}")
    values = {name: getattr(settings, name) for name in ("dtype", *OPTIONS)}
    parts += [
        name if value is True else str(value)
        for name, value in values.items()
        if value not in (False, "none")
    ]
    return ", ".join(parts)


def _scheduler(settings: DiffusionSettings) -> str:
    wanted = settings.scheduler
    if wanted is None:
        return "its own"
    options: dict[str, Any] = dict(wanted.options)
    if wanted.timesteps:
        options["timesteps"] = list(wanted.timesteps)
    if wanted.eta is not None:
        options["eta"] = wanted.eta
    shown = ", ".join(f"{name} {value}" for name, value in options.items())
    return (wanted.name or "its own") + (f" ({shown})" if shown else "")

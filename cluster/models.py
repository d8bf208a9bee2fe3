"""`bottega models`: what is known of the presets, and whether their files are here and load."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import typer
from rich.console import Console

from actors.errors import SpecError
from actors.models.presets import CATALOGUE, OPTIONS, Preset
from actors.settings import DiffusionSettings, OracleSettings

app = typer.Typer(
    help="List the presets of models, show one, or check one.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()


@app.callback()
def models(context: typer.Context) -> None:
    """List the presets: sources, licences, settings, and with what each was tested."""
    if context.invoked_subcommand is None:
        for name, preset in CATALOGUE.items():
            _print(name)
            for line in describe(preset):
                _print(f"  {line}")


@app.command()
def show(name: str = typer.Argument(help="A preset.")) -> None:
    """Show all that is known of a preset, also why options are off."""
    preset = _preset(name)
    for line in describe(preset):
        _print(line)
    for option, roles, reason in preset.off():
        _print(f"{option} is off ({roles}): {reason}")


@app.command()
def check(name: str = typer.Argument(help="A preset.")) -> None:
    """Say whether a preset's files are complete, and load them. Fetches what is not here yet."""
    models = _preset(name).models
    if models.timed:
        _print(f"{name}: stand-ins have no files")
        return
    for role, settings in models:
        _print(f"{role}: {settings.path}")
        start = perf_counter()
        for line in _loaded(settings):
            _print(f"  {line}")
        _print(f"  loads ({perf_counter() - start:.1f} s)")


def _preset(name: str) -> Preset:
    if name not in CATALOGUE:
        raise SpecError(f"{name!r} is no preset. Valid names: {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]


def describe(preset: Preset) -> Iterator[str]:
    """What a person should know of a preset, line by line."""
    yield preset.about
    for source in preset.sources:
        yield f"{source.what}: {source.at} ({source.licence})"
    for role, settings in (("student", preset.student), ("teacher", preset.teacher)):
        yield f"{role}: {_drawing(settings)}"
    how = preset.rollback or {}
    back = ", ".join(f"{name} {level:g}" for name, level in how.items())
    yield f"by default the teacher {preset.strategy}s" + (f", back to {back}" if back else "")
    for name, reason in preset.reasons.items():
        yield f"{name}: {reason}"
    if preset.published:
        scores = preset.published
        shown = ", ".join(f"{k} %: {score:.2f}" for k, score in scores.percentiles.items())
        yield (
            f"published ImageReward percentiles of the student ({scores.steps} steps, guidance "
            f"{scores.guidance:g}, prompts: {scores.prompts}): {shown}"
        )
    yield f"tested: {preset.tested}"


def _drawing(settings: DiffusionSettings) -> str:
    size = f"{settings.width} x {settings.height}" if settings.width else "its own size"
    parts = [size, f"{settings.steps} steps", f"guidance {settings.guidance_scale:g}"]
    if settings.image_guidance_scale is not None:
        parts.append(f"image guidance {settings.image_guidance_scale:g}")
    if settings.prompt_tokens:
        parts.append(f"{settings.prompt_tokens} tokens of the prompt")
    if settings.lora:
        parts.append(f"LoRA {settings.lora.path}")
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
    told: dict[str, Any] = dict(wanted.options)
    if wanted.timesteps:
        told["timesteps"] = list(wanted.timesteps)
    if wanted.eta is not None:
        told["eta"] = wanted.eta
    shown = ", ".join(f"{name} {value}" for name, value in told.items())
    return (wanted.name or "its own") + (f" ({shown})" if shown else "")


def _loaded(settings: DiffusionSettings | OracleSettings) -> Iterator[str]:
    """Checks the files, loads the model, and says what it is. Raises ModelError."""
    if isinstance(settings, OracleSettings):
        from actors.models.oracles.files import resolved as resolved_oracle

        found, files = resolved_oracle(settings)
        yield f"files complete, {files}"
        from actors.oracle import Oracle

        Oracle(found)
        return
    from actors.models.sources import resolved

    pipeline, files = resolved(settings)
    yield f"files complete, {files}"
    from actors.models.diffusion import Diffusion

    model = Diffusion(pipeline)
    passes = model.family.evaluations_per_step(settings.guidance_scale, dict(model.denoiser.config))
    yield (
        f"{model.family.name}, {model.shape.width} x {model.shape.height}, {passes} network "
        f"evaluations a step, on {model.device}"
    )


def _print(line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)

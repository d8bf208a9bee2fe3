"""`bottega models`: lists the presets, shows one, and checks that its files are here and load."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import typer

from actors.errors import SpecError
from actors.models.presets import CATALOGUE, Preset
from actors.settings import DiffusionSettings, OracleSettings
from cluster.cli.options import PresetArgument
from cluster.console import say
from cluster.views.preset import catalogue, describe

app = typer.Typer(
    help="List the presets of models, show one, or check one.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def models(context: typer.Context) -> None:
    """List the presets, one a line: parameters, download, GPU memory, and who may fetch it."""
    if context.invoked_subcommand is None:
        for line in catalogue(CATALOGUE):
            say(line)


@app.command()
def show(name: PresetArgument) -> None:
    """Show all that is known of a preset, also why options are off."""
    preset = _preset(name)
    for line in describe(preset):
        say(line)
    for option, roles, reason in preset.off():
        say(f"{option} is off ({roles}): {reason}")


@app.command()
def check(name: PresetArgument) -> None:
    """Say whether a preset's files are complete, and load them. Fetches what is not here yet."""
    models = _preset(name).models
    if models.timed:
        say(f"{name}: stand-ins have no files")
        return
    _quieten_libraries()
    for role, settings in models:
        say(f"{role}: {settings.path}")
        start = perf_counter()
        for line in _loaded(settings):
            say(f"  {line}")
        say(f"  loads ({perf_counter() - start:.1f} s)")


def _quieten_libraries() -> None:
    """Leave out bars of progress, and warnings of classes that the presets mean."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def _preset(name: str) -> Preset:
    if name not in CATALOGUE:
        raise SpecError(f"{name!r} is no preset. Valid names: {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]


def _loaded(settings: DiffusionSettings | OracleSettings) -> Iterator[str]:
    """Check the files, load the model, and yield a line of each. Raises ModelError."""
    from actors.models.file_reader import FileReader

    reader = FileReader()
    if isinstance(settings, OracleSettings):
        from actors.models.oracles.oracle_files import open_oracle_files

        oracle = open_oracle_files(settings, reader)
        yield f"files complete, {oracle.fingerprint(reader)}"
        from actors.oracle import Oracle

        Oracle(oracle.settings)
        return
    from actors.models.pipeline_files import open_pipeline_files

    pipeline = open_pipeline_files(settings, reader)
    yield f"files complete, {pipeline.fingerprint(reader)}"
    from actors.models.diffusion import Diffusion

    model = Diffusion(pipeline.settings)
    passes = model.family.evaluations_per_step(settings.guidance_scale, dict(model.denoiser.config))
    yield (
        f"{model.family.name}, {model.shape.width} x {model.shape.height}, {passes} network "
        f"evaluations a step, on {model.device}"
    )

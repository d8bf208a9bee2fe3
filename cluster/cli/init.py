"""`bottega init`: a job file to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actors.errors import SpecError
from cluster.cli.options import PresetArgument
from cluster.console import say


def init(
    preset: PresetArgument,
    file: Annotated[Path, typer.Argument(help="The job file to write.")] = Path("job.yaml"),
) -> None:
    """Write a job file for a preset, with every field explained. It overwrites nothing."""
    from actors.models.presets import CATALOGUE
    from jobs.spec.starter import starter

    if preset not in CATALOGUE:
        raise SpecError(f"{preset!r} is no preset. Valid names: {', '.join(CATALOGUE)}.")
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in file.stem)
    name = name if name.strip("-") and name != "job" else "my-job"
    try:
        with file.open("x", encoding="utf-8") as written:
            written.write(starter(preset, name))
    except FileExistsError as error:
        raise SpecError(f"{str(file)!r} is there already. Give another name.") from error
    except OSError as error:
        raise SpecError(f"cannot write {str(file)!r}: {error.strerror}.") from error
    say(f"{file}: name your prompts at `input`, then `bottega run {file}`")

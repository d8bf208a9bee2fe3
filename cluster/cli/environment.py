"""An environment variable for every option: BOTTEGA_<COMMAND>_<OPTION>, as BOTTEGA_SUBMIT_LABEL."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup, TyperOption

PREFIX = "BOTTEGA"


def name_variables(command: Any, prefix: str = PREFIX) -> None:
    """Give every option of a command, and of those below it, its variable."""
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            name_variables(below, f"{prefix}_{_upper(name)}")
    for parameter in command.params:
        if isinstance(parameter, TyperOption) and parameter.expose_value and not parameter.is_eager:
            parameter.envvar = f"{prefix}_{_upper(_long(parameter))}"
            parameter.show_envvar = False  # one rule, which docs/cluster.md has, for all of them


def _long(option: TyperOption) -> str:
    return max(option.opts, key=len).lstrip("-")


def _upper(name: str) -> str:
    return name.replace("-", "_").upper()

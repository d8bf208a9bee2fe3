"""Profiles: what a user writes down once about a cluster. None of it is a part of a job.

# ~/.config/bottega/profiles.toml
[profile.gpus]
address = "http://head:8265"
output = "s3://bucket/datasets"       # a relative `output` is below it
shared = ["/mnt/data"]                # folders that every node mounts
prices = "prices.csv"
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from pydantic import Field, ValidationError

from actors.errors import SpecError
from actors.strict import Settings

FILE = "profiles.toml"

PROFILE = "BOTTEGA_PROFILE"

ADDRESSES = ("BOTTEGA_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Environment variables with the address of a cluster; the first that is set counts."""


class Profile(Settings):
    """A profile."""

    address: str | None = Field(default=None, description="Of the cluster.")
    output: str | None = Field(default=None, description="A relative `output` is below it.")
    shared: list[str] = Field(default=[], description="Folders that every node mounts.")
    prices: str | None = Field(default=None, description="A CSV for `bottega plan`.")


def profiles_file() -> Path:
    """The file with the user's profiles, whether it is there or not."""
    return Path(typer.get_app_dir("bottega")) / FILE


def load_profile(name: str | None, environment: Mapping[str, str] = os.environ) -> Profile:
    """The profile of this name, or of BOTTEGA_PROFILE; an empty one without either.

    Raises SpecError for a name that is not there, and for a file with a mistake.
    """
    name = name or environment.get(PROFILE)
    if not name:
        return Profile()
    file = profiles_file()
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        content = {}
    except (OSError, ValueError) as error:
        raise SpecError(f"{file} cannot be read: {error}.") from error
    profiles: Any = content.get("profile", {})
    if not isinstance(profiles, dict) or name not in profiles:
        known = sorted(profiles) if isinstance(profiles, dict) else []
        near = get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(known) or 'none'}."
        raise SpecError(f"{file} has no [profile.{name}]. {hint}")
    try:
        found = Profile.model_validate(profiles[name])
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        names = ", ".join(Profile.model_fields)
        raise SpecError(
            f"{file}, [profile.{name}]: {field}: {first['msg'].lower()}. A profile has: {names}."
        ) from error
    if found.prices and not Path(found.prices).expanduser().is_absolute():
        found = found.model_copy(update={"prices": str(file.parent / found.prices)})
    return found


def cluster_address(
    given: str | None, profile: Profile, environment: Mapping[str, str] = os.environ
) -> str | None:
    """The address of the cluster: that of the option, of the environment, or of the profile."""
    found = (environment.get(name) for name in ADDRESSES)
    return given or next(filter(None, found), None) or profile.address


def below_base(output: str, profile: Profile) -> str:
    """A relative output below the profile's base."""
    if profile.output is None or "://" in output or Path(output).expanduser().is_absolute():
        return output
    return f"{profile.output.rstrip('/')}/{output}"

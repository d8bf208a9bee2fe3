"""Secrets of a job file: it names the place of each, and holds none.

    options: {token: env:LABELS_TOKEN}          # an environment variable
    options: {password: file:/run/secrets/db}   # a file, as Docker and Kubernetes mount them

A job file is copied and shown around, and its content goes into job.json; the reference travels
there, and the process that needs the secret reads it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.errors import ModelError
from actors.redact import is_secrets_name

ENV, FILE = "env:", "file:"
MAX_BYTES = 2**16
"""Of a secret's file. Chosen: the longest private keys have a few thousand."""


def is_reference(value: object) -> bool:
    """Whether it names a place, and is no secret itself."""
    return isinstance(value, str) and value.startswith((ENV, FILE)) and value not in (ENV, FILE)


def with_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with what is named like a secret read from its place. Raises ModelError."""
    return {
        name: _read(name, value) if is_secrets_name(name) and is_reference(value) else value
        for name, value in options.items()
    }


def _read(name: str, reference: str) -> str:
    if reference.startswith(ENV):
        variable = reference.removeprefix(ENV)
        if not (value := os.environ.get(variable)):
            raise ModelError(
                f"the option {name!r} names the variable {variable!r}, which is not set here. Set "
                "it on every machine of the job before Ray starts there."
            )
        return value
    file = Path(reference.removeprefix(FILE))
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ModelError(
                f"the option {name!r} names {str(file)!r}, which has more than {MAX_BYTES:,} bytes."
            )
        # Editors and `echo` end a file with a newline that is no part of it.
        return content.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ModelError(
            f"the option {name!r} names {str(file)!r}, which cannot be read: {reason}. Every "
            "machine of the job needs it."
        ) from error

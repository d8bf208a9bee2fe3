"""Reads small inputs, for the tests of jobs/input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.errors import InputError
from jobs.input.prompts import Part, Prompts
from jobs.spec.job_spec import make_spec


def read(path: Path | str, **fields: Any) -> Prompts:
    return Prompts(make_spec({"input": str(path), "output": "o", "models": "shapes", **fields}))


def only_part(path: Path, **fields: Any) -> Part:
    (part,) = read(path, **fields).parts()
    return part


def refusal(path: Path | str, **fields: Any) -> str:
    """The error of an input that is refused before its first part is read."""
    with pytest.raises(InputError) as caught:
        assert read(path, **fields).num_rows < 0, "it was not refused"
    return str(caught.value)

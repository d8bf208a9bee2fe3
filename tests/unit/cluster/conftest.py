"""Commands in the process of the tests: what one of them set ends with its test."""

from __future__ import annotations

import pytest

from cluster.console import console


@pytest.fixture(autouse=True)
def _own_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--json` a command moves what people read to standard error."""
    monkeypatch.setattr(console, "stderr", False)

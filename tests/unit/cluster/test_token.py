"""A Ray of ours is never without a token."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.errors import ClusterError
from cluster.token import own_token


@pytest.mark.parametrize("mode", ["disabled", "k8s", ""])
def test_a_mode_without_a_token_is_refused(
    mode: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    refused = pytest.raises(ClusterError, match=f"RAY_AUTH_MODE is '{mode}'.*Unset RAY_AUTH_MODE")
    with refused, own_token(tmp_path):
        pytest.fail("it started")
    assert os.environ["RAY_AUTH_MODE"] == mode

"""`bottega models`: one line a preset, and one sentence where the hub gives nothing."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from actors.errors import ModelError
from actors.models.folders import hub_snapshot
from actors.models.presets import CATALOGUE
from cluster.cli import main
from cluster.cli.options import presets
from cluster.views.preset import catalogue

RESPONSE: Any = SimpleNamespace(status_code=403, headers={}, request=None)


def test_each_preset_has_one_line_with_its_sizes() -> None:
    title, *lines = catalogue(CATALOGUE)
    *lines, legend, gated = lines
    assert [line.split()[0] for line in lines] == list(CATALOGUE)
    sd35 = next(line for line in lines if line.startswith("sd35-turbo"))
    assert sd35.split()[1:7] == ["13.7+13.7", "B", "57", "GB", "47+36", "GiB"]
    assert sd35.split()[7] == "gated"
    assert next(line for line in lines if line.startswith("sd-turbo")).split()[7] == "open"
    assert "hf auth login" in gated
    assert "HF_TOKEN" in gated
    assert title.index("gated") == sd35.index("gated")
    assert "student and teacher" in legend


def test_names_of_presets_are_completed() -> None:
    assert presets("sdxl-t") == ["sdxl-turbo"]
    assert presets("nothing") == []


@pytest.mark.parametrize("words", ["bottega run --models sdxl-t", "bottega init sdxl-t"])
def test_the_shell_completes_them(words: str) -> None:
    asked = {
        "_BOTTEGA_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    code = f"import os, sys; os.environ.update({asked}); sys.argv = ['bottega']\n"
    code += "from cluster.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["sdxl-turbo"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (GatedRepoError("no", response=RESPONSE), "gated: accept its terms on https://huggingface"),
        (RepositoryNotFoundError("no", response=RESPONSE), "the hub has none of this name"),
        (RevisionNotFoundError("no", response=RESPONSE), "no revision 'v1' of it"),
        (HfHubHTTPError("no", response=RESPONSE), "answered with status 403"),
        (LocalEntryNotFoundError("two. sentences.."), "the hub cannot be reached"),
        (OSError("no route"), "the hub cannot be reached"),
    ],
)
def test_what_the_hub_does_not_give_is_one_sentence(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    with pytest.raises(ModelError) as caught:
        hub_snapshot("a/b", "v1", ["*"])
    text = str(caught.value)
    assert said in text
    assert text.count(".") == 1 + text.count("huggingface.co")
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
    with pytest.raises(ModelError, match="before HF_HUB_OFFLINE was set"):
        hub_snapshot("a/b", "v1", ["*"])


def test_a_check_without_the_hub_says_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(sys, "argv", ["bottega", "models", "check", "lcm-sd15"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    shown = capfd.readouterr()
    assert len(shown.err.splitlines()) == 1
    assert ".." not in shown.err
    assert "%|" not in shown.err

"""An option that names the place of a secret becomes the secret where it is used, only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import ModelError
from actors.secret_references import with_secrets

SECRET = "hunter2-hunter2"


def test_the_environment_and_a_file_give_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELS", SECRET)
    (tmp_path / "password").write_text(f"{SECRET}\n")
    options = {"token": "env:LABELS", "password": f"file:{tmp_path}/password", "rows": 3}
    assert with_secrets(options) == {"token": SECRET, "password": SECRET, "rows": 3}


def test_an_option_of_another_name_is_no_reference() -> None:
    assert with_secrets({"template": "env:LABELS"}) == {"template": "env:LABELS"}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("env:NOT_SET_ANYWHERE", "names the variable 'NOT_SET_ANYWHERE', which is not set here"),
        (
            "file:/nowhere/at/all",
            "names '/nowhere/at/all', which cannot be read: No such file or directory",
        ),
        ("file:/tmp", "names '/tmp', which cannot be read: Is a directory"),
        ("file:/dev/zero", "has more than 65,536 bytes"),
    ],
)
def test_a_place_without_one_is_told(place: str, said: str) -> None:
    with pytest.raises(ModelError, match=f"the option 'token' .*{said}"):
        with_secrets({"token": place})


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match="it is not UTF-8"):
        with_secrets({"token": f"file:{tmp_path}/key"})

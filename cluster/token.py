"""The token of a Ray: whoever has it runs code as the user, and nobody else does.

A Ray that starts here gets a token of its own, for as long as it runs. A Ray that runs already gets
the user's token, if it asks for one. Ray looks for a token in its environment when it is imported,
and keeps the result; this module changes the environment and makes Ray look again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import (  # type: ignore[attr-defined]  # its stub names little
    AuthenticationMode,
    AuthenticationTokenLoader,
    Config,
    GcsClient,
    get_authentication_mode,
)
from ray.exceptions import AuthenticationError

from actors.errors import ClusterError

MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
PLACES = f"{TOKEN}, in the file that {TOKEN_PATH} names, or in ~/.ray/auth_token"


@contextmanager
def own_token(folder: Path) -> Iterator[None]:
    """Make a token for a Ray that starts here, in a private file of this private folder.

    Raises ClusterError if the environment says that Ray should run without one.
    """
    mode = os.environ.get(MODE, "token")
    if mode.lower() != "token":
        raise ClusterError(
            f"{MODE} is {mode!r}, and without a token whoever reaches a port of Ray runs code as "
            f"you. Unset {MODE}, or set it to 'token'; Bottega makes the token itself."
        )
    file = folder / "token"
    # The file's mode is there before its content.
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as content:
        content.write(token_hex(32))
    with _environment({MODE: "token", TOKEN_PATH: str(file), TOKEN: None}):
        yield


def is_let_in(address: str) -> bool:
    """Whether the Ray at an address takes this process, with the token that Ray has now."""
    try:
        with _without_words_of_cpp():
            GcsClient(address=canonicalize_bootstrap_address(address))
    except AuthenticationError:
        return False
    return True


@contextmanager
def _without_words_of_cpp() -> Iterator[None]:
    """Ray's C++ warns of a refusal, on the process's standard error; here that is an answer."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def users_token(address: str, let_in: Callable[[str], bool] = is_let_in) -> Iterator[None]:
    """Use the user's own token, where the Ray at `address` (or `auto`) asks for one.

    let_in: asks it. Raises ClusterError at once for a token that is missing or wrong; `ray.init`
    would try for half a minute, and its error would not say why.
    """
    with _environment({}):
        asked = get_authentication_mode() == AuthenticationMode.TOKEN or not let_in(address)
    if not asked:
        yield
        return
    with _environment({MODE: "token"}):
        if not _has_token():
            raise ClusterError(
                f"the Ray at {address!r} asks for a token, and there is none in {PLACES}. "
                "Ask for it where the cluster was started."
            )
        if not let_in(address):
            raise ClusterError(
                f"the Ray at {address!r} does not take the token that is in {PLACES} (the first "
                "of them that is there counts). Is it that cluster's?"
            )
        yield


def _has_token() -> bool:
    try:
        return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))
    except AuthenticationError:
        return False


@contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Set these variables, or unset where None; Ray reads them, and the old ones at the end."""
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    # In this order: a thread of Ray's that finds token mode without a token ends the process.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()

"""An oracle of the user's own: any class with a method `score`.

    class Mine:
        def score(self, prompts, pictures):   # pictures: (rows, height, width, 3) uint8
            return [...]                      # one number a row, higher is better
        def truncated(self, prompts):         # optional: places of prompts that it cuts off
            return [...]

It is the user's code, named by the user; docs/oracles.md says what it may rely on.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from hashlib import sha256
from importlib import import_module
from importlib.metadata import entry_points
from inspect import getsourcefile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.errors import ModelError
from actors.secret_references import with_secrets
from actors.settings import ORACLE_KINDS, ScorerSettings

if TYPE_CHECKING:
    from actors.images import Pictures

ENTRY_POINTS = "bottega.oracles"


class OwnOracle:
    """One object of the user's class."""

    def __init__(self, settings: ScorerSettings) -> None:
        found = find_class(settings.kind)
        if settings.revision not in (None, source_hash(found)):
            raise ModelError(
                f"oracle {settings.kind!r} has another source file here ({getsourcefile(found)}) "
                "than where the job began. Install the same version on every machine, or start "
                "the job anew."
            )
        self.kind = settings.kind
        path = {"path": settings.path} if settings.path else {}
        self.oracle: Any = found(**path, **with_secrets(settings.options))

    def score(self, prompts: Sequence[str], pictures: Pictures) -> list[float]:
        """See `Scorer`."""
        scores = [float(score) for score in self.oracle.score(list(prompts), pictures)]
        if len(scores) != len(prompts):
            raise ModelError(
                f"oracle {self.kind!r} gave {len(scores)} scores for {len(prompts)} pictures; "
                "`score` returns one for each."
            )
        return scores

    def truncated(self, prompts: Sequence[str]) -> tuple[int, ...]:
        """What the class's own `truncated` says, where it has one."""
        own = getattr(self.oracle, "truncated", None)
        return tuple(own(list(prompts))) if own else ()


def find_class(kind: str) -> type:
    """The class that `kind` names; its module is imported. Raises ModelError."""
    module, _, name = kind.partition(":")
    try:
        found = getattr(import_module(module), name) if name else _entry_point(kind)
    except ModelError:
        raise
    except Exception as error:  # the user's module may raise anything
        raise ModelError(
            f"oracle {kind!r} cannot be imported: {type(error).__name__}: {error}. Every machine "
            "of the job needs it: install it there, or put its folder on PYTHONPATH before Ray "
            "starts."
        ) from error
    # Before anything of it is called: any class of any module can be named here.
    if not isinstance(found, type) or not callable(getattr(found, "score", None)):
        raise ModelError(f"oracle {kind!r} is no class with a method `score(prompts, pictures)`.")
    return found


def _entry_point(name: str) -> Any:
    installed = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in installed:
        known = [*ORACLE_KINDS, *sorted(installed)]
        close = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known)}."
        raise ModelError(
            f"oracle {name!r} is no kind of oracle, and no entry point {ENTRY_POINTS!r} has this "
            f"name. {hint} A class of your own is written module:Class."
        )
    return installed[name].load()


def source_hash(found: type) -> str:
    """A hash of the class's source file, by which the class enters the job's identity."""
    try:
        file = getsourcefile(found)
    except TypeError:
        file = None
    if file is None or not Path(file).is_file():
        raise ModelError(
            f"oracle class {found.__module__}:{found.__qualname__} has no source file, so that a "
            "change of it could not be seen. Put it into a module."
        )
    return sha256(Path(file).read_bytes()).hexdigest()[:16]

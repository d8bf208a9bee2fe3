"""Do `actors`, `jobs` and `cluster` all come from this Bottega?

The names are common ones, and where another project's package is first on the path, Python takes
that one. The command asks here before it imports any of the three. So this file imports none of
them: only the standard library.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the three packages."""

PACKAGES = ("actors", "jobs", "cluster")


def check_packages() -> None:
    """Exit with code 2 and one sentence if one of the packages is another project's."""
    for name in PACKAGES:
        found = _place(name)
        if found != (ROOT / name).resolve():
            print(
                f"bottega: the package {name!r} comes from {found or 'nowhere'}, not from Bottega "
                f"in {ROOT}. Start from another folder, or take the other one off PYTHONPATH.",
                file=sys.stderr,
            )
            sys.exit(2)


def _place(name: str) -> Path | None:
    """The folder, or the file of a module, that `import name` would run. Nothing of it runs here.

    A folder without `__init__.py` counts too: Python finds it before an editable install.
    """
    spec = find_spec(name)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    place = folders[0] if folders else spec.origin
    return Path(place).resolve() if place else None

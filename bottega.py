"""The command `bottega`, under the one name here that no other project has.

`cluster` itself may be another project's, so the check is found by its file, not by an import.
"""

from __future__ import annotations

from pathlib import Path
from runpy import run_path


def main() -> None:
    """Check that the packages are Bottega's, then run the command."""
    check = run_path(str(Path(__file__).resolve().parent / "cluster" / "packages.py"))
    check["check_packages"]()

    from cluster.cli import main as command

    command()


if __name__ == "__main__":
    main()

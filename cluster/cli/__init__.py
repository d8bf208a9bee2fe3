"""The `bottega` command: a file for each group of verbs, each verb a thin function."""

from __future__ import annotations

import sys

from cluster.packages import check_packages


def main() -> None:
    """Run the command; a user's mistake is shown as a sentence, not a traceback."""
    check_packages()
    # Only now: the verbs import `actors` and `jobs`.
    from actors.errors import BottegaError
    from cluster.cli.app import command
    from cluster.console import say_error

    try:
        command()()
    except BottegaError as error:
        say_error(error)
        sys.exit(error.exit_code)

"""`python -m tests.chaos`: see `chaos`."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.chaos import many


def main() -> int:
    """Run trials and print their figures; 1 if a byte differed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1, help="the first trial's; each has the next")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="bottega-chaos-") as folder:
        figures = many(arguments.seconds, arguments.seed, Path(folder))
    return 1 if figures["bad_seeds"] or not figures["runs"] else 0


if __name__ == "__main__":
    sys.exit(main())

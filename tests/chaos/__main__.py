"""`python -m tests.chaos`: see `chaos`."""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.chaos.chaos import Bucket, many
from tests.servers.object_store import start_object_store
from tests.stand_ins import STAND_INS


def main() -> int:
    """Run trials and print their figures; 1 if a byte differed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1, help="the first trial's; each has the next")
    parser.add_argument("--on-object-store", action="store_true", help="and its server dies too")
    parser.add_argument("--stand-ins", action="store_true", help="models that compute nothing")
    arguments = parser.parse_args()
    fields = STAND_INS if arguments.stand_ins else {}
    with TemporaryDirectory(prefix="bottega-chaos-") as name:
        folder = Path(name)
        on = _bucket(folder / "server") if arguments.on_object_store else None
        figures = many(arguments.seconds, arguments.seed, folder, on, **fields)
    return 1 if figures["bad_seeds"] or not figures["runs"] else 0


def _bucket(folder: Path) -> Bucket:
    folder.mkdir()
    server = start_object_store(folder)
    # Before the Ray of the trials starts: its workers take them from their environment.
    os.environ.update(server.environment)
    client: Any = server.client()
    client.create_bucket(Bucket="chaos")
    return Bucket(server, "s3://chaos")


if __name__ == "__main__":
    sys.exit(main())

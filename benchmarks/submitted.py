"""What the Jobs API costs: `bottega submit --wait` beside `bottega run`, on one head.

python -m benchmarks.submitted [TIMES]

Prints, of each time, the seconds from the start of the command to the first part on the disk and
to the command's end. The job is the same, of stand-ins that load at once and take ten seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from subprocess import DEVNULL
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.cluster.head import environment_of, head_in
from tests.stand_ins import STAND_INS

BOTTEGA = Path(sys.executable).parent / "bottega"
JOB: dict[str, Any] = {**STAND_INS, "rows_per_part": 8}
ROWS = 48


def _measured(command: list[str], env: dict[str, str], folder: Path, output: Path) -> list[float]:
    """Seconds to the first part and to the end."""
    began, first = time.monotonic(), 0.0
    running = subprocess.Popen(command, env=env, cwd=folder, stdout=DEVNULL, stderr=DEVNULL)
    status = output / "status.json"
    while running.poll() is None:
        if not first and any((output / "records").glob("*")):
            first = time.monotonic() - began
        time.sleep(0.05)
    assert running.returncode == 0, status.read_text()
    assert json.loads(status.read_text())["state"] == "succeeded"
    return [first, time.monotonic() - began]


def main() -> int:
    """See above."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with TemporaryDirectory() as place, head_in(Path(place) / "home") as head:
        folder = Path(place)
        (folder / "p.txt").write_text("".join(f"picture {n}\n" for n in range(ROWS)))
        env = environment_of(head.home)
        ways = {
            "run": ["run", "--address", head.ray_address],
            "submit": ["submit", "--wait", "--address", head.address],
        }
        for number in range(times):
            for way, (verb, *options) in ways.items():
                output = folder / f"{way}-{number}"
                job = {**JOB, "name": way, "input": str(folder / "p.txt"), "output": str(output)}
                file = folder / f"{output.name}.yaml"
                file.write_text(yaml.safe_dump(job))
                command = [str(BOTTEGA), verb, str(file), *options]
                first, end = _measured(command, env, folder, output)
                print(f"{way}: first part after {first:.1f} s, end after {end:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

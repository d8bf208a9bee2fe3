"""Break the scheduling code on purpose, and check that the simulation finds it.

    python -m tests.chaos.broken

Each entry of BROKEN is one change to a copy of the code. For each it prints the first seeds of
`python -m tests.simulation.trials` that find it, and the first problem. Exits with 1 if one is not
found, or if the code has changed so that there is nothing to break.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]

BROKEN = {
    "a call that is back still counts as under way": (
        "jobs/execution/cascade.py",
        "        self._steps[call.step].active &= ~call.row_set\n"
        "        if isinstance(event, Failed)",
        "        if isinstance(event, Failed)",
    ),
    "an output that is made again is released before the call that waits has taken it": (
        "jobs/execution/cascade.py",
        "made.rows & (self._steps[taker].ahead | self._steps[taker].active)",
        "made.rows & self._steps[taker].ahead",
    ),
    "latents are released although the teacher may still take them": (
        "jobs/execution/cascade.py",
        "            if rows and taker.stage is Stage.REFINE:\n",
        "            if taker.stage is Stage.REFINE:\n"
        "                continue\n"
        "            if rows:\n",
    ),
    "the teacher's batches depend on how many rows wait": (
        "jobs/execution/part_rows.py",
        "        while len(queue) >= size or",
        "        size = 1 + len(queue) // 2\n        while len(queue) >= size or",
    ),
    "a row climbs on before the rows in front of it are known to": (
        "jobs/execution/part_rows.py",
        "        first = lowest(undetermined) if undetermined else self.num_rows\n",
        "        first = self.takes[number].bit_length() or self.num_rows\n",
    ),
    "an output that was lost is not made again": (
        "jobs/execution/cascade.py",
        "        for producer in missing:",
        "        for producer in ():",
    ),
    "a completion that comes twice is taken twice": (
        "jobs/execution/in_flight.py",
        "sent = self._sent.pop(task_ref, None)",
        "sent = self._sent.get(task_ref)",
    ),
    "a late completion of an actor that was given up is taken": (
        "jobs/execution/failures.py",
        "            self._in_flight.pop(sent.task_ref)\n",
        "",
    ),
    "of a dead actor's calls only the oldest is made again": (
        "jobs/execution/failures.py",
        "        while actor.calls:\n",
        "        if actor.calls:\n",
    ),
    "a dead actor keeps its calls, and they their inputs": (
        "jobs/execution/failures.py",
        "        while actor.calls:\n"
        "            # Taken out: call and actor refer to each other, and would keep the inputs "
        "in the store.\n"
        "            sent = actor.calls.popleft()\n",
        "        for sent in list(actor.calls):\n",
    ),
    "all inputs of a call are declared lost with one": (
        "jobs/execution/failures.py",
        "gone = [lost] if lost in task.inputs else list(task.inputs)",
        "gone = list(task.inputs)",
    ),
    "a call whose input was lost while it waited is forgotten": (
        "jobs/execution/dispatcher.py",
        "                if (task := self._task(queued, pool.micro_batch_size)) is None:\n"
        "                    stale.append(self._lost_in_the_queue(queued))\n",
        "                if (task := self._task(queued, pool.micro_batch_size)) is None:\n",
    ),
    "a file's slot is not given back when it fails": (
        "jobs/execution/failures.py",
        "        blame = True\n",
        "        blame = True\n        self._in_flight.file_tasks += sent.actor is None\n",
    ),
    "the newest call of a dead actor is blamed, not the oldest": (
        "actors/pool.py",
        "oldest = self.calls[0] if self.calls else None",
        "oldest = self.calls[-1] if self.calls else None",
    ),
    "a pool forgets that memory is short": (
        "actors/pool.py",
        "            self.micro_batch_size = rows // 2\n",
        "            pass\n",
    ),
    "an actor that the memory monitor killed still gets calls": (
        "jobs/execution/executor.py",
        "ErrorKind.UNREACHABLE, ErrorKind.EVICTED, ErrorKind.NODE_LOST",
        "ErrorKind.UNREACHABLE, ErrorKind.NODE_LOST",
    ),
    "a teacher's numbers that are no picture become one": (
        "jobs/execution/cascade.py",
        "                self._made_nothing(call, event.permanent_failures)\n",
        "                pass\n",
    ),
    "an actor that waits for a GPU counts as loading": (
        "jobs/execution/actor_pools.py",
        "return any(actor.has_place for _, actor, _ in self._loading.values())",
        "return bool(self._loading)",
    ),
    "a job keeps asking for GPUs that others have": (
        "jobs/execution/places.py",
        "        return longest >= PLACE_SECONDS\n",
        "        return longest >= inf\n",
    ),
    "pools take turns before one has had its own": (
        "jobs/execution/scaling_controller.py",
        'if not all(capacity.fits({"oracle": 1, name: 1}) for name in ("student", "teacher")):',
        "if False:",
    ),
    "a part that has its record is opened again": (
        "jobs/execution/runner.py",
        "(n for n in range(job.prompts.num_parts) if n not in there)",
        "(n for n in range(job.prompts.num_parts))",
    ),
}
"""By name: the file, the text, and the text that replaces it."""


def find(name: str, count: int) -> list[str]:
    """The lines of the seeds below `count` that find it, each with its problem.

    Raises ValueError if the text is not there exactly once: the code has changed.
    """
    file, text, instead = BROKEN[name]
    with TemporaryDirectory() as folder:
        for package in ("actors", "jobs", "tests/simulation"):
            leave = ignore_patterns("weights", "__pycache__")
            copytree(ROOT / package, Path(folder) / package, ignore=leave)
        copy = Path(folder) / file
        code = copy.read_text(encoding="utf-8")
        if code.count(text) != 1:
            raise ValueError(f"{file} has {code.count(text)} times {text!r}")
        copy.write_text(code.replace(text, instead), encoding="utf-8")
        ended = subprocess.run(
            [sys.executable, "-m", "tests.simulation.trials", "--count", str(count)],
            cwd=folder, env={**os.environ, "PYTHONPATH": folder}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    if "plans, " not in ended.stdout:
        raise ValueError(f"{file} does not run any more: {ended.stderr[-500:]}")
    return re.findall(r"^seed .*", ended.stdout, re.MULTILINE)


def main() -> int:
    """Print which seeds find each change."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.broken")
    parser.add_argument("--count", type=int, default=300, help="seeds to try for each")
    count = parser.parse_args().count
    missed = 0
    for name in BROKEN:
        try:
            found = find(name, count)
        except ValueError as error:
            found = []
            print(f"{name}: {error}")
        missed += not found
        seeds = ", ".join(line.split()[1].rstrip(":") for line in found[:3])
        problem = found[0].partition(": ")[2][:160] if found else ""
        print(f"{name}: {len(found)} of {count} seeds ({seeds or 'NONE'}): {problem}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

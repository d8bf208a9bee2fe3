"""The exported DAG in a real Airflow, on a real head: `make test-airflow` runs it, CI does not.

    python -m tests.airflow AIRFLOW

AIRFLOW: the command of an Airflow in an environment of its own. The DAG's task succeeds with its
job, fails with it, and after its worker was killed attaches to the job that goes on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import yaml

from tests.cluster.head import Head, environment_of, head_in
from tests.stand_ins import STAND_INS

BIN = Path(sys.executable).parent
DATE = "2026-11-23"
ROWS = 24


class Trial:
    """A folder with jobs, an Airflow's home, and the head that the jobs are submitted to."""

    def __init__(self, folder: Path, head: Head, airflow: Path) -> None:
        self.folder, self.airflow = folder, airflow
        self.environment = {
            **environment_of(head.home),
            "BOTTEGA_ADDRESS": head.address,
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        (folder / "dags").mkdir()
        prompts = "".join(f"a small red circle, number {n}\n" for n in range(ROWS))
        (folder / "prompts.txt").write_text(prompts)
        self._run(airflow, "db", "migrate")

    def _run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, words)), cwd=self.folder, env=self.environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def bottega(self, *words: str) -> Any:
        """The JSON that the command prints."""
        end = self._run(BIN / "bottega", *words, "--json")
        return json.loads(end.stdout or "null")

    def export(self, name: str, retries: int, **fields: Any) -> None:
        """A job of this name, and its DAG."""
        job = {
            **STAND_INS, "name": name, "input": "prompts.txt", "output": f"{name}/{{date}}",
            "rows_per_part": 4, **fields,
        }  # fmt: skip
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(job))
        address = self.environment["BOTTEGA_ADDRESS"]
        words = ["export", "airflow", f"{name}.yaml", "--address", address, "--timeout", "10m"]
        end = self._run(BIN / "bottega", *words)
        assert end.returncode == 0, end.stderr
        # Five minutes between two tries are too long for a test; one is enough for a failure.
        text = re.sub(r"retries=\d+", f"retries={retries}", end.stdout)
        (self.folder / f"dags/{name}.py").write_text(text)

    def start(self, name: str) -> subprocess.Popen[str]:
        """Run the DAG for the date, as a worker would."""
        words = [str(self.airflow), "dags", "test", f"bottega_{name}", DATE]
        return subprocess.Popen(
            words, cwd=self.folder, env=self.environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def result(self, process: subprocess.Popen[str]) -> tuple[bool, str]:
        """Whether the run is green, and what Airflow said."""
        said, _ = process.communicate(timeout=400)
        return bool(re.search(r"state[=:]\W*success", said)), said


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def main() -> None:
    """See above."""
    airflow = Path(sys.argv[1]).absolute()
    with TemporaryDirectory() as name, head_in(Path(name)) as head:
        folder = Path(name) / "jobs"
        folder.mkdir()
        trial = Trial(folder, head, airflow)

        trial.export("good", retries=0)
        green, said = trial.result(trial.start("good"))
        assert green, said
        assert (folder / f"good/{DATE}/_SUCCESS").exists()
        print("success: the task is green, and the dataset of the date is there")

        trial.export("bad", retries=0, max_failed=0, task="edit", image_column="nothing")
        green, said = trial.result(trial.start("bad"))
        assert not green, said
        print("failure: the task is red")

        slow = json.loads(json.dumps(STAND_INS["models"]))
        slow["student"]["timed"]["seconds"] = {4: 4.0}
        trial.export("killed", retries=0, models=slow)
        worker = trial.start("killed")
        jobs: list[Any] = []

        def runs() -> bool:
            jobs[:] = [job for job in trial.bottega("list") if job["name"] == "killed"]
            return bool(jobs) and jobs[0]["state"] == "running"

        wait_for(runs, "the job did not begin")
        for process in (*psutil.Process(worker.pid).children(recursive=True), worker):
            process.kill()
        worker.communicate()
        assert trial.bottega("status", jobs[0]["id"])["state"] == "running"
        green, said = trial.result(trial.start("killed"))
        assert green, said
        (found,) = [job for job in trial.bottega("list", "-a") if job["name"] == "killed"]
        assert (found["id"], found["attempt"]) == (jobs[0]["id"], 1)
        print(f"killed worker: the next try attached to {found['id']}, attempt 1")


if __name__ == "__main__":
    os.environ.pop("RAY_ADDRESS", None)
    main()

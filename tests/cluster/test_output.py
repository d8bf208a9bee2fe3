"""verify, retry, --extend and failing disks, on a real Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from actors.errors import OutputFailedError
from jobs.execution.progress import Progress
from jobs.execution.resources import Resources
from jobs.output.columns import RowResult
from jobs.output.folder import OutputFolder
from jobs.output.writer import write_part
from jobs.resolution import Job
from tests.cluster.conftest import FIELDS, RunCommand, RunJob, bottega_in_process, hashes
from tests.cluster.test_command import job_file
from tests.outputs import part_file, record_file
from tests.stand_ins import STAND_INS


def test_verify_finds_what_is_wrong_with_a_dataset(
    done: tuple[Job, Progress], tmp_path: Path
) -> None:
    copytree(done[0].output.path, tmp_path / "out")
    good = bottega_in_process("verify", tmp_path / "out")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "all is well: 22 rows" in good.stdout
    part = part_file(OutputFolder(tmp_path / "out"), 1)
    part.write_bytes(part.read_bytes()[:-1])
    bad = bottega_in_process("verify", tmp_path / "out")
    assert bad.returncode == 1
    assert "part 1: it has" in bad.stdout


def test_a_grown_input_extends_the_dataset_and_keeps_its_bytes(
    done: tuple[Job, Progress], run_here: RunJob, tmp_path: Path
) -> None:
    """The first 12 rows, then all 22: the same parts as in one run with that threshold."""
    job, _ = done
    table = pq.read_table(job.spec.input)
    source = tmp_path / "prompts.parquet"
    fields: dict[str, Any] = {
        **FIELDS,
        "input": str(source),
        "budget": {"threshold": _threshold(job)},
    }
    pq.write_table(table.slice(0, 12), source)
    run_here(output=str(tmp_path / "out"), **fields)
    first = part_file(OutputFolder(tmp_path / "out"), 0)
    written = first.stat().st_mtime_ns
    pq.write_table(table, source)
    run_here(output=str(tmp_path / "out"), extend=True, **fields)
    assert first.stat().st_mtime_ns == written
    assert hashes(tmp_path / "out") == hashes(job.output.path)


def test_a_retry_makes_failed_rows_as_if_they_had_never_failed(
    done: tuple[Job, Progress], bottega_here: RunCommand, tmp_path: Path
) -> None:
    """Two rows of a good dataset are marked as failed, as a passing fault would have left them."""
    job, _ = done
    copytree(job.output.path, tmp_path / "out")
    folder = OutputFolder(tmp_path / "out")
    with_failures(job, folder, index=1, failed={2, 5})
    assert hashes(folder.path) != hashes(job.output.path)
    end = bottega_here("retry", folder.path)
    assert end.returncode == 0, end.stdout + end.stderr
    assert "2 rows had failed, 0 still do" in end.stdout
    assert hashes(folder.path) == hashes(job.output.path)
    assert json.loads(record_file(folder, 1).read_text())["failed"] == 0


def with_failures(job: Job, folder: OutputFolder, index: int, failed: set[int]) -> None:
    """Write a part again with some rows failed, by the code that writes parts."""
    (part,) = job.prompts.parts(only=[index])
    results = [
        RowResult(part.seeds[row], None, None, None, 0, False, "draw: it rained", None, None)
        if row in failed
        else None
        for row in range(len(part.prompts))
    ]
    write_part(folder, index, part.first_row, part.table, results, "png", True, {})


SHORT_PATIENCE = 6.0
"""Seconds in place of `jobs.output.patience.PATIENCE_SECONDS`: a first try and the next ones."""


def test_a_folder_that_vanishes_ends_the_job_and_finished_parts_stay(
    done: tuple[Job, Progress],
    run_here: RunJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It vanishes when the job goes on after its first part, before anything more is drawn."""
    monkeypatch.setattr("jobs.output.patience.PATIENCE_SECONDS", SHORT_PATIENCE)
    job, _ = done
    out, away = tmp_path / "out", tmp_path / "away"
    copytree(job.output.path, out)
    folder = OutputFolder(out)
    for index in (1, 2):
        record_file(folder, index).unlink()
        part_file(folder, index).unlink()

    def vanish(_dispatcher: Any) -> None:
        if not away.exists():
            out.rename(away)

    kept = part_file(folder, 0).stat().st_mtime_ns
    with pytest.raises(OutputFailedError, match=r"/out' is gone\. Bring it back"):
        run_here(watch=vanish, input=job.spec.input, output=str(out), **FIELDS)
    assert not out.exists()
    away.rename(out)
    run_here(input=job.spec.input, output=str(out), **FIELDS)
    assert part_file(folder, 0).stat().st_mtime_ns == kept
    assert hashes(out) == hashes(job.output.path)


IMPATIENT = (
    f"import jobs.output.patience as p; p.PATIENCE_SECONDS = {SHORT_PATIENCE}; "
    "from cluster.cli import main; main()"
)
"""The command of a driver that waits for room for a short time."""

LARGE: dict[str, Any] = {
    **STAND_INS,
    **{field: FIELDS[field] for field in ("save_student", "id_column")},
    "models": {
        role: model if role == "oracle" else {**model, "width": 1024, "height": 1024}
        for role, model in STAND_INS["models"].items()
    },
    "image_format": "jpeg",
}
"""Stand-ins, which load quickly, and parts that are larger than what else is in the folder."""

FULL = """
mount -t tmpfs -o size="$2" tmpfs "$1/out"
"${@:3}" run "$1/job.yaml" -v; echo "ended with $?"
cp -r "$1/out" "$1/kept"
"""


@pytest.mark.timeout(600)
def test_a_full_disk_ends_the_job_in_a_sentence_and_with_room_it_goes_on(
    run_here: RunJob, captions: Path, bottega_here: RunCommand, tmp_path: Path
) -> None:
    """On a file system of its own, which nobody else sees: it has room for one part.

    Its copy goes on, where there is room.
    """
    job, _ = run_here(input=str(captions), output=str(tmp_path / "whole"), **LARGE)
    file = job_file(tmp_path, input=job.spec.input, output=str(tmp_path / "out"), **LARGE)
    (tmp_path / "out").mkdir()
    page = os.sysconf("SC_PAGE_SIZE")
    sizes = sorted(part_file(job.output, n).stat().st_size for n in range(3))
    room = sizes[-1] + (job.output.path / "job.json").stat().st_size + 5 * page
    assert room < sizes[0] + sizes[1], "two parts would fit"
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    end = subprocess.run(
        [*alone, "bash", "-c", FULL, "full", tmp_path, str(room), sys.executable, "-c", IMPATIENT],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert "ended with 1" in end.stdout, end.stdout + end.stderr
    assert "has no room left. Make room there" in end.stderr
    assert "Traceback" not in end.stdout + end.stderr
    kept = OutputFolder(tmp_path / "kept")
    (first,) = kept.records()
    written = part_file(kept, first).stat().st_mtime_ns
    again = bottega_here("run", file, "--output", kept.path, "-v")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "continuing: 1 of 3 parts already there" in again.stdout
    assert part_file(kept, first).stat().st_mtime_ns == written
    assert hashes(kept.path) == hashes(job.output.path)


def _threshold(job: Job) -> float:
    return float(job.output.require_job()["threshold"])


def test_a_commit_reads_its_files_where_they_lie_in_the_object_store(ray_here: Resources) -> None:
    """As Arrow's arrays they are not copied into the task; as a list of bytes they were."""
    size = 20_000_000

    def make() -> pa.BinaryArray:
        return pa.array([bytes(size)] * 2, pa.binary())

    def copied(*files: pa.BinaryArray) -> tuple[int, int]:
        return sum(file.nbytes for file in files), pa.total_allocated_bytes()

    made = [ray.remote(make).remote() for _ in range(2)]
    given, taken = ray.get(ray.remote(max_calls=1)(copied).remote(*made))
    assert given > 4 * size
    assert taken < size

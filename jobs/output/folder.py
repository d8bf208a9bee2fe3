"""The output folder: its files, and which parts are there.

    out/
      job.json                     the resolved job, its threshold, versions
      data/part-00000000.parquet   rows in input order; nothing in it depends on time or place
      records/part-00000000.json   written last: this makes the part count
      timeline.jsonl               how many actors each pool had, since when, and why
      status.json                  how the job stands, and when its driver was last heard of
      README.md, report.html       a dataset card, and a page for people
      _SUCCESS                     the sign that every part is there

`jobs.output.writer` writes parts and their records. A reader that follows the records never sees
half a part.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from actors.errors import OutputError
from actors.redact import redact, redacted
from jobs.output.atomic import failing_in, is_stray, temporary_files, write_first, write_whole
from jobs.output.job_file import parse_job
from jobs.output.records import read_record
from jobs.spec.job_spec import JobSpec, make_spec

log = logging.getLogger("bottega.parts")

DECISIONS = "decisions.json"
"""Left by a run that ended with an unforeseen error (jobs/execution/decision_log.py)."""

STATUS = "status.json"
"""The state of the job (jobs/output/status.py)."""

DRIVERS = ".drivers"
"""The folder of the heartbeats of running drivers (jobs/output/heartbeat.py)."""


RECORD_READERS = 16
"""Records are read so many at a time: on a network's disk each takes a millisecond or more."""


class OutputFolder:
    """An output folder, by its path. Creating the object touches nothing."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    def part_file(self, index: int) -> Path:
        """The file of a part's rows."""
        return self.path / "data" / f"part-{index:08d}.parquet"

    def record_file(self, index: int) -> Path:
        """The file of a part's record."""
        return self.path / "records" / f"part-{index:08d}.json"

    @property
    def job_file(self) -> Path:
        """The file of the resolved job."""
        return self.path / "job.json"

    def claim(self) -> None:
        """Refuse a folder that holds something and is not ours; touches nothing."""
        with failing_in(self.path):
            if self.path.exists() and not self.path.is_dir():
                raise OutputError(f"output {str(self.path)!r} is a file. Choose a folder.")
            holds = {file.name for file in self.path.iterdir()} if self.path.is_dir() else set()
            # A driver that was killed before its job.json was whole leaves only these.
            ours = {DRIVERS, STATUS, *(file.name for file in temporary_files(self.path))}
        if holds - ours and self.job_file.name not in holds:
            raise OutputError(
                f"output {str(self.path)!r} is not empty and has no job.json, so it is not ours to "
                "write to. Choose a new folder."
            )

    def read_job(self) -> dict[str, Any] | None:
        """job.json, or None before the first run."""
        with failing_in(self.path):
            content = self.job_file.read_bytes() if self.job_file.is_file() else None
        return None if content is None else parse_job(content, self.job_file)

    def require_job(self) -> dict[str, Any]:
        """job.json. Raises OutputError for a folder without one."""
        job = self.read_job()
        if job is None:
            raise OutputError(
                f"{str(self.path)!r} has no job.json, so it is no output of ours. Give the output "
                "folder of a job that has run."
            )
        return job

    def read_spec(self) -> JobSpec:
        """The job of this folder, to be resolved again. Raises a UserError."""
        fields = {**self.require_job()["spec"], "output": str(self.path)}
        return make_spec(fields, where=str(self.job_file))

    def write_job(self, job: Mapping[str, Any], replace: bool) -> None:
        """Put job.json in place, in one step.

        Without `replace` the first of several drivers wins: they must not disagree on a threshold.
        """
        content = json.dumps(redacted(job), indent=2, sort_keys=True).encode() + b"\n"
        with failing_in(self.path):
            (write_whole if replace else write_first)(self.job_file, content)

    @property
    def timeline_file(self) -> Path:
        """The file of every change of the pools' sizes, in JSON Lines."""
        return self.path / "timeline.jsonl"

    def add_to_timeline(self, entry: Mapping[str, Any]) -> None:
        """Add an event, with the time of day; a resumed run adds to the same file."""
        stamped = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **entry}
        with failing_in(self.path), self.timeline_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(redacted(stamped)) + "\n")

    def check_there(self) -> None:
        """Raise OutputFailedError when job.json is gone: the folder was removed or replaced."""
        with failing_in(self.path):
            self.job_file.stat()

    def unfinish(self) -> None:
        """Remove `_SUCCESS`, because parts are missing."""
        with failing_in(self.path):
            (self.path / "_SUCCESS").unlink(missing_ok=True)

    def finish(self, pages: Mapping[str, str]) -> None:
        """Write the pages of a complete dataset, and last `_SUCCESS`, as other programs expect.

        Only Markdown is redacted: a page in HTML shows prompts, which are the user's data, and the
        rest of it comes from job.json, which has no secrets.
        """
        with failing_in(self.path):
            for name, page in pages.items():
                clean = redact(page) if name.endswith(".md") else page
                write_whole(self.path / name, clean.encode(errors="replace"))
            # Of an earlier run that ended with an error: the job has ended well since.
            (self.path / DECISIONS).unlink(missing_ok=True)
            write_whole(self.path / "_SUCCESS", b"")

    def sweep(self, now: float) -> None:
        """Remove the temporary files of dead writers. `now`: seconds, by the disk's clock."""
        with failing_in(self.path):
            for file in temporary_files(self.path):
                if is_stray(file, now):
                    log.info("removing %s: the process that wrote it is gone", file)
                    file.unlink(missing_ok=True)

    def record_files(self) -> list[Path]:
        """The records that are there, good or not, by part number."""
        with failing_in(self.path):
            return sorted((self.path / "records").glob("part-*.json"))

    def records(self) -> dict[int, dict[str, Any]]:
        """The records of the finished parts, by part number.

        A record that is broken, or whose part is not there whole, is logged and does not count:
        the next run redoes the part.
        """
        files = self.record_files()
        if not files:
            return {}
        with ThreadPoolExecutor(RECORD_READERS) as readers:
            read = list(zip(files, readers.map(_read, files), strict=True))
        # Listed after the records were read: a part comes before its record.
        with failing_in(self.path):
            sizes = self._part_sizes()
        found: dict[int, dict[str, Any]] = {}
        for file, record in read:
            if isinstance(record, dict):
                name = self.part_file(record["part"]).name
                wrong = _wrong_size(name, record["bytes"], sizes)
                if wrong is None:
                    found[record["part"]] = record
                    continue
            else:
                wrong = record
            log.warning("%s does not count: %s", file, wrong)
        return found

    def _part_sizes(self) -> dict[str, int]:
        """Bytes of each file in `data/`, by name: one listing for all records."""
        data = self.path / "data"
        if not data.is_dir():
            return {}
        sizes = {}
        with os.scandir(data) as entries:
            for entry in entries:
                # Temporary files of other writers go while they are looked at; so may a part.
                if not entry.name.startswith("."):
                    with suppress(FileNotFoundError):
                        sizes[entry.name] = entry.stat().st_size
        return sizes


def _read(file: Path) -> dict[str, Any] | ValueError:
    """A record, or the error that says what is wrong with it."""
    try:
        return read_record(file)
    except ValueError as error:
        return error


def _wrong_size(name: str, written: int, sizes: Mapping[str, int]) -> ValueError | None:
    if name not in sizes:
        return ValueError(f"{name} is not there")
    if sizes[name] != written:
        return ValueError(f"{name} has {sizes[name]} bytes, and was written with {written}")
    return None

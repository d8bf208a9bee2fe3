"""The output: its files, and which parts are there, in a folder or below a URL.

    out/
      job.json                           the resolved job, its threshold, versions
      data/00000/part-00000000.parquet   rows in input order; nothing in it depends on time or place
      records/00000/part-00000000.json   written last: this makes the part count
      timeline.jsonl                     how many actors each pool had, since when, and why
      status.json                        how the job stands, and when its driver was last heard of
      README.md, report.html             a dataset card, and a page for people
      _SUCCESS                           the sign that every part is there

A folder of `data` and `records` has a thousand parts. (Before format 4 of job.json they had no such
folders; an output keeps the layout with which it began.) `jobs.output.writer` writes parts and
their records. A reader that follows the records never sees half a part.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from actors.errors import MissingError, OutputError, StorageError
from actors.redact import redact, redacted
from jobs.output.failing import failing_in
from jobs.output.job_file import FIRST_FORMAT_WITH_FOLDERS, FORMAT, format_of, parse_job
from jobs.output.record_index import by_folder, pack_records, read_records
from jobs.output.timeline import TimelineFile
from jobs.spec.job_spec import JobSpec, make_spec
from jobs.storage.local import LocalStorage
from jobs.storage.storage import Entry, Storage
from jobs.storage.storage_at import storage_at

log = logging.getLogger("bottega.parts")

JOB = "job.json"
SUCCESS = "_SUCCESS"

SAMPLE = "calibration.json"
"""The scores of `bottega calibrate`, for the run that follows."""

DECISIONS = "decisions.json"
"""Left by a run that ended with an unforeseen error (jobs/execution/decision_log.py)."""

STATUS = "status.json"
"""The state of the job (jobs/output/status.py)."""

DRIVERS = ".drivers"
"""The folder of the heartbeats of running drivers (jobs/output/heartbeat.py)."""

PARTS_PER_FOLDER = 1000
"""The hub allows 10,000 files a folder, and object stores list 1,000 names at a time."""

SEEN_BEFORE_JOB = 100
"""Names looked at, of a place without a job.json, to find one that is not ours."""


class OutputFolder:
    """An output, by its path or URL. Creating the object touches nothing."""

    def __init__(self, place: str | Path | Storage) -> None:
        self.storage = place if isinstance(place, Storage) else storage_at(place)
        self.url = self.storage.url
        """A path of this machine, or a URL: for people and for other programs."""
        self._format: int | None = None
        """Of the job.json that is there; None until it has been read."""
        self._timeline = TimelineFile(self.storage)

    @property
    def path(self) -> Path:
        """The folder of a local output. Raises OutputError for another one."""
        if not isinstance(self.storage, LocalStorage):
            raise OutputError(f"{self.url} is no folder of this machine. Copy it to one first.")
        return self.storage.folder

    def part_name(self, index: int) -> str:
        """The file of a part's rows, relative to the output."""
        return f"data/{self._folder(index)}part-{index:08d}.parquet"

    def record_name(self, index: int) -> str:
        """The file of a part's record, relative to the output."""
        return f"records/{self._folder(index)}part-{index:08d}.json"

    def _folder(self, index: int) -> str:
        return "" if self.is_flat else f"{index // PARTS_PER_FOLDER:05d}/"

    @property
    def is_flat(self) -> bool:
        """Whether all parts lie in one folder, as in outputs of earlier versions."""
        return self.format < FIRST_FORMAT_WITH_FOLDERS

    @property
    def format(self) -> int:
        """The format of job.json, which an output keeps; the newest before the first run."""
        if self._format is None:
            self._read_job_file()  # remembers it
        return FORMAT if self._format is None else self._format

    def claim(self) -> None:
        """Refuse a place that holds something and is not ours; touches nothing."""
        if isinstance(self.storage, LocalStorage) and self.storage.folder.is_file():
            raise OutputError(f"output {self.url!r} is a file. Choose a folder.")
        try:
            if self.storage.find(JOB):
                return
            holds = {entry.path for entry in self.storage.entries(most=SEEN_BEFORE_JOB)}
        except StorageError as error:
            raise OutputError(f"output {error.where!r} {error.what}.") from error
        # A driver that was killed before its job.json was whole leaves only these.
        ours = {
            name for name in holds if name in (STATUS, SAMPLE) or name.startswith(f"{DRIVERS}/")
        }
        if holds - ours:
            raise OutputError(
                f"output {self.url!r} is not empty and has no job.json, so it is not ours to "
                "write to. Choose a new folder."
            )

    def read_job(self) -> dict[str, Any] | None:
        """job.json, or None before the first run."""
        content = self._read_job_file()
        return None if content is None else parse_job(content, self.storage.name_of(JOB))

    def _read_job_file(self) -> bytes | None:
        with failing_in(self.storage):
            try:
                content = self.storage.get(JOB)
            except MissingError:
                return None
            except StorageError as error:
                if error.passing:
                    raise
                # No such bucket, wrong credentials: the user's to mend, and nothing to wait for.
                raise OutputError(f"output {self.url!r} {error.what}.") from error
        self._format = format_of(content)
        return content

    def require_job(self) -> dict[str, Any]:
        """job.json. Raises OutputError for a folder without one."""
        job = self.read_job()
        if job is None:
            raise OutputError(
                f"{self.url!r} has no job.json, so it is no output of ours. Give the output "
                "folder of a job that has run."
            )
        return job

    def read_spec(self) -> JobSpec:
        """The job of this folder, to be resolved again; nothing follows it. Raises a UserError."""
        fields = {**self.require_job()["spec"], "output": self.url}
        return make_spec(fields, where=self.storage.name_of(JOB))

    def write_job(self, job: Mapping[str, Any], replace: bool) -> None:
        """Put job.json in place, in one step.

        Without `replace` the first of several drivers wins: they must not disagree on a threshold.
        A nonce tells their files apart, where an object store's answer is lost.
        """
        written = {**redacted(job), "nonce": os.urandom(8).hex()}
        content = json.dumps(written, indent=2, sort_keys=True).encode() + b"\n"
        with failing_in(self.storage):
            if replace:
                self.storage.put(JOB, content)
            else:
                self.storage.put_new(JOB, content)
        self._format = None

    def add_to_timeline(self, entry: Mapping[str, Any]) -> None:
        """Add an event, with the time of day; a resumed run adds to the same file."""
        with failing_in(self.storage):
            self._timeline.add(entry)

    def flush_timeline(self) -> None:
        """Write what an object store's timeline still waits with."""
        with failing_in(self.storage):
            self._timeline.flush()

    def check_there(self) -> None:
        """Raise OutputFailedError when job.json is gone: the folder was removed or replaced."""
        with failing_in(self.storage):
            if self.storage.find(JOB) is None:
                raise StorageError(
                    self.url, "is gone. Bring it back, or mount its disk again", passing=True
                )

    def put(self, name: str, content: bytes) -> None:
        """Put a file of the output in place whole."""
        with failing_in(self.storage):
            self.storage.put(name, content)

    @property
    def is_finished(self) -> bool:
        """Whether the sign that every part is there is there."""
        with failing_in(self.storage):
            return self.storage.find(SUCCESS) is not None

    def unfinish(self) -> None:
        """Remove `_SUCCESS`, because parts are missing."""
        with failing_in(self.storage):
            self.storage.delete([SUCCESS])

    def finish(self, pages: Mapping[str, str]) -> None:
        """Write the pages of a complete dataset, and last `_SUCCESS`, as other programs expect.

        Only Markdown is redacted: a page in HTML shows prompts, which are the user's data, and the
        rest of it comes from job.json, which has no secrets.
        """
        with failing_in(self.storage):
            for name, page in pages.items():
                clean = redact(page) if name.endswith(".md") else page
                self.storage.put(name, clean.encode(errors="replace"))
            # Of an earlier run that ended with an error: the job has ended well since.
            self.storage.delete([DECISIONS])
            self.storage.put(SUCCESS, b"")

    def sweep(self, now: float) -> None:
        """Remove the temporary files of dead writers. `now`: seconds, by the storage's clock."""
        with failing_in(self.storage):
            for name in self.storage.strays(now):
                log.info(
                    "removing %s: the process that wrote it is gone", self.storage.name_of(name)
                )
                self.storage.delete([name])

    def record_entries(self) -> list[Entry]:
        """The files below `records/`, good or not, by name."""
        with failing_in(self.storage):
            return self.storage.entries("records")

    def records(self) -> dict[int, dict[str, Any]]:
        """The records of the finished parts, by part number.

        A record that is broken, or whose part is not there whole, is logged and does not count:
        the next run redoes the part.
        """
        with failing_in(self.storage), ThreadPoolExecutor(1) as beside:
            parts_listed = beside.submit(self.storage.entries, "data")
            read = read_records(self.storage, self.storage.entries("records"))
            sizes = {entry.path: entry.size for entry in parts_listed.result()}
        found: dict[int, dict[str, Any]] = {}
        for name, record in read.items():
            if isinstance(record, dict):
                wrong = self._misplaced(name, record) or self._wrong_size(record, sizes)
                if wrong is None:
                    found[record["part"]] = record
                    continue
            else:
                wrong = record
            log.warning("%s does not count: %s", self.storage.name_of(name), wrong)
        return dict(sorted(found.items()))

    def _misplaced(self, name: str, record: Mapping[str, Any]) -> ValueError | None:
        wanted = self.record_name(record["part"])
        return None if name == wanted else ValueError(f"its place is {wanted}")

    def _wrong_size(self, record: Mapping[str, Any], sizes: Mapping[str, int]) -> ValueError | None:
        name, written = self.part_name(record["part"]), record["bytes"]
        size = sizes.get(name)
        if size != written:
            # The parts were listed while another driver may have written this one.
            with failing_in(self.storage):
                there = self.storage.find(name)
            if there is None:
                return ValueError(f"{name} is not there")
            size = there.size
        if size != written:
            return ValueError(f"{name} has {size} bytes, and was written with {written}")
        return None

    def pack_records(self, parts: Iterable[int]) -> None:
        """Pack the records of these parts' folders, so that the next start reads few files."""
        if self.is_flat:
            return
        for folder in by_folder(map(self.record_name, parts)):
            with failing_in(self.storage):
                pack_records(self.storage, folder)

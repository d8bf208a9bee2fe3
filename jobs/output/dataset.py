"""An output folder as a reader sees it: rows, parts, records, how far it is, whether it holds.

It goes by the records, so what it gives is whole at any time, also while a job runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from actors.errors import OutputError
from jobs.output.columns import ROW_GROUP_ROWS
from jobs.output.export.export import ExportedShard, export
from jobs.output.export.publish import Publication, prepare
from jobs.output.export.shards import SHARD_BYTES
from jobs.output.folder import OutputFolder
from jobs.output.outcome import describe_outcome
from jobs.output.pages.contact_sheet import make_sheet
from jobs.output.pages.totals import totals_of
from jobs.output.part_file import open_part
from jobs.output.records import describe_calibration
from jobs.output.spending import describe_spending
from jobs.output.verify import Problem, verify
from jobs.spec.job_spec import JobSpec
from jobs.storage.storage_at import storage_at


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputProgress:
    """How far a dataset is. `finished`: every part was there when the last run ended."""

    num_rows: int
    done_rows: int
    refined_rows: int
    failed_rows: int
    num_parts: int
    parts_done: int
    finished: bool


class Output:
    """The output of a job, by its place; `open_output` makes one. Reads only when it is asked."""

    def __init__(self, folder: OutputFolder) -> None:
        self._folder = folder
        self.url: str = folder.url

    @property
    def job(self) -> dict[str, Any]:
        """job.json: identity, spec, threshold, calibration, versions."""
        return self._folder.require_job()

    @property
    def spec(self) -> JobSpec:
        """The job that made it, to be resolved again, as `retry` needs it."""
        return self._folder.read_spec()

    def threshold_line(self) -> str:
        """The threshold, what it was measured on, and how sure it is, for people."""
        job = self.job
        return describe_calibration(job["calibration"], job["rows"])

    def spending_line(self) -> str:
        """The cost of the finished parts, beside the budget, for people."""
        return describe_spending(self.job, self.records().values())

    def outcome_line(self) -> str:
        """What came of it, for people: evaluations, the teacher's gain, the actors' seconds."""
        return describe_outcome(self.job, self.records().values())

    def records(self) -> dict[int, dict[str, Any]]:
        """The records of the finished parts, by part number, in order (docs/output.md)."""
        return self._folder.records()

    def parts(self) -> dict[int, str]:
        """The Parquet files of the finished parts, paths or URLs, by part number, in order."""
        name_of = self._folder.storage.name_of
        return {index: name_of(self._folder.part_name(index)) for index in self.records()}

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The rows of the finished parts in input order, a row group in memory at a time.

        columns: only these; None for all. A picture is `{"bytes": ..., "path": ...}`, None for a
        row that failed. Raises OutputError for a part that cannot be read, or a column that is not
        there.
        """
        for index in self.records():
            with open_part(self._folder, index) as parquet:
                _check_columns(columns, parquet.schema_arrow.names)
                for batch in parquet.iter_batches(ROW_GROUP_ROWS, columns=columns):
                    yield from batch.to_pylist()

    def progress(self) -> OutputProgress:
        """How far it is, by its records alone; no cluster is asked."""
        job, records = self.job, self.records()
        totals = totals_of(records.values())
        return OutputProgress(
            num_rows=job["rows"],
            done_rows=totals.rows,
            refined_rows=totals.refined,
            failed_rows=totals.failed,
            num_parts=-(-job["rows"] // job["identity"]["spec"]["rows_per_part"]),
            parts_done=len(records),
            finished=self._folder.is_finished,
        )

    def verify(self) -> Iterator[Problem]:
        """Check every byte; yields each problem with its place and the next step, or nothing."""
        return verify(self._folder)

    def contact_sheet(self, target: str | Path | None = None, rows_each: int = 12) -> str:
        """Write a PNG of accepted pictures, and of refined ones before and after; returns its name.

        target: a path or a URL; by default sheet.png in the output.
        """
        return make_sheet(self._folder, target, rows_each)

    def export(
        self,
        form: Literal["webdataset", "metadata"],
        target: str | Path,
        shard_bytes: int = SHARD_BYTES,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> Iterator[ExportedShard]:
        """Write the complete dataset in the form of another tool; yields each file of it.

        form: `webdataset`, tars of pictures and JSON, of some `shard_bytes`; or `metadata`, Parquet
        without the pictures. target: a path or a URL. An export that was interrupted goes on.
        on_step: called with what is made next. Raises OutputError or StorageError.
        """
        return export(self._folder, storage_at(target), form, shard_bytes, on_step)

    def publication(self, licence: str | None = None) -> Publication:
        """The complete dataset with a public card, ready for `publication(...).send_to(place)`.

        licence: as the hub names it; by default the strictest of the models'. Sends nothing.
        """
        return prepare(self._folder, licence)


def open_output(place: str | Path) -> Output:
    """Open the output of a job that has run, by its path or URL. Raises OutputError for others."""
    folder = OutputFolder(place)
    folder.require_job()
    return Output(folder)


def _check_columns(wanted: Sequence[str] | None, there: Sequence[str]) -> None:
    missing = [name for name in wanted or () if name not in there]
    if missing:
        raise OutputError(
            f"the output has no column {missing[0]!r}. It has: {', '.join(map(str, there))}."
        )

"""A job without files, for the executors on a virtual clock: numbered rows, records in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from actors.refinement import Refinement, RowOptions
from jobs.input.prompts import Part, Prompts
from jobs.output.folder import OutputFolder
from jobs.refinement import teachers_attempts
from jobs.resolution import Job
from jobs.spec.job_spec import JobSpec
from jobs.spec.sample import sample_rows

RowsOptions = Mapping[str, Sequence[Sequence[RowOptions]]]
"""By role, the options of the rows of some parts."""


class SimulatedPrompts(Prompts):
    """Rows without a file: row n has the prompt "prompt n", the seed n or number n of `seeds`.

    options: those of the parts that simulated ones are like (`option_of`); none where all rows are
    alike.
    """

    def __init__(
        self,
        spec: JobSpec,
        num_rows: int,
        invalid_rows: frozenset[int],
        seeds: Sequence[int] | None = None,
        *,
        options: RowsOptions | None = None,
    ) -> None:
        self.spec, self.options = spec, options or {}
        self.num_rows = num_rows
        self._invalid_rows = invalid_rows
        self._seeds = seeds or range(num_rows)

    def parts(self, only: Iterable[int] | None = None) -> Iterator[Part]:
        """The parts in order: all, or those with these numbers."""
        size = self.spec.part_rows
        for index in range(self.num_parts) if only is None else only:
            rows = range(index * size, min(self.num_rows, (index + 1) * size))
            invalid_rows = {
                row - rows[0]: "the prompt is empty" for row in self._invalid_rows if row in rows
            }
            seeds = self._seeds[rows.start : rows.stop]
            yield Part(
                *(index, rows[0], pa.table({}), self.texts(rows), seeds, invalid_rows),
                options=self._options(rows),
            )

    def _options(self, rows: Iterable[int]) -> dict[str, list[RowOptions]]:
        size = self.spec.part_rows
        return {role: [option_of(r, of, size) for r in rows] for role, of in self.options.items()}

    def texts(self, rows: range) -> Sequence[str]:
        """The rows' prompts."""
        return [f"prompt {row}" for row in rows]

    def sample(self, num_rows: int) -> Part:
        """At most `num_rows` rows, of every stretch one; none of them invalid."""
        rows = sample_rows(self.num_rows, min(num_rows, self.num_rows), self.spec.seed)
        seeds = [self._seeds[row] for row in rows]
        texts, options = [f"prompt {row}" for row in rows], self._options(rows)
        return Part(0, 0, pa.table({}), texts, seeds, {}, options=options)


STRIDE = 7919
"""A prime: parts are like the given ones in another order, so that few of them stand for all."""


def option_of(row: int, parts: Sequence[Sequence[RowOptions]], part_rows: int) -> RowOptions:
    """The options that a simulated row has, in a part of `part_rows` that is like one of `parts`.

    Which rows share a part decides which share a batch: rows that are sorted fill theirs.
    """
    part = parts[row // part_rows * STRIDE % len(parts)]
    return part[row % part_rows % len(part)]


class SimulatedOutput(OutputFolder):
    """Records in memory; they outlive the driver."""

    def __init__(self) -> None:
        super().__init__("simulated")
        self.kept: dict[int, dict[str, Any]] = {}
        self.timeline: list[Mapping[str, Any]] = []
        self.job: dict[str, Any] | None = None
        """The content of job.json, once a calibration has been written."""

    def records(self) -> dict[int, dict[str, Any]]:
        """The records of the finished parts, by part number."""
        return dict(self.kept)

    def read_job(self) -> dict[str, Any] | None:
        """The content of job.json, or None."""
        return self.job

    def add_to_timeline(self, entry: Mapping[str, Any]) -> None:
        """Keep an event in memory."""
        self.timeline.append(entry)

    def pack_records(self, parts: Iterable[int]) -> None:
        """Does nothing: they are in memory."""

    def check_there(self) -> None:
        """Does nothing: memory does not vanish as a folder can."""


def simulated_job(
    spec: JobSpec,
    num_rows: int,
    through: str,
    invalid_rows: frozenset[int],
    *,
    options: RowsOptions | None = None,
) -> Job:
    """A job that reads and writes no files. `invalid_rows` have an empty prompt. options: as
    `SimulatedPrompts` has them.

    Its refinements (strength 0.6, 2 steps) are placeholders: no simulated model takes steps.
    """
    refinements = tuple(
        Refinement(attempt.make, 0.6, 2, through)  # type: ignore[arg-type]
        for attempt in teachers_attempts(spec)
    )
    prompts = SimulatedPrompts(spec, num_rows, invalid_rows, options=options)
    return Job(spec, prompts, SimulatedOutput(), refinements, {})

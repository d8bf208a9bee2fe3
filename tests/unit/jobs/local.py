"""Whole jobs without Ray: LocalDispatcher makes each call on the spot, with pictures of one hue.

The runner, the cascade, the parts and the pages are the real ones; only the actors are not.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from hashlib import sha256
from itertools import count
from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from actors.errors import OutputFailedError
from actors.refinement import Refinement
from actors.roles import ROLES
from jobs.execution.active_part import ActivePart, row_results
from jobs.execution.calls import Call, Done, Event, Failed, Release
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.measurements import Measurements
from jobs.execution.object_store import ObjectStoreBudget
from jobs.execution.observers import LOGGED, Observers, SizesChanged, Timeline, log_event
from jobs.execution.progress import Progress
from jobs.execution.run import retry_job, run_job
from jobs.execution.stages import OutputKind, Stage, Step
from jobs.input.prompts import Prompts
from jobs.output.encode import encode_one
from jobs.output.folder import OutputFolder
from jobs.output.score_columns import score_columns
from jobs.output.writer import write_part
from jobs.refinement import teachers_attempts
from jobs.resolution import Job, searching
from jobs.spec.job_spec import make_spec
from jobs.spec.picture_formats import PNG

FIELDS: dict[str, Any] = {
    "models": {"preset": "shapes", "student": {"batch_size": 2}, "teacher": {"batch_size": 2}},
    "budget": {"refine": 0.5},
    "calibration_rows": 8,
    "rows_per_part": 4,
    "save_student": True,
    "seed": 7,
}
REFINEMENT = Refinement("refine", 0.6, 3, "latents")


def local_job(source: Path, output: Path, **fields: Any) -> Job:
    """A job on an input file, resolved without looking at its models."""
    usual = {name: FIELDS[name] for name in FIELDS if name != "budget" or "ladder" not in fields}
    spec = make_spec({**usual, "input": str(source), "output": str(output), **fields})
    spec, asked = searching(spec, OutputFolder(output))
    files = {"student": "s", "oracle": "o", "teacher": "t"}
    refinements = tuple(
        replace(
            REFINEMENT,
            strategy="refine" if one.make == "refine" else "regenerate",
            attempt=number,
        )
        for number, one in enumerate(teachers_attempts(spec))
    )
    return Job(spec, Prompts(spec), OutputFolder(output), refinements, files, asked=asked)


class LocalPools(dict[str, Any]):
    """One actor of each role; nothing to balance."""

    capacity = None
    load_seconds: ClassVar[dict[str, float]] = {}

    @property
    def sizes(self) -> dict[str, int]:
        return dict.fromkeys(self, 1)


class LocalDispatcher:
    """The methods of a Dispatcher that the runner uses. broken: prompts that fail to be drawn.

    not_finite: prompts of which the teacher can make no picture.
    """

    def __init__(
        self,
        job: Job,
        broken: frozenset[str] = frozenset(),
        not_finite: frozenset[str] = frozenset(),
    ) -> None:
        self.job, self.broken, self.not_finite = job, broken, not_finite
        self.executor = SimpleNamespace(now=count().__next__)
        self.pools = LocalPools({name: SimpleNamespace(size=1, num_busy=0) for name in ROLES})
        self.wants_rows, self.waiting = True, ""
        self.places = SimpleNamespace(note=None)
        self.observers, self.budget = Observers(), ObjectStoreBudget()
        self.observers.add(log_event, only=LOGGED)
        self.observers.add(Timeline(job.output), only=(SizesChanged,))
        self.measurements = Measurements(job)
        self.measurements.evaluations = {
            Step(stage, attempt): nfe + attempt
            for stage, nfe in ((Stage.DRAW, 4), (Stage.REFINE, 6))
            for attempt in range(4)
        }
        self.drawn: list[str] = []
        """Every prompt that was drawn, in order."""
        self._queue: deque[tuple[ActivePart, Call]] = deque()

    def __enter__(self) -> LocalDispatcher:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def views(self) -> list[Any]:
        return []

    def queued(self, pool: str) -> int:
        return 0

    def release(self, owner: ActivePart, release: Release) -> None:
        owner.refs.pop((release.call, release.output), None)

    def send(self, owner: ActivePart, call: Call) -> None:
        self._queue.append((owner, call))

    def wait(self, timeout_seconds: float) -> list[tuple[ActivePart, Event]]:
        owner, call = self._queue.popleft()
        return [(owner, self._do(owner, call))]

    def _do(self, owner: ActivePart, call: Call) -> Event:
        seeds = [owner.part.seeds[row] for row in call.rows]
        match call.stage:
            case Stage.DRAW:
                prompts = [owner.part.prompts[row] for row in call.rows]
                if self.broken & set(prompts):
                    return Failed(call, "RuntimeError: no such colour")
                self.drawn += prompts
            case Stage.REFINE:
                return Done(
                    call,
                    permanent_failures=tuple(
                        (row, "not finite")
                        for row in call.rows
                        if owner.part.prompts[row] in self.not_finite
                    ),
                )
            case Stage.SCORE_DRAWN:
                self._note_extra_scores(owner, call, seeds)
                return Done(call, tuple(seed // 7**call.attempt % 1000 / 1000 for seed in seeds))
            case Stage.SCORE_REFINED:
                self._note_extra_scores(owner, call, seeds)
                raised = 0.25 - 0.125 * call.attempt
                return Done(call, tuple(seed % 1000 / 1000 + raised for seed in seeds))
            case Stage.ENCODE_DRAWN | Stage.ENCODE_REFINED:
                pictures = [picture(f"{call.step} {seed}") for seed in seeds]
                owner.refs[call, OutputKind.FILES] = pa.array(pictures, pa.binary())
            case Stage.COMMIT:
                return self._commit(owner, call)
        return Done(call)

    def _note_extra_scores(self, owner: ActivePart, call: Call, seeds: list[int]) -> None:
        extras = self.job.spec.models.oracle.extras
        found = [
            tuple(extra_score(extra.column, seed, call.step) for extra in extras) for seed in seeds
        ]
        owner.note_extra_scores(call, found if extras else ())

    def _commit(self, owner: ActivePart, call: Call) -> Event:
        part, files = owner.part, [owner.refs[source, OutputKind.FILES] for source in call.sources]
        results = row_results(
            owner, call, self.measurements.evaluations, self.job.spec.save_student
        )
        try:
            owner.record = write_part(
                *(self.job.output, part.index, part.first_row, part.table, results),
                *(self.job.spec.image_format, self.job.spec.save_student, owner.facts()),
                *files,
                scores=score_columns(self.job.spec.models.oracle),
            )
        except OutputFailedError as error:
            return Failed(call, str(error))
        return Done(call)


def extra_score(column: str, seed: int, step: Step) -> float:
    """A score that decides nothing, in [0, 1); of the column "nothing" it is no number."""
    if column == "nothing":
        return nan
    return sha256(f"{column} {seed} {step}".encode()).digest()[0] / 256


def picture(name: str) -> bytes:
    """A PNG of one hue, by a name."""
    hue = np.frombuffer(sha256(name.encode()).digest()[:3], np.uint8)
    return encode_one(np.broadcast_to(hue, (8, 8, 3)).copy(), PNG)


def run(job: Job, dispatcher: LocalDispatcher | None = None, extend: bool = False) -> Progress:
    """Run a job to its end."""
    return run_job(
        job, lambda job: _as_dispatcher(dispatcher or LocalDispatcher(job)), extend=extend
    )


def retry(job: Job, dispatcher: LocalDispatcher | None = None) -> Progress:
    """Draw a job's failed rows again."""
    return retry_job(job, lambda _: _as_dispatcher(dispatcher or LocalDispatcher(job)))


def _as_dispatcher(dispatcher: Any) -> Dispatcher:
    made: Dispatcher = dispatcher
    return made


def write_prompts(file: Path, num_rows: int) -> Path:
    """A CSV with `count` rows: an id and a prompt."""
    rows = [f"id-{n},picture {n}" for n in range(num_rows)]
    file.write_text("\n".join(["id,prompt", *rows, ""]))
    return file


def bytes_of(job: Job) -> list[bytes]:
    """Every part of a dataset, in order."""
    return [file.read_bytes() for file in sorted((job.output.path / "data").rglob("*.parquet"))]

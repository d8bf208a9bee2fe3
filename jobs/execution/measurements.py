"""Measurements of completed calls: throughput by pool, evaluations, the seconds of warm calls."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from math import ceil
from statistics import median

from actors.errors import OutputError
from actors.facts import CallFacts
from actors.pool import Pool
from actors.roles import ROLES
from jobs.execution.estimators import ThroughputEstimator
from jobs.execution.executor import Task
from jobs.execution.observers import CallEnded, JobEvent
from jobs.execution.outputs import attempts_of
from jobs.execution.stages import FIRST_DRAWING, STAGES, Stage, Step
from jobs.resolution import Job

log = logging.getLogger("bottega.dispatcher")


def planned_evaluations(job: Job) -> dict[Step, int]:
    """Network evaluations of a row by the job's settings, by step that makes pictures."""
    steps = (make for make, _, _ in attempts_of(job.rungs))
    return dict(zip(steps, job.rung_nfe, strict=True))


class Measurements:
    """`throughput`: by pool. `evaluations`: by step that makes pictures, network evaluations of a
    row, as the actors counted them."""

    def __init__(self, job: Job) -> None:
        self._planned = planned_evaluations(job)
        self._draws = job.spec.draws
        self._batch_sizes = {name: model.batch_size for name, model in job.spec.models}
        self.throughput = {name: ThroughputEstimator() for name in ROLES}
        self.evaluations: dict[Step, int] = {}
        self._warned_of: set[Step] = set()
        self._allow_other_devices = job.spec.pools.allow_other_devices
        self._output = job.spec.output
        self.devices_before: dict[str, set[str]] = {}
        """By pool: the kinds of devices that made the parts that are there."""
        self._devices: dict[str, set[str]] = {}

    def add(self, task: Task, facts: CallFacts, pools: Mapping[str, Pool]) -> None:
        """A call succeeded; the part's own record gets its share."""
        stage, owner = task.call.stage, task.owner
        name = STAGES[stage].pool
        if name in self.throughput:
            self.throughput[name].add(facts.seconds, facts.rows, pools[name].size)
        owner.seconds[name] += facts.seconds
        owner.calls[name] += 1
        if size := task.micro_batch_size:
            # Rows in slots of their own have empty slots between them, which are computed too.
            filled = facts.rows if task.slots is None else task.slots[-1] + 1
            # A student counts rows, of which each is drawn `draws` times; an oracle pictures.
            pictures = filled * (self._draws if task.call.step == FIRST_DRAWING else 1)
            owner.padded_rows[name] += ceil(pictures / size) * size
        if facts.device:
            self._note_device(name, facts.device)
            owner.devices[name].add(facts.device)
        if facts.truncated:
            # An oracle scores each drawing of a row.
            each = max(1, facts.rows // len(task.call.rows))
            owner.truncated[name].update(task.call.rows[place // each] for place in facts.truncated)
        if task.micro_batch_size < self._batch_sizes.get(name, 0):
            owner.smaller_batches[name] = task.micro_batch_size
        if facts.evaluations and facts.evaluations != self.evaluations.get(task.call.step):
            self._note_evaluations(task.call.step, facts.evaluations)

    def _note_device(self, pool: str, device: str) -> None:
        """Raise OutputError for another kind of device than that of the parts that are there."""
        now, before = self._devices.setdefault(pool, set()), self.devices_before.get(pool, set())
        if device in now:
            return
        known = sorted(before | now)
        if before and device not in before and not self._allow_other_devices:
            raise OutputError(
                f"the {pool} computes on {device} now, and the parts in {self._output!r} were made "
                f"on {' and '.join(known)}: another kind of device rounds differently, so the "
                "dataset would have two kinds of rows. Run it on the same kind "
                f"(pools.{pool}.node_label picks nodes), or allow it with "
                "pools.allow_other_devices: true."
            )
        if known and device not in before:
            log.warning(
                "the %s computes on %s too, and on %s: their pictures differ in the last bits; "
                "pools.%s.node_label keeps a pool on one kind of node",
                pool, device, " and ".join(known), pool,
            )  # fmt: skip
        now.add(device)

    def _note_evaluations(self, step: Step, counted: int) -> None:
        self.evaluations.setdefault(step, counted)
        planned = self._planned[step]
        if counted != planned and step not in self._warned_of:
            self._warned_of.add(step)
            log.warning(
                "%s takes %d network evaluations a picture, where its steps and guidance say %d; "
                "the column nfe has the former, a budget in nfe was computed with the latter",
                STAGES[step.stage].pool, counted, planned,
            )  # fmt: skip


TIMED_STAGES = {
    "draw": (Stage.DRAW,),
    "score": (Stage.SCORE_DRAWN, Stage.SCORE_REFINED),
    "refine": (Stage.REFINE,),
}
"""By what a budget in seconds pays for: the stages that do it."""


class WarmCalls:
    """An observer that times the calls of warm actors.

    An actor's first call is cold: it compiles, tunes its kernels, fills its caches. Measured with 2
    s more on each first call, a mean over all calls turned a budget for 34 % into one for 16 %.
    """

    def __init__(self, job: Job) -> None:
        self._batch_sizes = {name: model.batch_size for name, model in job.spec.models}
        self._draws = job.spec.draws
        self._seen: set[tuple[str, int]] = set()
        """Actors that have ended a call."""
        self._row_seconds: dict[str, list[float]] = {name: [] for name in TIMED_STAGES}
        self._by_step: defaultdict[Step, list[float]] = defaultdict(list)

    def __call__(self, event: JobEvent) -> None:
        """Time a call, unless it is its actor's first."""
        if not isinstance(event, CallEnded) or event.actor is None or not event.rows:
            return
        actor = event.pool, event.actor
        if actor not in self._seen:
            self._seen.add(actor)
            return
        for name, stages in TIMED_STAGES.items():
            if event.call.stage in stages:
                seconds = event.seconds / self._computed(event)
                self._row_seconds[name].append(seconds)
                self._by_step[event.call.step].append(seconds)

    def _computed(self, event: CallEnded) -> float:
        """The rows of a call, with the padding that took as long; pictures, of scoring."""
        draws = self._draws if event.call.step == FIRST_DRAWING else 1
        size: int = self._batch_sizes[event.pool]
        return ceil(event.rows * draws / size) * size / draws

    @property
    def fewest(self) -> tuple[int, str]:
        """Timed calls of the work with the fewest, and its name in TIMED_STAGES."""
        return min((len(seconds), name) for name, seconds in self._row_seconds.items())

    def num_timed(self, step: Step) -> int:
        """Timed calls of a step: of one of a ladder's attempts."""
        return len(self._by_step[step])

    def seconds_of(self, step: Step) -> float:
        """As `row_seconds`, of the calls of one step, of which at least one was timed."""
        return median(self._by_step[step])

    @property
    def row_seconds(self) -> dict[str, float]:
        """The median over the calls, of one row; a picture, of scoring. Of work that was timed.

        The median, so that one call that had to wait for a disk or a neighbour counts as one.
        """
        return {name: median(seconds) for name, seconds in self._row_seconds.items() if seconds}

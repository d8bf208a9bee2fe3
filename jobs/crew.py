"""Carries a cascade's calls out on Ray: three actor pools, and plain tasks for files.

The crew decides nothing about rows: calls go in (`send`), events come out (`wait`). It is the only
module of `jobs` that touches object references, and it fetches only small facts: scores, seconds,
records. Pictures and latents go from actor to actor.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import ceil, inf, log2
from time import monotonic
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OwnerDiedError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.errors import BottegaError, InterruptedJobError, StalledError
from actors.facts import CallFacts
from actors.oracle import Oracle
from actors.pool import Pool, PoolCall, Worker
from actors.student import Student
from actors.teacher import Teacher
from jobs.balance import PoolPlan, PoolPlans
from jobs.cascade import OUTPUTS, Call, Cascade, Done, Event, Failed, Lost, Output, Stage, State
from jobs.images import encode
from jobs.job import Job
from jobs.parts import RowResult, write_part
from jobs.prompts import Part

log = logging.getLogger("bottega.crew")

POOL_OF = {
    Stage.DRAW: "student",
    Stage.SCORE_DRAWN: "oracle",
    Stage.SCORE_REFINED: "oracle",
    Stage.REFINE: "teacher",
    Stage.ENCODE_DRAWN: "files",
    Stage.ENCODE_REFINED: "files",
    Stage.COMMIT: "files",
}


@dataclass(eq=False)
class OpenPart:
    """A part on its way: its rows, its cascade, and the references that it holds."""

    part: Part
    cascade: Cascade
    refs: dict[tuple[Call, Output], ObjectRef[Any]] = field(default_factory=dict)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    failures: int = 0
    record: dict[str, Any] | None = None
    truncated: set[int] = field(default_factory=set)


@dataclass(eq=False, kw_only=True)
class _Sent(PoolCall):
    """A call that Ray has. `refs`: its outputs, in the order of OUTPUTS, and last its facts."""

    owner: OpenPart
    call: Call
    worker: Worker | None
    refs: list[ObjectRef[Any]]


@dataclass(frozen=True, slots=True)
class PoolView:
    """What a pool is doing, for the live view."""

    name: str
    size: int
    ready: int
    busy: int
    queued: int


class Crew:
    """Starts the pools, and is a context manager that stops them."""

    def __init__(
        self,
        job: Job,
        plans: PoolPlans,
        task_slots: int,
        object_store_bytes: float = inf,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`task_slots`: files that are encoded or written at once.

        `should_stop` is asked at every `wait`.
        """
        self.job = job
        self.object_store_bytes = object_store_bytes
        self.evaluations: dict[Stage, int] = {}
        """Network evaluations of a row, as counted: by stage, DRAW and REFINE."""
        self.bytes_per_row = 0.0
        """The most that a drawn row took in the object store; 0 before the first is drawn."""
        self._should_stop = should_stop
        self.seconds: defaultdict[Stage, float] = defaultdict(float)
        self.rows: Counter[Stage] = Counter()
        models, attempts = job.spec.models, job.spec.max_attempts
        self.pools = {
            "student": _pool(Student, plans.student, attempts, models.student),
            "oracle": _pool(Oracle, plans.oracle, attempts, models.oracle),
            "teacher": _pool(Teacher, plans.teacher, attempts, models.teacher, job.refinement),
        }
        self._task_slots = task_slots
        self._tasks = 0
        # No cores are asked for: the slots bound these tasks, and a node whose cores are all
        # promised to actors must still be able to write a file.
        options: dict[str, Any] = {"num_cpus": 0, "max_retries": 0}
        self._encode: Any = ray.remote(encode).options(
            num_returns=2, scheduling_strategy="SPREAD", **options
        )
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # The output folder is a path of the driver's machine.
        self._write: Any = ray.remote(write_part).options(scheduling_strategy=here, **options)
        self._told: set[Stage] = set()
        self._queues: dict[str, list[tuple[int, int, OpenPart, Call]]] = {
            name: [] for name in (*self.pools, "files")
        }
        self._order = count()
        self._loading: dict[ObjectRef[Any], tuple[Pool, Worker]] = {}
        self._sent: dict[ObjectRef[Any], _Sent] = {}
        self._last_answer = monotonic()

    def __enter__(self) -> Crew:
        for pool in self.pools.values():
            self._start(pool)
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self.pools.values():
            pool.stop()

    def send(self, owner: OpenPart, call: Call) -> None:
        """Queue a call. Older parts go first, so that parts finish and let go of their pictures."""
        queue = self._queues[POOL_OF[call.stage]]
        heappush(queue, (owner.part.index, next(self._order), owner, call))

    def queued(self, name: str) -> int:
        """Calls that wait for an actor of a pool, or for a place to handle files."""
        return len(self._queues[name])

    def views(self) -> list[PoolView]:
        """What each pool is doing."""
        return [
            PoolView(name, pool.size, pool.num_ready, pool.num_busy, self.queued(name))
            for name, pool in self.pools.items()
        ]

    def wait(self, timeout_seconds: float) -> list[tuple[OpenPart, Event]]:
        """Feed the pools, and wait for answers: at least one, or none at the timeout.

        Raises InterruptedJobError when the user wants to stop, and StalledError when nothing came
        back for the job's `stall_timeout_seconds`.
        """
        if self._should_stop():
            raise InterruptedJobError(
                "stopped. Finished parts are safe. Run the same command again to continue."
            )
        self._dispatch()
        waiting = [*self._sent, *self._loading]
        ready, rest = ray.wait(waiting, num_returns=1, timeout=timeout_seconds)
        if ready and rest:
            # One wakes us; take along all the others that are there already.
            ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        events: list[tuple[OpenPart, Event]] = []
        for ref in ready:
            if ref in self._loading:
                self._loaded(ref)
            elif ref in self._sent:
                events += self._answered(ref)
        if ready:
            self._last_answer = monotonic()
        elif monotonic() - self._last_answer > self.job.spec.stall_timeout_seconds:
            raise StalledError(
                f"nothing came back for {self.job.spec.stall_timeout_seconds:g} s. {self._waits()}"
            )
        return events

    # ---- sending

    def _start(self, pool: Pool) -> None:
        for ref, worker in pool.start().items():
            self._loading[ref] = (pool, worker)

    def _dispatch(self) -> None:
        for name, pool in self.pools.items():
            queue = self._queues[name]
            while queue and (worker := pool.free()) is not None:
                _, _, owner, call = heappop(queue)
                refs = self._send_to(worker, owner, call)
                sent = _Sent(owner=owner, call=call, worker=worker, refs=refs)
                pool.give(worker, sent)
                self._sent[refs[-1]] = sent
        queue = self._queues["files"]
        while queue and self._tasks < self._task_slots:
            _, _, owner, call = heappop(queue)
            refs = (
                self._commit(owner, call)
                if call.stage is Stage.COMMIT
                else self._files(owner, call)
            )
            self._sent[refs[-1]] = _Sent(owner=owner, call=call, worker=None, refs=refs)
            self._tasks += 1

    def _send_to(self, worker: Worker, owner: OpenPart, call: Call) -> list[ObjectRef[Any]]:
        prompts = [owner.part.prompts[row] for row in call.rows]
        seeds = [owner.part.seeds[row] for row in call.rows]
        handle = worker.handle
        picks, inputs = _inputs(owner, call)
        match call.stage:
            case Stage.DRAW:
                return list(handle.draw.options(num_returns=3).remote(prompts, seeds))
            case Stage.REFINE:
                method = handle.refine.options(num_returns=2)
                return list(method.remote(prompts, seeds, picks, *inputs))
            case _:
                return [handle.score.remote(prompts, picks, *inputs)]

    def _files(self, owner: OpenPart, call: Call) -> list[ObjectRef[Any]]:
        spec = self.job.spec
        picks, inputs = _inputs(owner, call)
        return list(self._encode.remote(picks, spec.image_format, spec.image_quality, *inputs))

    def _commit(self, owner: OpenPart, call: Call) -> list[ObjectRef[Any]]:
        spec, part = self.job.spec, owner.part
        files = [owner.refs[source, Output.FILES] for source in call.sources]
        facts = {
            "seconds": {name: round(value, 3) for name, value in owner.seconds.items()},
            "failed_calls": owner.failures,
        }
        results = row_results(owner, call, self.evaluations, spec.save_student)
        return [
            self._write.remote(
                self.job.output,
                part.index,
                part.first_row,
                part.table,
                results,
                spec.image_format,
                spec.save_student,
                facts,
                *files,
            )
        ]

    # ---- answers

    def _loaded(self, ref: ObjectRef[Any]) -> None:
        pool, worker = self._loading.pop(ref)
        try:
            ray.get(ref)
        except RayError as error:
            pool.died(worker, _reason(error))
            self._start(pool)
        else:
            pool.loaded(worker)
            log.info("%s: an actor is ready (%d of %d)", pool.name, pool.num_ready, pool.size)

    def _answered(self, ref: ObjectRef[Any]) -> Iterable[tuple[OpenPart, Event]]:
        sent = self._sent.pop(ref)
        owner, call = sent.owner, sent.call
        well = False
        try:
            answer = ray.get(ref)
            well = True
        except RayError as error:
            owner.failures += 1
            return self._failed(sent, error)
        finally:
            if sent.worker is None:
                self._tasks -= 1
            else:
                self.pools[POOL_OF[call.stage]].answered(sent.worker, sent, well)
        for output, made in zip(OUTPUTS.get(call.stage, ()), sent.refs, strict=False):
            owner.refs[call, output] = made
        if call.stage is Stage.COMMIT:
            owner.record = answer
            return [(owner, Done(call))]
        is_scores = call.stage in (Stage.SCORE_DRAWN, Stage.SCORE_REFINED)
        facts: CallFacts = answer[1] if is_scores else answer
        self.seconds[call.stage] += facts.seconds
        self.rows[call.stage] += facts.rows
        self.bytes_per_row = max(self.bytes_per_row, facts.stored_bytes / facts.rows)
        owner.seconds[POOL_OF[call.stage]] += facts.seconds
        owner.truncated.update(call.rows[place] for place in facts.truncated)
        if facts.evaluations:
            self._note_evaluations(call.stage, facts.evaluations)
        return [(owner, Done(call, tuple(answer[0]) if is_scores else ()))]

    def _failed(self, sent: _Sent, error: RayError) -> Iterable[tuple[OpenPart, Event]]:
        owner, call, reason = sent.owner, sent.call, _reason(error)
        if isinstance(_cause(error), ObjectLostError | OwnerDiedError):
            log.warning("part %d: %s: an input was lost and is made again", owner.part.index, call)
            used = owner.cascade.input_of(call.stage)
            lost = [(owner, Lost(source, used)) for source in dict.fromkeys(call.sources)]
            for source in call.sources:
                owner.refs.pop((source, used), None)
            return [*lost, (owner, Failed(call, reason, blame=False))]
        if isinstance(error, RayActorError) and sent.worker is not None:
            pool = self.pools[POOL_OF[call.stage]]
            pool.died(sent.worker, reason)
            self._start(pool)
            return [(owner, Failed(call, reason, blame=sent.worker.guilty is sent))]
        log.warning("part %d: %s failed: %s", owner.part.index, call, reason)
        return [(owner, Failed(call, reason, blame=not isinstance(error, NodeDiedError)))]

    def _note_evaluations(self, stage: Stage, counted: int) -> None:
        planned = self.job.student_nfe if stage is Stage.DRAW else self.job.teacher_nfe
        if self.evaluations.setdefault(stage, counted) == counted == planned:
            return
        if counted != planned and stage not in self._told:
            self._told.add(stage)
            log.warning(
                "%s takes %d network evaluations a picture, where its steps and guidance say %d; "
                "the column nfe has the former, a budget in nfe was reckoned with the latter",
                POOL_OF[stage], counted, planned,
            )  # fmt: skip

    def _waits(self) -> str:
        pools = "; ".join(
            f"{view.name}: {view.ready} of {view.size} actors ready, {view.busy} busy, "
            f"{view.queued} calls queued"
            for view in self.views()
        )
        return f"Waiting for: {pools}. Does the cluster have what the pools ask for?"


def row_results(
    owner: OpenPart, commit: Call, evaluations: Mapping[Stage, int], save_student: bool
) -> list[RowResult | None]:
    """What each row of a finished part becomes, with where its files are among the commit's.

    None for a row that is kept from the part that is there.
    """
    cascade = owner.cascade
    places = {source: which for which, source in enumerate(commit.sources)}

    def file_of(stage: Stage, row: int) -> tuple[int, int]:
        made_by = cascade.made_by(stage, row)
        return places[made_by], made_by.rows.index(row)

    results: list[RowResult | None] = []
    for number, row in enumerate(cascade.rows):
        if row.state is State.KEPT:
            results.append(None)
            continue
        refined = row.teacher_score is not None
        image = student_image = None
        if row.source == "student":
            image = file_of(Stage.ENCODE_DRAWN, number)
        elif row.source == "teacher":
            image = file_of(Stage.ENCODE_REFINED, number)
        if refined and save_student and row.error is None:
            student_image = file_of(Stage.ENCODE_DRAWN, number)
        spent = [s for s in (Stage.DRAW, Stage.REFINE) if cascade.was_made(s, number)]
        results.append(
            RowResult(
                seed=owner.part.seeds[number],
                student_score=row.student_score,
                teacher_score=row.teacher_score,
                source=row.source,
                nfe=sum(evaluations[stage] for stage in spent),
                truncated=row.error is None and number in owner.truncated,
                error=row.error,
                image=image,
                student_image=student_image,
            )
        )
    return results


def _inputs(owner: OpenPart, call: Call) -> tuple[list[tuple[int, int]], list[ObjectRef[Any]]]:
    """Where each row's input is: (which reference, which row of it), and the references.

    References go to Ray as top-level arguments, so that it moves them before the call starts.
    """
    makers = list(dict.fromkeys(call.sources))
    picks = [
        (makers.index(source), source.rows.index(row))
        for source, row in zip(call.sources, call.rows, strict=bool(call.sources))
    ]
    used = owner.cascade.input_of(call.stage)
    return picks, [owner.refs[maker, used] for maker in makers]


def _pool(kind: type, plan: PoolPlan, max_attempts: int, *settings: Any) -> Pool:
    name = kind.__name__.lower()
    log.info("%s: %d actors (%s), %d threads each", name, plan.size, plan.reason, plan.threads)

    def make() -> Any:
        actor: Any = ray.remote(kind)
        return actor.options(
            num_cpus=plan.cpus,
            num_gpus=plan.gpus,
            label_selector=plan.node_label or None,
            max_restarts=0,
            max_task_retries=0,
        ).remote(*settings, threads=plan.threads)

    # A row that kills its actor is found by halving its batch: so many deaths are to be borne.
    halvings = ceil(log2(settings[0].batch_size)) + 1
    return Pool(name, make, plan.size, max_deaths=max_attempts * halvings + 1)


def _cause(error: RayError) -> BaseException:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def _reason(error: RayError) -> str:
    """The last line of what happened: the exception itself, without Ray's stack."""
    cause = _cause(error)
    if isinstance(cause, BottegaError):
        return str(cause)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    if isinstance(error, RayTaskError) and cause is not error:
        return f"{type(cause).__name__}: {lines[0] if lines else 'no message'}"
    return lines[-1] if lines else type(error).__name__

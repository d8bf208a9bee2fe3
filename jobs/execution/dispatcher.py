"""Calls go in (`send`), actors and file tasks carry them out, events come out (`wait`).

The cascades decide about rows. The dispatcher decides which actor gets which call and when.
`actor_pools` keeps the number of actors, `failures` decides about failed calls, and the `Executor`
does the work. None of them ever sees a picture: only references,
scores, seconds and records.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from math import inf

from actors.errors import InterruptedJobError, StalledError
from actors.facts import CallFacts
from actors.pool import PoolActor
from jobs.execution.active_part import ActivePart, Ref, row_results
from jobs.execution.actor_pools import ActorPools
from jobs.execution.attempt import DRAIN_SECONDS
from jobs.execution.call_queue import CallQueue, QueuedCall
from jobs.execution.calls import Call, Done, Failed, Release
from jobs.execution.executor import GONE, Completion, ErrorKind, Executor, Task
from jobs.execution.failures import LOST_IN_THE_QUEUE, FailureHandler, PartEvent
from jobs.execution.in_flight import InFlight, SentCall
from jobs.execution.measurements import Measurements
from jobs.execution.object_store import ObjectStoreBudget
from jobs.execution.observers import (
    LOGGED,
    CallEnded,
    CallFailed,
    CallSent,
    Observers,
    SizesChanged,
    Timeline,
    log_event,
)
from jobs.execution.places import Places
from jobs.execution.progress import PoolView
from jobs.execution.resources import Resources
from jobs.execution.stages import FILE_POOL, QUEUES, STAGES, Stage
from jobs.resolution import Job
from jobs.scaling.capacity import Capacity

log = logging.getLogger("bottega.dispatcher")

HUNG_CHECK_SECONDS = 1.0
"""Between two looks for calls that take too long; their limits are 60 s and more by default."""

BATCHES_AHEAD = 2
"""Calls that wait for each student, beside those that it has (`IN_FLIGHT`): with fewer a student
could idle between two turns of the driver's loop."""

FILES_AHEAD = 4
"""File calls that may wait, for each student and file slot. Pixels wait with them, so no more rows
are opened beyond; a student makes one such call a batch, so this is two batches of each, twice."""


MOST_COMMITS = 2
"""At once, for each node that may write. Each has its part in memory. Chosen: with two, one makes
its pages while the other waits for the disk or the network, and more would wait for the same."""

DRAWING = STAGES[Stage.DRAW].pool
TAKING = [STAGES[stage].pool for stage in (Stage.SCORE_DRAWN, Stage.REFINE)]
"""The pools whose calls take what was drawn."""


class Dispatcher:
    """Starts the pools, and is a context manager that stops them."""

    def __init__(
        self,
        job: Job,
        executor: Executor,
        sizes: Mapping[str, int],
        task_slots: int,
        *,
        num_writers: int = 1,
        object_store_bytes: float = inf,
        should_stop: Callable[[], bool] = lambda: False,
        capacity: Capacity | None = None,
        places: Capacity | None = None,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        """`sizes`: actors of each pool. `task_slots`: file tasks that run at once, of which each of
        `num_writers` nodes may write MOST_COMMITS parts.

        The dispatcher calls `should_stop` at every `wait`. `capacity`: the devices that the actors
        share; None keeps the sizes as they are. `places`: the devices of the actors in that case.
        `drain_seconds`: how long the runner may commit what is decided, after a stop.
        """
        self.job = job
        self.drain_seconds = drain_seconds
        self._drains = False
        self.executor = executor
        self.observers = Observers()
        self.observers.add(log_event, only=LOGGED)
        self.observers.add(Timeline(job.output), only=(SizesChanged,))
        self.pools = ActorPools(job, executor, sizes, capacity, self.observers, places)
        self.budget = ObjectStoreBudget(object_store_bytes)
        self.measurements = Measurements(job)
        self._should_stop = should_stop
        self._batch_sizes = {name: model.batch_size for name, model in job.spec.models}
        self._task_slots = task_slots
        self._commit_slots = MOST_COMMITS * num_writers
        self._queues = {name: CallQueue() for name in QUEUES}
        self._commits = CallQueue()
        """Those of the file tasks that commit."""
        self._in_flight = InFlight()
        self.places = Places(job, executor, self.pools, self._calls_of)
        self._failures = FailureHandler(self.pools, self._in_flight, self.budget, self.observers)
        self._warned_of_room = False
        self._last_completion = self._last_hung_check = executor.now()

    def __enter__(self) -> Dispatcher:
        self.pools.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pools.stop()

    def send(self, owner: ActivePart, call: Call) -> None:
        """Queue a call; one for an actor is dropped while the job drains."""
        if self._drains and STAGES[call.stage].pool != FILE_POOL:
            return
        queued = QueuedCall(owner, call, self.executor.now())
        commits = call.stage is Stage.COMMIT
        (self._commits if commits else self._queues[STAGES[call.stage].pool]).push(queued)

    def release(self, owner: ActivePart, release: Release) -> None:
        """Drop the reference to an output that no call will take."""
        self.budget.release(owner, release.call, release.output)

    def drain(self) -> None:
        """Give the actors nothing more: from now on `wait` carries out file tasks alone, and a stop
        does not end it."""
        self._drains = True
        for name in self.pools:
            self._queues[name] = CallQueue()

    def wait(self, timeout_seconds: float) -> list[PartEvent]:
        """Feed the pools, and wait for completions: at least one, or none at the timeout.

        Raises InterruptedJobError when the user wants to stop, and StalledError when nothing came
        back for the job's `stall_timeout_seconds`.
        """
        if not self._drains and self._should_stop():
            raise InterruptedJobError(
                "stopped. Finished parts are safe. Run the same command again to continue."
            )
        events = self._dispatch()
        if not self._in_flight and not self.pools.is_loading:
            self.pools.give_devices_to({name for name in self.pools if self._queues[name]})
        completions = self.executor.wait(0.0 if events else timeout_seconds)
        now = self.executor.now()
        if completions:
            self._last_completion = now
        for completion in completions:
            events += self._take(completion)
        # The completions are taken first: a driver that was held up finds nobody hung.
        if now - self._last_hung_check >= HUNG_CHECK_SECONDS:
            self._last_hung_check = now
            if hung := self._failures.replace_hung(now):
                self._last_completion = now
                events += hung
        self.pools.settle()
        before, have = self.places.have, self.places.look()
        if before is not None and have is not None:
            self._follow(before, have)
        if self.places.is_waiting(bool(self._in_flight)):
            self._last_completion = now  # it has a limit of its own
        if now - self._last_completion > self.job.spec.stall_timeout_seconds:
            raise StalledError(
                f"nothing came back for {self.job.spec.stall_timeout_seconds:g} s. {self._waits()}"
            )
        return events

    def _follow(self, before: Resources, now: Resources) -> None:
        """Nodes came or went, and with them cores for files and room in the object store."""
        if now.file_slots != before.file_slots:
            self._task_slots = now.file_slots
        self._commit_slots = MOST_COMMITS * now.num_writers
        if now.object_store_bytes != before.object_store_bytes:
            self.budget.resize(now.object_store_bytes)
            self._warned_of_room = False

    # ---- for the runner, the controller and the live view

    @property
    def wants_rows(self) -> bool:
        """Whether the students will soon have drawn all that they were asked for."""
        students = max(1, self.pools[DRAWING].size)
        files = len(self._queues[FILE_POOL]) + len(self._commits)
        return len(self._queues[DRAWING]) < BATCHES_AHEAD * students and files < FILES_AHEAD * (
            students + self._task_slots
        )

    @property
    def waiting(self) -> str:
        """For which devices the job waits, and who has them; empty if for none."""
        return self.places.waiting

    def _calls_of(self, pool: str) -> tuple[int, int]:
        return self.queued(pool), self.pools[pool].num_calls

    def queued(self, pool: str) -> int:
        """Calls of a pool that no actor has yet."""
        return len(self._queues[pool])

    def views(self) -> list[PoolView]:
        """The state of each pool."""
        return [
            PoolView(
                name=name,
                size=pool.size,
                ready=pool.num_ready,
                busy=pool.num_busy,
                queued=self.queued(name),
                leaving=pool.num_leaving,
                waiting=pool.num_waiting,
                gpus=self.pools.gpus(name),
            )
            for name, pool in self.pools.items()
        ]

    # ---- sending

    def _dispatch(self) -> list[PartEvent]:
        """Hand out the queued calls; returns those whose input was lost while they waited."""
        stale: list[PartEvent] = []
        for name, pool in self.pools.items():
            queue = self._queues[name]
            while queue and (actor := pool.free(len(queue))) is not None:
                if name == DRAWING and not self._may_draw():
                    break
                queued = queue.pop()
                if (task := self._task(queued, pool.micro_batch_size)) is None:
                    stale.append(self._lost_in_the_queue(queued))
                    continue
                task_ref = self.executor.submit_actor_task(actor.handle, task)
                sent = self._note_sent(queued, task, task_ref, actor)
                pool.assign(actor, sent, self.executor.now())
        while self._in_flight.file_tasks < self._task_slots and (queue := self._file_queue()):
            queued = queue.pop()
            if (task := self._task(queued)) is None:
                stale.append(self._lost_in_the_queue(queued))
                continue
            self._note_sent(queued, task, self.executor.submit_file_task(task), None)
        return stale

    def _file_queue(self) -> CallQueue:
        """The queue of the next file task: commits first, because they release a whole part."""
        may_commit = self._commits and self._in_flight.commits < self._commit_slots
        return self._commits if may_commit else self._queues[FILE_POOL]

    def _task(self, queued: QueuedCall, micro_batch_size: int = 0) -> Task | None:
        """A call with its inputs; None if one was lost while it waited."""
        owner, call = queued.owner, queued.call
        inputs = owner.inputs(call)
        if inputs is None:
            return None
        if call.stage is not Stage.COMMIT:
            return Task(owner, call, inputs, micro_batch_size)
        evaluations, save_student = self.measurements.evaluations, self.job.spec.save_student
        results = partial(row_results, owner, call, evaluations, save_student)
        return Task(owner, call, inputs, make_results=results)

    def _note_sent(
        self, queued: QueuedCall, task: Task, task_ref: Ref, actor: PoolActor | None
    ) -> SentCall:
        now = self.executor.now()
        sent = SentCall(
            task=task, task_ref=task_ref, actor=actor, queue_seconds=now - queued.since, sent_at=now
        )
        self._in_flight.add(sent)
        if self.observers.watching(CallSent):
            pool = STAGES[queued.call.stage].pool
            part = queued.owner.part.index
            self.observers.notify(CallSent(pool, sent.actor_number, part, queued.call))
        return sent

    def _may_draw(self) -> bool:
        """Rows are drawn if the object store has room for them. Without room they are drawn only
        where nothing else is under way, and no actor loads that could take from the store."""
        batch = self._batch_sizes[DRAWING]
        if self.budget.has_room_for((self._in_flight.drawing + 1) * batch):
            return True
        if self._in_flight or self.pools.is_loading:
            return False
        if any(self._queues[name] and not self.pools[name].num_ready for name in TAKING):
            return False  # those get the students' devices, and take from the store
        if not self._warned_of_room:
            self._warned_of_room = True
            log.warning(
                "the object store is too small for parts of %d rows: %.3g bytes are held for open "
                "parts, and it should be %.3g at most. The job goes on, batch by batch. Smaller "
                "rows_per_part, or a larger object store, make it faster.",
                self.job.spec.part_rows, self.budget.held, self.budget.limit,
            )  # fmt: skip
        return True

    # ---- completions

    def _take(self, completion: Completion) -> list[PartEvent]:
        error = completion.error
        if self.pools.loaded(completion.task_ref, error):
            return []
        sent = self._in_flight.pop(completion.task_ref)
        if sent is None:
            return []  # of an actor that was replaced, or the second time
        if sent.actor is not None:
            if error and error.kind in GONE:
                return self._failures.actor_died(sent, error)
            pool = self.pools[STAGES[sent.task.call.stage].pool]
            pool.completed(sent.actor, sent, error is None, self.executor.now())
        if error:
            return self._failures.call_failed(sent, error)
        return [(sent.task.owner, self._done(sent, completion))]

    def _done(self, sent: SentCall, completion: Completion) -> Done:
        owner, call = sent.task.owner, sent.task.call
        if call.stage is Stage.COMMIT:
            owner.record = completion.value
            self._note_ended(sent, len(call.rows), self.executor.now() - sent.sent_at)
            return Done(call)
        info = STAGES[call.stage]
        facts: CallFacts = completion.value[1] if info.gives_scores else completion.value
        made = zip(info.outputs, completion.outputs, facts.stored_bytes, strict=True)
        for output, ref, num_bytes in made:
            self.budget.keep(owner, call, output, ref, num_bytes)
        self.measurements.add(sent.task, facts, self.pools)
        self._note_ended(sent, facts.rows, facts.seconds)
        if info.gives_scores:
            owner.note_extra_scores(call, facts.extra_scores)
            return Done(call, tuple(completion.value[0]))
        failed = tuple((call.rows[place], why) for place, why in facts.permanent_failures)
        return Done(call, permanent_failures=failed)

    def _note_ended(self, sent: SentCall, rows: int, seconds: float) -> None:
        if self.observers.watching(CallEnded):
            call, part = sent.task.call, sent.task.owner.part.index
            pool, actor = STAGES[call.stage].pool, sent.actor_number
            ended = CallEnded(pool, actor, part, call, rows, seconds, sent.queue_seconds)
            self.observers.notify(ended)

    def _lost_in_the_queue(self, queued: QueuedCall) -> PartEvent:
        owner, call = queued.owner, queued.call
        failed = CallFailed(owner.part.index, call, ErrorKind.OBJECT_LOST, LOST_IN_THE_QUEUE)
        self.observers.notify(failed)
        return owner, Failed(call, LOST_IN_THE_QUEUE, blame=False)

    def _waits(self) -> str:
        pools = "; ".join(
            f"{view.name}: {view.ready} of {view.size} actors ready, {view.busy} busy, "
            f"{view.queued} calls queued"
            for view in self.views()
        )
        return f"Waiting for: {pools}. Does the cluster have what the pools ask for?"

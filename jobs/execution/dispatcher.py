"""Three actor pools and the files: calls go in (`send`), events come out (`wait`).

The dispatcher decides nothing about rows. It decides which actor gets which call and when, what a
failure means and whose fault it is, and when an actor is given up. The `Executor` carries that out.
The dispatcher never sees a picture: only references, scores, seconds and records.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from math import ceil, inf, log2

from actors.errors import InterruptedJobError, StalledError
from actors.facts import CallFacts
from actors.pool import Pool, PoolActor, PoolCall
from jobs.execution.active_part import ActivePart, Ref, row_results
from jobs.execution.calls import OUTPUTS, Call, Done, Event, Failed, Lost, Output, Release, Stage
from jobs.execution.estimators import ThroughputEstimator
from jobs.execution.executor import Completion, ErrorKind, Executor, Task, TaskError
from jobs.execution.object_store import ObjectStoreBudget
from jobs.resolve import Job
from jobs.scaling.capacity import Capacity

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

LOST_IN_THE_QUEUE = "an input was lost while the call waited"
DIED = "its actor died"
HUNG = "its actor did not answer in time"
TOLD = {
    ErrorKind.OUT_OF_MEMORY: "out of memory",
    ErrorKind.OBJECT_LOST: "its input was lost again and again",
    ErrorKind.NODE_LOST: "its node died again and again",
}
"""What a row's `error` says: hosts, processes, bytes and seconds are for the log."""

SCORES = (Stage.SCORE_DRAWN, Stage.SCORE_REFINED)

LOOK_SECONDS = 1.0
"""How often the crew looks for calls that take too long."""


@dataclass(eq=False, kw_only=True, slots=True)
class _Sent(PoolCall):
    """A call that somebody works on; `worker` is None for files."""

    task: Task
    task_ref: Ref
    actor: PoolActor | None


@dataclass(frozen=True, slots=True)
class PoolView:
    """What a pool is doing, for the live view."""

    name: str
    size: int
    ready: int
    busy: int
    queued: int
    leaving: int = 0


class _Queue:
    """Calls that wait for a pool: those of older parts first, and a part's own in turn."""

    def __init__(self) -> None:
        self._parts: list[int] = []
        """A heap: the numbers of the parts that have a call here."""
        self._calls: dict[int, deque[tuple[ActivePart, Call]]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, owner: ActivePart, call: Call) -> None:
        part = owner.part.index
        if part not in self._calls:
            self._calls[part] = deque()
            heappush(self._parts, part)
        self._calls[part].append((owner, call))
        self._length += 1

    def pop(self) -> tuple[ActivePart, Call]:
        calls = self._calls[self._parts[0]]
        first = calls.popleft()
        self._length -= 1
        if not calls:
            del self._calls[heappop(self._parts)]
        return first


class Dispatcher:
    """Starts the pools, and is a context manager that stops them."""

    def __init__(
        self,
        job: Job,
        executor: Executor,
        sizes: Mapping[str, int],
        task_slots: int,
        object_store_bytes: float = inf,
        should_stop: Callable[[], bool] = lambda: False,
        capacity: Capacity | None = None,
    ) -> None:
        """`sizes`: actors of each pool. `task_slots`: files that are encoded or written at once.

        `should_stop` is asked at every `wait`. `capacity`: what the actors share; None keeps the
        sizes as they are.
        """
        self.job = job
        self.executor = executor
        self.capacity = capacity
        self.store = ObjectStoreBudget(object_store_bytes)
        self.evaluations: dict[Stage, int] = {}
        """Network evaluations of a row, as counted: by stage, DRAW and REFINE."""
        self._should_stop = should_stop
        self.seconds: defaultdict[Stage, float] = defaultdict(float)
        self.rows: Counter[Stage] = Counter()
        self._batch_sizes = {name: model.batch_size for name, model in job.spec.models}
        self.pools = {name: self._pool(name, size) for name, size in sizes.items()}
        self.paces = {name: ThroughputEstimator() for name in self.pools}
        self.load_seconds: dict[str, float] = {}
        """Smoothed, by pool; of those of which an actor has loaded."""
        self._first_sizes = dict(sizes)
        self._task_slots = task_slots
        self._tasks = 0
        self._told: set[Stage] = set()
        self._told_of_room = False
        self._queues = {name: _Queue() for name in (*self.pools, "files")}
        self._loading: dict[Ref, tuple[Pool, PoolActor, float]] = {}
        """By ticket: the pool, the actor, and when it was started."""
        self._sent: dict[Ref, _Sent] = {}
        self._drawing = 0
        """Of these, how many draw."""
        self._last_answer = self._last_look = executor.now()

    def _pool(self, name: str, size: int) -> Pool:
        spec, sizes = self.job.spec, self._batch_sizes
        # A row that kills its actor is found by halving its batch: so many deaths are to be borne.
        largest = max(sizes["student"], sizes["teacher"])
        halvings = 1 + ceil(log2(largest))
        return Pool(
            name,
            lambda: self.executor.start_actor(name),
            self.executor.kill_actor,
            size=size,
            micro_batch_size=sizes[name],
            max_loads=spec.max_attempts,
            max_deaths=spec.max_attempts * halvings + 1,
            # So an actor that fails at everything does not use up the attempts at a row.
            max_raises=max(2, spec.max_attempts // 2),
            # More than a batch takes of which every row is poison.
            max_first_raises=4 * largest * spec.max_attempts,
            first_call_seconds=spec.stall_timeout_seconds / 2,
            call_seconds=spec.call_timeout_seconds,
        )

    def __enter__(self) -> Dispatcher:
        self.executor.set_target_sizes(self.sizes)
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self.pools.values():
            pool.stop()
        self.executor.set_target_sizes(dict.fromkeys(self.pools, 0))

    def send(self, owner: ActivePart, call: Call) -> None:
        """Queue a call. Older parts go first, so that parts finish and let go of their pictures."""
        self._queues[POOL_OF[call.stage]].push(owner, call)

    def let_go(self, owner: ActivePart, release: Release) -> None:
        """Nothing asks for an output any more."""
        self.store.let_go(owner, release.call, release.output)

    def views(self) -> list[PoolView]:
        """What each pool is doing."""
        return [
            PoolView(
                name, pool.size, pool.num_ready, pool.num_busy, len(self._queues[name]),
                pool.num_leaving,
            )
            for name, pool in self.pools.items()
        ]  # fmt: skip

    # ---- sizes

    @property
    def sizes(self) -> dict[str, int]:
        """Actors that there should be, by pool."""
        return {name: pool.size for name, pool in self.pools.items()}

    def resize(self, sizes: Mapping[str, int]) -> None:
        """Have so many actors of each pool: what is too much leaves when its calls are answered.

        A new actor is started when there is a device for it, so that what it waits for others to
        leave does not count as loading.
        """
        self.executor.set_target_sizes(sizes)
        for name, pool in self.pools.items():
            pool.resize(sizes[name])
        self._settle()

    @property
    def wants_rows(self) -> bool:
        """Whether the students will soon have drawn all that they were asked for."""
        files = len(self._queues["files"])
        students = max(1, self.pools["student"].size)
        return len(self._queues["student"]) < 2 * students and files < 4 * (
            students + self._task_slots
        )

    def queued(self, pool: str) -> int:
        """Calls that no actor has yet."""
        return len(self._queues[pool])

    def loading_until(self) -> dict[PoolActor, float]:
        """When the actors that load will be ready, as far as that is known."""
        return {
            actor: started + self.load_seconds.get(pool.name, 0.0)
            for pool, actor, started in self._loading.values()
        }

    def _settle(self) -> None:
        """End what leaves and has nothing more to do; start what is missing and has a place."""
        for pool in self.pools.values():
            if pool.num_leaving:
                for actor in pool.dismiss_leaving():
                    self._loading.pop(actor.loading, None)
        self._start()

    def _unblock(self) -> None:
        """If all that is left to do is for pools without actors, they get the others' devices.

        Without a measurement nobody else would see to that.
        """
        if self._sent or self._loading or self.capacity is None:
            return
        asked = {name for name in self.pools if self._queues[name]}
        if not asked or any(self.pools[name].size for name in asked):
            return
        sizes = {name: int(name in asked) for name in self.pools}
        for name, size in self.sizes.items():
            if name not in asked:
                sizes[name] = self.capacity.most(name, sizes, size)
        log.info("%s: actors for what is left to do", ", ".join(sorted(asked)))
        self.resize(sizes)

    def _start(self) -> None:
        for pool in self.pools.values():
            while pool.num_missing > 0 and self._has_place_for(pool):
                actor = pool.start_one()
                self._loading[actor.loading] = pool, actor, self.executor.now()

    def _has_place_for(self, pool: Pool) -> bool:
        if self.capacity is None:
            return True
        there = {name: len(pool.actors) for name, pool in self.pools.items()}
        there[pool.name] += 1
        # What the job began with was asked for, whether it fits or not.
        begun = all(size <= self._first_sizes[name] for name, size in there.items())
        return begun or self.capacity.fits(there)

    def wait(self, timeout_seconds: float) -> list[tuple[ActivePart, Event]]:
        """Feed the pools, and wait for answers: at least one, or none at the timeout.

        Raises InterruptedJobError when the user wants to stop, and StalledError when nothing came
        back for the job's `stall_timeout_seconds`.
        """
        if self._should_stop():
            raise InterruptedJobError(
                "stopped. Finished parts are safe. Run the same command again to continue."
            )
        events = self._dispatch()
        self._unblock()
        completions = self.executor.wait(0.0 if events else timeout_seconds)
        now = self.executor.now()
        if completions:
            self._last_answer = now
        events += [event for completion in completions for event in self._take(completion)]
        # What came back is taken first: a driver that was held up finds nobody hung.
        if now - self._last_look >= LOOK_SECONDS:
            self._last_look = now
            events += self._replace_hung(now)
        if any(pool.num_leaving or pool.num_missing for pool in self.pools.values()):
            self._settle()
        if now - self._last_answer > self.job.spec.stall_timeout_seconds:
            raise StalledError(
                f"nothing came back for {self.job.spec.stall_timeout_seconds:g} s. {self._waits()}"
            )
        return events

    def _pool_of(self, call: Call) -> Pool:
        return self.pools[POOL_OF[call.stage]]

    # ---- sending

    def _dispatch(self) -> list[tuple[ActivePart, Event]]:
        """Hand out what is queued; returns the calls whose input was lost while they waited."""
        stale: list[tuple[ActivePart, Event]] = []
        for name, pool in self.pools.items():
            queue = self._queues[name]
            while queue and (actor := pool.free(len(queue))) is not None:
                if pool.name == "student" and not self._may_draw():
                    break
                owner, call = queue.pop()
                inputs = owner.inputs(call)
                if inputs is None:
                    stale.append((owner, Failed(call, LOST_IN_THE_QUEUE, blame=False)))
                    continue
                task = Task(owner, call, inputs, pool.micro_batch_size)
                task_ref = self.executor.submit_actor_task(actor.handle, task)
                sent = self._sent[task_ref] = _Sent(task=task, task_ref=task_ref, actor=actor)
                self._drawing += call.stage is Stage.DRAW
                pool.assign(actor, sent, self.executor.now())
        queue = self._queues["files"]
        while queue and self._tasks < self._task_slots:
            owner, call = queue.pop()
            inputs = owner.inputs(call)
            if inputs is None:
                stale.append((owner, Failed(call, LOST_IN_THE_QUEUE, blame=False)))
                continue
            task = self._file_task(owner, call, inputs)
            task_ref = self.executor.submit_file_task(task)
            self._sent[task_ref] = _Sent(task=task, task_ref=task_ref, actor=None)
            self._tasks += 1
        return stale

    def _may_draw(self) -> bool:
        """Rows are drawn only if there is room for them; but if nothing else is done, they are."""
        batch = self._batch_sizes["student"]
        if self.store.has_room_for((self._drawing + 1) * batch):
            return True
        if self._sent:
            return False
        if not self._told_of_room:
            self._told_of_room = True
            log.warning(
                "the object store is too small for parts of %d rows: %.3g bytes are held for open "
                "parts, and it should be %.3g at most. The job goes on, batch by batch. Smaller "
                "rows_per_part, or a larger object store, make it faster.",
                self.job.spec.rows_per_part, self.store.held, self.store.budget,
            )  # fmt: skip
        return True

    def _file_task(self, owner: ActivePart, call: Call, inputs: dict[Ref, Call]) -> Task:
        if call.stage is not Stage.COMMIT:
            return Task(owner, call, inputs)
        save_student = self.job.spec.save_student
        results = partial(row_results, owner, call, self.evaluations, save_student)
        return Task(owner, call, inputs, make_results=results)

    # ---- answers

    def _take(self, completion: Completion) -> list[tuple[ActivePart, Event]]:
        if loading := self._loading.pop(completion.task_ref, None):
            self._loaded(*loading, completion.error)
            return []
        sent = self._over(completion.task_ref)
        if sent is None:
            return []  # of an actor that was given up, or the second time
        if completion.error and completion.error.kind is ErrorKind.DIED and sent.actor:
            return self._died(sent.actor, self._pool_of(sent.task.call), completion.error.reason)
        if sent.actor is None:
            self._tasks -= 1
        else:
            pool, well = self._pool_of(sent.task.call), completion.error is None
            pool.completed(sent.actor, sent, well, self.executor.now())
        if completion.error:
            return self._troubled(sent, completion.error)
        return [(sent.task.owner, self._done(sent.task, completion))]

    def _over(self, task_ref: Ref) -> _Sent | None:
        sent = self._sent.pop(task_ref, None)
        self._drawing -= sent is not None and sent.task.call.stage is Stage.DRAW
        return sent

    def _loaded(
        self, pool: Pool, actor: PoolActor, started: float, error: TaskError | None
    ) -> None:
        if error:
            pool.died(actor, error.reason, permanent=error.kind is ErrorKind.RAISED)
        else:
            pool.loaded(actor)
            took = self.executor.now() - started
            before = self.load_seconds.get(pool.name, took)
            self.load_seconds[pool.name] = 0.7 * before + 0.3 * took
            log.info("%s: an actor is ready (%d of %d)", pool.name, pool.num_ready, pool.size)

    def _done(self, task: Task, completion: Completion) -> Done:
        owner, call = task.owner, task.call
        if call.stage is Stage.COMMIT:
            owner.record = completion.value
            return Done(call)
        is_scores = call.stage in SCORES
        facts: CallFacts = completion.value[1] if is_scores else completion.value
        made = zip(OUTPUTS[call.stage], completion.outputs, facts.stored_bytes, strict=True)
        for output, ref, num_bytes in made:
            self.store.keep(owner, call, output, ref, num_bytes)
        self._note(task, facts)
        if is_scores:
            return Done(call, tuple(completion.value[0]))
        permanent_failures = tuple(
            (call.rows[place], why) for place, why in facts.permanent_failures
        )
        return Done(call, permanent_failures=permanent_failures)

    def _note(self, task: Task, facts: CallFacts) -> None:
        stage, owner = task.call.stage, task.owner
        name = POOL_OF[stage]
        self.seconds[stage] += facts.seconds
        self.rows[stage] += facts.rows
        if name in self.pools:
            self.paces[name].add(facts.seconds, facts.rows, self.pools[name].size)
        owner.seconds[name] += facts.seconds
        if facts.truncated:
            owner.truncated.update(task.call.rows[place] for place in facts.truncated)
        if task.micro_batch_size < self._batch_sizes.get(name, 0):
            owner.smaller_batches[name] = task.micro_batch_size
        if facts.evaluations and facts.evaluations != self.evaluations.get(stage):
            self._note_evaluations(stage, facts.evaluations)

    def _note_evaluations(self, stage: Stage, counted: int) -> None:
        self.evaluations.setdefault(stage, counted)
        planned = self.job.student_nfe if stage is Stage.DRAW else self.job.teacher_nfe
        if counted != planned and stage not in self._told:
            self._told.add(stage)
            log.warning(
                "%s takes %d network evaluations a picture, where its steps and guidance say %d; "
                "the column nfe has the former, a budget in nfe was reckoned with the latter",
                POOL_OF[stage], counted, planned,
            )  # fmt: skip

    # ---- trouble

    def _troubled(self, sent: _Sent, error: TaskError) -> list[tuple[ActivePart, Event]]:
        owner, call = sent.task.owner, sent.task.call
        owner.failures += 1
        log.warning("part %d: %s failed: %s", owner.part.index, call, error.reason)
        blame = True
        events: list[tuple[ActivePart, Event]] = []
        if error.kind is ErrorKind.OBJECT_LOST:
            blame, events = False, self._lost(sent.task, error.lost)
        elif error.kind is ErrorKind.NODE_LOST or self._takes_fewer_rows(sent, error):
            blame = False
        elif sent.actor is not None:
            events = self._raised(sent.actor, self._pool_of(call), error.reason)
        told = error.reason if error.kind is ErrorKind.RAISED else TOLD[error.kind]
        return [*events, (owner, Failed(call, told, blame=blame))]

    def _takes_fewer_rows(self, sent: _Sent, error: TaskError) -> bool:
        """After the device ran out of memory: the same call, computed in smaller batches."""
        if error.kind is not ErrorKind.OUT_OF_MEMORY or sent.actor is None:
            return False
        return self._pool_of(sent.task.call).ran_out_of_memory(sent.task.micro_batch_size)

    def _lost(self, task: Task, lost: Ref) -> list[tuple[ActivePart, Event]]:
        """Only what is really gone is made again; all inputs, if nobody says which it was."""
        output = task.owner.cascade.input_of(task.call.stage)
        gone = [lost] if lost in task.inputs else list(task.inputs)
        return [
            (task.owner, Lost(task.inputs[ref], output))
            for ref in gone
            if self._forget(task.owner, task.inputs[ref], output, ref)
        ]

    def _forget(self, owner: ActivePart, maker: Call, output: Output, ref: Ref) -> bool:
        """Let a lost reference go; False if it was made anew since, or let go before."""
        if owner.refs.get((maker, output)) != ref:
            return False
        self.store.let_go(owner, maker, output)
        return True

    def _raised(self, actor: PoolActor, pool: Pool, why: str) -> list[tuple[ActivePart, Event]]:
        """An actor that raises again and again is replaced, in case it is the actor."""
        if not pool.raised(actor, why):
            return []
        reason = f"{actor.raised} calls in a row failed on it"
        pool.retire(actor, reason)
        return self._given_up(actor, DIED, at_fault=None)

    def _died(self, actor: PoolActor, pool: Pool, reason: str) -> list[tuple[ActivePart, Event]]:
        pool.died(actor, reason)
        return self._given_up(actor, DIED, actor.at_fault)

    def _replace_hung(self, now: float) -> list[tuple[ActivePart, Event]]:
        events: list[tuple[ActivePart, Event]] = []
        for pool in self.pools.values():
            limit = pool.limit_seconds
            for actor in pool.hung(now):
                reason = f"no answer for {limit:.0f} s (call_timeout_seconds sets this limit)"
                pool.died(actor, reason)
                events += self._given_up(actor, HUNG, actor.calls[0])
                self._last_answer = now
        return events

    def _given_up(
        self, actor: PoolActor, reason: str, at_fault: PoolCall | None
    ) -> list[tuple[ActivePart, Event]]:
        """Every call of an actor that is gone has failed; one of them may be the cause."""
        events: list[tuple[ActivePart, Event]] = []
        while actor.calls:
            # Taken out: call and actor refer to each other, and would keep the inputs in the store.
            sent = actor.calls.popleft()
            assert isinstance(sent, _Sent)
            self._over(sent.task_ref)
            sent.task.owner.failures += 1
            failed = Failed(sent.task.call, reason, blame=sent is at_fault)
            events.append((sent.task.owner, failed))
        return events

    def _waits(self) -> str:
        pools = "; ".join(
            f"{view.name}: {view.ready} of {view.size} actors ready, {view.busy} busy, "
            f"{view.queued} calls queued"
            for view in self.views()
        )
        return f"Waiting for: {pools}. Does the cluster have what the pools ask for?"

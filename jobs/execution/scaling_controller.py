"""Keeps the pools balanced while a job runs: gathers the policy's input, and applies its decision.

the dispatcher's measurements -> a ScalingInput -> `decide` -> sizes for the pools, an event
"""

from __future__ import annotations

from math import inf

from actors.roles import ROLES
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.estimators import RejectionEstimator
from jobs.execution.observers import SizesChanged
from jobs.execution.stages import Output, Stage
from jobs.resolution import Job
from jobs.scaling.capacity import Capacity
from jobs.scaling.decision import PoolFacts, ScalingInput
from jobs.scaling.initial_sizes import guess_loads, limits
from jobs.scaling.policy import decide

LOOK_SECONDS = 0.5
"""How often sizes are thought about."""

UNKNOWN_LOAD_SECONDS = 30.0
"""Taken for the loading of an actor until one of its pool has loaded."""

BUFFER_LOADS = 40.0
"""At most so much of the teachers' time waits for them, in times that a teacher loads.

A deeper buffer would save little more loading, and rows that are drawn and not committed are drawn
again when the driver is killed.
"""

MIN_WINDOW_ROWS = 1000.0

PATIENCE = 5.0
"""A move is taken for over after so many times an actor's loading."""

FEW = 0.05
"""Of a pool."""

NEARLY_FULL = 0.9
"""Of what may be held in the object store: here the students have to wait soon."""


class ScalingController:
    """Decides and applies; `last_reason` is for the live view."""

    def __init__(self, job: Job, dispatcher: Dispatcher, rejection: RejectionEstimator) -> None:
        self._job, self._dispatcher = job, dispatcher
        self._rejection = rejection
        self._loads = guess_loads(job)
        self._started = self._last = self._moved = dispatcher.executor.now()
        self.last_reason = ""
        self.buffer_rows = 0.0
        """Rejected rows that may wait, by the time that teachers on all devices take for them."""
        self.window = MIN_WINDOW_ROWS
        """Rows after which what was judged before counts little: those of one loading."""

    def begin(self) -> None:
        """Show the sizes that the job begins with."""
        self._note(self._dispatcher.pools.sizes, "the job begins")

    def look(self, rows_unopened: int, rows_allowed: float) -> None:
        """Think about the sizes, now and then.

        rows_unopened: of parts that are not open yet. rows_allowed: of parts that may be opened
        before others are committed.
        """
        now, capacity = self._dispatcher.executor.now(), self._dispatcher.pools.capacity
        if capacity is None or now - self._last < LOOK_SECONDS:
            return
        self._last = now
        if (teacher := self._facts("teacher")) is not None:
            seconds = BUFFER_LOADS * teacher.load_seconds
            self.buffer_rows = seconds * capacity.count / teacher.row_seconds
        inputs = self._scaling_input(capacity, rows_unopened, rows_allowed)
        if inputs is None or (inputs.rows_to_draw and self._is_moving()):
            return
        decision = decide(inputs)
        if decision.sizes != self._dispatcher.pools.sizes:
            self._moved = now
            self._note(decision.sizes, decision.reason)
            self._dispatcher.pools.resize(decision.sizes)

    def _is_moving(self) -> bool:
        """Whether a move is under way: what loads or leaves is not judged.

        A few actors that are replaced are no move, and one that never loads is not waited for.
        """
        pools = [self._dispatcher.pools[name] for name in ("student", "teacher")]
        loading = max(self._load_seconds(pool.name) for pool in pools)
        if self._dispatcher.executor.now() - self._moved > PATIENCE * loading:
            return False
        return any(
            pool.num_leaving + pool.size - pool.num_ready > FEW * pool.size for pool in pools
        )

    def _note(self, sizes: dict[str, int], reason: str) -> None:
        dispatcher = self._dispatcher
        self.last_reason = reason
        throughput = dispatcher.measurements.throughput
        dispatcher.observers.notify(
            SizesChanged(
                seconds=dispatcher.executor.now() - self._started,
                sizes=dict(sizes),
                rejected=self._rejection.mean,
                row_seconds={n: pool.row_seconds for n, pool in throughput.items() if pool.known},
                queued={name: dispatcher.queued(name) for name in dispatcher.pools},
                reason=reason,
            )
        )

    # ---- what is measured

    def _scaling_input(
        self, capacity: Capacity, rows_unopened: int, rows_allowed: float
    ) -> ScalingInput | None:
        """None while a pool that has actors has not been timed."""
        pools = {name: self._facts(name) for name in self._dispatcher.pools}
        student, oracle, teacher = (pools[name] for name in ROLES)
        if student is None or oracle is None or teacher is None:
            return None
        drawn = student.size / student.row_seconds
        self.window = max(MIN_WINDOW_ROWS, drawn * teacher.load_seconds)
        rejected = self._rejection.mean
        drawing = (student.queued + student.running) * student.call_rows
        draws = self._job.spec.draws
        judged_soon = (oracle.queued + oracle.running) * oracle.call_rows / draws * rejected
        pinned = max(0, teacher.running - teacher.size)
        waiting = (teacher.queued + pinned) * teacher.call_rows + judged_soon
        rows_to_draw = rows_unopened + drawing
        room = min(
            max(0.0, rows_allowed + drawing) * rejected,
            max(0.0, self.buffer_rows - waiting),
            self._room_in_store(rejected),
        )
        return ScalingInput(
            capacity=capacity,
            student=student,
            oracle=oracle,
            teacher=teacher,
            rejected=rejected,
            rows_to_draw=rows_to_draw,
            waiting=waiting,
            draws=draws,
            room=inf if rows_unopened + student.queued * student.call_rows == 0 else room,
            teachers_free_in=() if rows_to_draw else self._teachers_free_in(teacher),
        )

    def _facts(self, name: str) -> PoolFacts | None:
        dispatcher, pool, pace = (
            self._dispatcher,
            self._dispatcher.pools[name],
            self._dispatcher.measurements.throughput[name],
        )
        if pace.known:
            row_seconds, call_rows = pace.row_seconds, pace.call_rows
        elif self._never_asked(name) and dispatcher.measurements.throughput["student"].known:
            # Nobody can time a pool without actors, or without work for them.
            guessed = getattr(self._loads, name) / self._loads.student
            row_seconds = guessed * dispatcher.measurements.throughput["student"].row_seconds
            call_rows = float(getattr(self._job.spec.models, name).batch_size)
        else:
            return None
        least, most = limits(getattr(self._job.spec.pools, name), least=int(name == "oracle"))
        return PoolFacts(
            size=pool.size,
            row_seconds=row_seconds,
            call_rows=call_rows,
            load_seconds=self._load_seconds(name),
            queued=dispatcher.queued(name),
            running=pool.num_calls,
            minimum=least,
            maximum=most,
        )

    def _never_asked(self, name: str) -> bool:
        """Whether a pool has nothing to do, or nobody to do it, after some time."""
        pool, seconds = (
            self._dispatcher.pools[name],
            self._dispatcher.executor.now() - self._started,
        )
        idle = pool.num_calls == 0 and self._dispatcher.queued(name) == 0
        return pool.size == 0 or (idle and seconds > self._load_seconds(name))

    def _load_seconds(self, name: str) -> float:
        return self._dispatcher.pools.load_seconds.get(name, UNKNOWN_LOAD_SECONDS)

    def _room_in_store(self, rejected: float) -> float:
        """Rejected rows that may come to wait until the object store is as full as it may be."""
        store, spec = self._dispatcher.budget, self._job.spec
        if not rejected or store.limit == inf:
            return inf
        each = store.row_bytes.get((Stage.ENCODE_DRAWN, Output.FILES), 0.0)
        files = each if spec.save_student else each * (1 - rejected)
        kept = [Output.PICTURES] if spec.keep == "best" else []
        if spec.strategy == "refine":
            through = self._job.refinement.through
            kept.append(Output.LATENTS if through == "latents" else Output.PICTURES)
        outputs = sum(store.row_bytes.get((Stage.DRAW, output), 0.0) for output in set(kept))
        drawn = files + outputs
        free = max(0.0, NEARLY_FULL * store.limit - store.held)
        return free * rejected / drawn if drawn else inf

    def _teachers_free_in(self, teacher: PoolFacts) -> list[float]:
        """Seconds until each teacher has done its calls, or has loaded."""
        now, loading = self._dispatcher.executor.now(), self._dispatcher.pools.loading_until()
        free = []
        for actor in self._dispatcher.pools["teacher"].actors:
            if actor.leaving:
                continue
            ready = max(0.0, loading.get(actor, now) - now)
            if actor.calls:
                since = now - actor.calls[0].since
                ready = max(0.0, len(actor.calls) * teacher.call_seconds - since)
            free.append(ready)
        return free

"""Keeps the pools balanced while a job runs: gathers the policy's input, and applies its decision.

the dispatcher's measurements -> a ScalingInput -> `decide` -> sizes for the pools, an event
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf

from actors.pool import IN_FLIGHT
from actors.roles import ROLES
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.estimators import RejectionEstimator
from jobs.execution.observers import SizesChanged
from jobs.execution.remaining import StageLeft, seconds_left
from jobs.execution.stages import OutputKind, Stage
from jobs.resolution import Job
from jobs.scaling.capacity import Capacity
from jobs.scaling.decision import PoolFacts, ScalingInput
from jobs.scaling.initial_sizes import guess_loads, limits
from jobs.scaling.look_ahead import short_seconds
from jobs.scaling.policy import DECIDE_SECONDS, decide, looks_ahead, pause
from jobs.scaling.rungs import RungLoads
from jobs.scaling.schedule import expected_calls

UNKNOWN_LOAD_SECONDS = 30.0
"""The load time of an actor until a student or a teacher has loaded, which then counts for both:
chosen, and rather too long, since a move that is priced too high is only made later."""

EARLY_LOADS = 4.0
"""The teachers' buffer of rejected rows is at most so many of their load times deep where parts
should be finished early; otherwise it holds a short rest (`short_seconds`), so that moves are some
40 load times apart at least, and loading takes a few percent. A deeper buffer saves little more,
and the rows in it are drawn again after the driver was killed."""

MIN_WINDOW_ROWS = 1000.0
"""Of 1,000 rows at a rejected fraction of 0.3 the standard deviation is 1.4 points: in fewer rows a
change could not be told from chance."""

MOVE_LOADS = 5.0
"""A move ends after this many load times at the latest: an actor that loads for five times
as long as the others may never load, and must not keep the sizes from changing."""

REPLACED_FRACTION = 0.05
"""A pool of which no more than this loads or leaves is not moving: a few actors are being replaced,
which on a large cluster is the usual state."""

NEARLY_FULL = 0.9
"""Of the object store's budget: the policy takes it for full from here on, so that it decides
before the students have to wait, and not after."""


class ScalingController:
    """Decides and applies; `last_reason` is for the live view."""

    def __init__(
        self,
        job: Job,
        dispatcher: Dispatcher,
        rejection: RejectionEstimator,
        rung_loads: Callable[[], RungLoads],
    ) -> None:
        """rung_loads: how many rows take each rung of the ladder, as it is known now."""
        self._job, self._dispatcher, self._rung_loads = job, dispatcher, rung_loads
        self._rejection = rejection
        self._loads = guess_loads(job)
        self._started = self._last = self._moved = dispatcher.executor.now()
        self._pause = DECIDE_SECONDS
        """Until the next decision."""
        self._drawn = False
        """Whether the students had nothing to do when that was last looked at."""
        self.last_reason = ""
        self.buffer_rows = 0.0
        """Rejected rows that may wait: teachers on all devices refine them in a short rest."""
        self.window = MIN_WINDOW_ROWS
        """Rows that are judged while a teacher loads: a change of the fraction shows in them."""

    def begin(self) -> None:
        """Show the sizes that the job begins with, and those that the cluster forces upon it."""
        self._dispatcher.places.note = self._note
        self._note(self._dispatcher.pools.sizes, "the job begins")

    def adjust(
        self,
        rows_unopened: int,
        rows_allowed: float,
        rows_unjudged: Callable[[], int],
        *,
        rows_unbatched: Callable[[], int],
    ) -> None:
        """Change the sizes where the policy says so.

        rows_unopened: of parts that are not open yet. rows_allowed: of parts that may be opened
        before others are committed. rows_unjudged: of open parts, without a score so far.
        rows_unbatched: rejected ones of open parts, whose batch is not full yet.
        """
        now, capacity = self._dispatcher.executor.now(), self._dispatcher.pools.capacity
        if capacity is None:
            return
        students = self._dispatcher.pools["student"]
        drawn = not (rows_unopened or self._dispatcher.queued("student") or students.num_calls)
        just_drawn, self._drawn = drawn and not self._drawn, drawn
        if now - self._last < self._pause and not just_drawn:
            return
        self._last = now
        if not all(capacity.fits({"oracle": 1, name: 1}) for name in ("student", "teacher")):
            return  # no flow to balance: the pools have the devices in turns, each till it is done
        if (teacher := self._facts("teacher")) is not None:
            seconds = short_seconds(teacher.load_seconds, teacher.call_seconds)
            if self._job.spec.pools.early_parts:
                seconds = EARLY_LOADS * teacher.load_seconds
            before = self.buffer_rows
            self.buffer_rows = seconds * capacity.count / teacher.row_seconds
            if not before:
                return  # the runner opens parts first, as many as may wait now
        inputs = self._scaling_input(
            capacity, rows_unopened, rows_allowed, rows_unjudged(), rows_unbatched()
        )
        if inputs is None or (not inputs.last_draws and self._is_moving()):
            return
        self._pause = pause(inputs)
        decision = decide(inputs)
        if decision.sizes != self._dispatcher.pools.sizes:
            self._moved = now
            self._note(decision.sizes, decision.reason)
            self._dispatcher.pools.resize(decision.sizes)

    def seconds_left(self, unjudged_rows: int, rejected_rows: int) -> float | None:
        """How long the job still takes; None until that is measured.

        rejected_rows: those that no teacher has refined yet.
        """
        capacity, draws = self._dispatcher.pools.capacity, self._job.spec.draws
        loads = self._rung_loads()
        # Of the rejected rows, which are somewhere on the ladder, as much as of one that is drawn.
        rejected = max(loads.fractions[1:], default=0.0)
        each = rejected_rows / rejected if rejected else 0.0
        to_refine = (unjudged_rows + each) * loads.refinements
        to_draw = unjudged_rows * loads.drawings + each * (loads.drawings - 1)
        left = {
            "student": self._left("student", to_draw),
            "oracle": self._left("oracle", unjudged_rows * (draws - 1) + to_draw + to_refine),
            "teacher": self._left("teacher", to_refine),
        }
        student, oracle, teacher = (left[name] for name in ROLES)
        if student is None or oracle is None or teacher is None:
            return None
        return seconds_left(
            student,
            oracle,
            teacher,
            load_seconds=self._load_seconds("teacher"),
            sizes_may_change=capacity is not None and not capacity.elastic,
        )

    def _left(self, name: str, rows: float) -> StageLeft | None:
        throughput = self._dispatcher.measurements.throughput[name]
        if rows and not throughput.known:
            return None
        pool = self._dispatcher.pools[name]
        known = throughput.known
        return StageLeft(
            rows=rows,
            row_seconds=throughput.row_seconds if known else 0.0,
            call_rows=throughput.call_rows if known else 0.0,
            actors=pool.size,
            busy=pool.num_busy,
        )

    def _is_moving(self) -> bool:
        """Whether actors of a move still load or leave: throughput is not judged meanwhile."""
        pools = [self._dispatcher.pools[name] for name in ("student", "teacher")]
        loading = max(self._load_seconds(pool.name) for pool in pools)
        if self._dispatcher.executor.now() - self._moved > MOVE_LOADS * loading:
            return False
        return any(
            pool.num_leaving + pool.size - pool.num_ready > REPLACED_FRACTION * pool.size
            for pool in pools
        )

    def _note(self, sizes: Mapping[str, int], reason: str) -> None:
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

    # ---- measurements

    def _scaling_input(
        self,
        capacity: Capacity,
        rows_unopened: int,
        rows_allowed: float,
        unjudged: int,
        unbatched: int,
    ) -> ScalingInput | None:
        """The policy's input; None while a pool with actors has no measured throughput."""
        pools = {name: self._facts(name) for name in self._dispatcher.pools}
        student, oracle, teacher = (pools[name] for name in ROLES)
        if student is None or oracle is None or teacher is None:
            return None
        loads = self._rung_loads()
        student = _for_a_row(student, loads.drawings)
        teacher = _for_a_row(teacher, loads.pictures_each)
        drawn = student.size / student.row_seconds
        self.window = max(MIN_WINDOW_ROWS, drawn * teacher.load_seconds)
        rejected = loads.to_teacher
        drawing = (student.queued + student.running) * student.call_rows
        draws = self._job.spec.draws + (loads.drawings - 1) + (loads.refinements - rejected)
        judged_soon = max(0.0, unjudged - drawing) * rejected
        pinned = max(0, teacher.running - teacher.size)
        waiting = (teacher.queued + pinned) * teacher.call_rows + judged_soon
        rows_to_draw = rows_unopened + drawing
        room = min(
            max(0.0, rows_allowed + drawing) * rejected,
            max(0.0, self.buffer_rows - waiting),
            self._room_in_store(rejected),
        )
        inputs = ScalingInput(
            capacity=capacity,
            student=student,
            oracle=oracle,
            teacher=teacher,
            rejected=rejected,
            rows_to_draw=rows_to_draw,
            waiting=waiting,
            draws=draws,
            room=inf if rows_unopened + student.queued * student.call_rows == 0 else room,
            rejected_rest=None if self._job.spec.ladder else self._rejection.rest,
            rejected_sd=self._rejection.deviation(rows_to_draw),
            unbatched=unbatched,
            judged_soon=judged_soon > 0,
            drawn_again=loads.drawings > 1,
            early_parts=self._job.spec.pools.early_parts,
        )
        # One by one only for those decisions that look at each: thousands of actors take long.
        if inputs.last_draws:
            free_in = self._free_in("teacher", teacher.call_seconds)
            return replace(inputs, teachers_free_in=free_in)
        if looks_ahead(inputs):
            next_in = self._free_in("teacher", teacher.call_seconds, most_calls=1)
            students = self._free_in("student")
            return replace(inputs, teachers_next_in=next_in, students_free_in=students)
        return inputs

    def _facts(self, name: str) -> PoolFacts | None:
        dispatcher, pool = self._dispatcher, self._dispatcher.pools[name]
        throughput = dispatcher.measurements.throughput
        if throughput[name].known:
            row_seconds, call_rows = throughput[name].row_seconds, throughput[name].call_rows
        elif throughput["student"].known:
            # Nothing came back yet: by the evaluations, and no less than the oldest call takes.
            guessed = getattr(self._loads, name) / self._loads.student
            call_rows = float(getattr(self._job.spec.models, name).batch_size)
            row_seconds = max(
                guessed * throughput["student"].row_seconds, self._oldest(name) / call_rows
            )
        else:
            return None
        if name == "teacher":
            call_rows, row_seconds = self._of_parts(call_rows * row_seconds)
        # Actors that stay for the next job are of no use to it without one of each that it needs.
        stays = self._job.spec.pools.keep_warm is not None
        needed = name != "teacher" or bool(self._job.refinements)
        least, most = limits(
            getattr(self._job.spec.pools, name), least=int(name == "oracle" or (stays and needed))
        )
        if dispatcher.pools.now_had is not None:
            least = min(least, pool.size)  # the cluster has no place for more
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

    def _of_parts(self, call_seconds: float) -> tuple[float, float]:
        """Rows of a teacher's call, and seconds of a row: a part's last call is short, and padded.

        By the rejected fraction: of the calls so far there are too few of the last ones.
        """
        spec, prompts = self._job.spec, self._job.prompts
        rows = min(spec.part_rows, prompts.num_rows)
        rejected, batch = max(1e-6, self._rung_loads().to_teacher), spec.models.teacher.batch_size
        # Of almost no rejected rows the normal distribution gives no calls at all.
        calls = max(expected_calls(rows, rejected, batch), rows * rejected / batch)
        call_rows = rows * rejected / calls
        return call_rows, call_seconds / call_rows

    def _oldest(self, name: str) -> float:
        """Seconds for which the pool's oldest call is under way."""
        now = self._dispatcher.executor.now()
        calls = (actor.calls[0] for actor in self._dispatcher.pools[name].actors if actor.calls)
        return max((now - call.since for call in calls), default=0.0)

    def _load_seconds(self, name: str) -> float:
        known = self._dispatcher.pools.load_seconds
        others = (known[other] for other in ("student", "teacher") if other in known)
        return known.get(name, max(others, default=UNKNOWN_LOAD_SECONDS))

    def _room_in_store(self, rejected: float) -> float:
        """Rejected rows that can still wait before the object store's budget is nearly full."""
        budget, spec = self._dispatcher.budget, self._job.spec
        if not rejected or budget.limit == inf:
            return inf
        each = budget.row_bytes.get((Stage.ENCODE_DRAWN, OutputKind.FILES), 0.0)
        files = each if spec.save_student else each * (1 - rejected)
        of_teacher = [attempt for attempt in spec.attempts if attempt.make != "draw"]
        best = any(attempt.keep == "best" for attempt in of_teacher)
        kept = [OutputKind.PICTURES] if best else []
        if any(attempt.make == "refine" for attempt in of_teacher):
            through = self._job.refinement.through
            kept.append(OutputKind.LATENTS if through == "latents" else OutputKind.PICTURES)
        outputs = sum(budget.row_bytes.get((Stage.DRAW, output), 0.0) for output in set(kept))
        drawn = files + outputs
        free = max(0.0, NEARLY_FULL * budget.limit - budget.held)
        return free * rejected / drawn if drawn else inf

    def _free_in(
        self, name: str, call_seconds: float = 0.0, most_calls: int = IN_FLIGHT
    ) -> list[float]:
        """Seconds until each actor has loaded, or has done its first calls of `call_seconds`.

        With 0 those do not count: it is less than 0 for as long as the first is under way.
        """
        now, loading = self._dispatcher.executor.now(), self._dispatcher.pools.loading_until()
        free = []
        for actor in self._dispatcher.pools[name].actors:
            if actor.leaving or not actor.has_place:
                continue
            ready = max(0.0, loading.get(actor, now) - now)
            if actor.calls:
                calls = min(most_calls, len(actor.calls))
                ready = calls * call_seconds - (now - actor.calls[0].since)
            free.append(max(0.0, ready) if call_seconds else ready)
        return free


def _for_a_row(facts: PoolFacts, pictures: float) -> PoolFacts:
    """The facts of a pool that makes so many pictures of a row, each in a call of its own."""
    return replace(
        facts,
        row_seconds=facts.row_seconds * pictures,
        call_rows=facts.call_rows / pictures,
    )

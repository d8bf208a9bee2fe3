"""An executor on a virtual clock: actors, nodes and an object store that cost nothing.

The runner, the dispatcher, the pools and the cascades are the real ones. Loading, a call and a
file task take as long as `Durations` says, on a clock that jumps from event to event. A picture is
a tuple that names what it was made from, so two runs can be compared row by row.

    executor = SimulatedExecutor(Durations(), num_nodes=3)
    with Dispatcher(job, executor, sizes, task_slots=2) as dispatcher:
        Runner(job).run(dispatcher, job.rules(threshold))

A test can break things: `kill_actor`, `kill_node`, `lose`, and the hooks that a subclass overrides
(`tests.simulation.faulty_executor`). `jobs.simulation.job` has a job without files to go with it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from typing import Any
from weakref import WeakSet
from zlib import crc32

from actors.facts import CallFacts
from jobs.execution.calls import Call
from jobs.execution.executor import ClusterView, Completion, ErrorKind, Task, TaskError
from jobs.execution.stages import STAGES, OutputKind, Stage

DRIVER_NODE = 0
"""Commits run here; if it dies, so does the driver."""

EVALUATIONS = {Stage.DRAW: 1, Stage.REFINE: 2}
"""Network evaluations of a row by its first attempt; by the second twice as many, and so on. Chosen
to differ, so that a row's sum shows which attempts made it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Seconds. A call with few rows takes as long as a full batch: batches are padded.

    `load`: from an actor's start until it has its model. `batch`: a call, by pool. `files`: a file
    task. `death_report`, `loss_report`: until the executor reports a dead actor's calls as failed,
    and a call whose input is lost. All are chosen, not measured: the batches are far enough apart
    that queues form, and both reports come after calls that began later.
    """

    load: float = 5.0
    batch: Mapping[str, float] = field(
        default_factory=lambda: {"student": 1.0, "oracle": 0.2, "teacher": 4.0}
    )
    files: float = 0.1
    death_report: float = 1.0
    loss_report: float = 5.0


@dataclass(eq=False)
class SimulatedRef:
    """A reference to an object in the store, which keeps the object as long as it is held.

    `rows`: a value for each row of the `call` that made the object. `gone`: lost with its node.
    """

    rows: list[Any]
    part: int
    call: Call
    output: OutputKind
    node: int
    serial: int
    gone: bool = False


@dataclass(eq=False, slots=True)
class SimulatedTask:
    """A call under way. `task` becomes None, and its references go, when the call is over."""

    task_ref: object
    task: Task | None
    seconds: float = 0.0
    """The call's duration, known once it has begun."""


@dataclass(eq=False, slots=True)
class SimulatedActor:
    """`slowness` multiplies its durations. `calls`: the actor works on the oldest. `death`: of
    which kind it is, once the actor is dead."""

    pool: str
    name: str
    node: int
    task_ref: object
    ready: bool = False
    dead: bool = False
    slowness: float = 1.0
    death: ErrorKind = ErrorKind.DIED
    calls: deque[SimulatedTask] = field(default_factory=deque)


class SimulatedExecutor:
    """See `jobs.execution.executor.Executor`."""

    def __init__(self, durations: Durations, num_nodes: int, start: float = 0.0) -> None:
        """`start`: the clock's time at the beginning, in seconds."""
        self.durations = durations
        self.nodes = set(range(num_nodes))
        self.actors: list[SimulatedActor] = []
        self._actors_on: Counter[int] = Counter()
        self.tasks: dict[SimulatedTask, int] = {}
        """File tasks under way, each with its node."""
        self.store: WeakSet[SimulatedRef] = WeakSet()
        self.committed: dict[int, list[tuple[Any, ...]]] = {}
        """By part: a tuple for each row."""
        self._now = start
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._completions: list[Completion] = []
        self._serial = count()

    # ---- the executor's interface

    def now(self) -> float:
        """Seconds on the virtual clock."""
        return self._now

    def set_target_sizes(self, sizes: Mapping[str, int]) -> None:
        """Does nothing: this cluster does not grow."""

    def look(self, unloaded: Collection[SimulatedActor]) -> ClusterView | None:
        """None: every actor has a place."""
        return None

    def holds(self, gpus: int) -> None:
        """Does nothing: nobody else is told."""

    def has_news(self) -> bool:
        """No: nobody else is on this cluster."""
        return False

    def start_actor(self, pool: str) -> tuple[SimulatedActor, object]:
        """Start an actor on the node with the fewest actors."""
        node = min(sorted(self.nodes), key=lambda node: self._actors_on[node])
        self._actors_on[node] += 1
        name = f"{pool} {next(self._serial)}"
        actor = SimulatedActor(pool, name, node, task_ref=object())
        self.actors.append(actor)
        self.place(actor)
        return actor, actor.task_ref

    def place(self, actor: SimulatedActor) -> None:
        """A node has room for an actor, which loads now; a subclass may let it wait for that."""
        self.at(self.load_seconds(actor), lambda: self._loaded(actor))

    def leave_actors(self, handles: Collection[SimulatedActor]) -> Collection[SimulatedActor]:
        """None stays."""
        return ()

    def kill_actor(self, handle: SimulatedActor) -> None:
        """Its calls fail after `death_report` seconds; so does a call submitted after its death."""
        if handle.dead:
            return
        handle.dead = True
        self.actors.remove(handle)
        self._actors_on[handle.node] -= 1
        if not handle.ready:
            self._report_death(handle.task_ref, handle)
        for running in handle.calls:
            assert running.task is not None
            self.task_failed(running.task)
            running.task = None
            self._report_death(running.task_ref, handle)
        handle.calls.clear()

    def submit_actor_task(self, handle: SimulatedActor, task: Task) -> object:
        """Queue a call on an actor."""
        running = SimulatedTask(object(), task)
        if handle.dead:
            self.task_failed(task)
            self._report_death(running.task_ref, handle)
        else:
            handle.calls.append(running)
            if len(handle.calls) == 1:
                self._begin(handle)
        return running.task_ref

    def submit_file_task(self, task: Task) -> object:
        """Encode on the nodes in turn, commit on the driver's."""
        running = SimulatedTask(object(), task)
        nodes = sorted(self.nodes)
        commits = task.call.stage is Stage.COMMIT
        self.tasks[running] = DRIVER_NODE if commits else nodes[next(self._serial) % len(nodes)]
        error = self._lost_input(task)
        running.seconds = self.durations.loss_report if error else self.file_seconds(task)
        self.at(running.seconds, lambda: self._file_task_ended(running, error))
        return running.task_ref

    def wait(self, timeout_seconds: float) -> list[Completion]:
        """Let time pass until a completion arrives, at most `timeout_seconds`."""
        until = self._now + timeout_seconds
        while not self._completions and self._events and self._events[0][0] <= until:
            self._step()
        if not self._completions:
            self._now = until
            return []
        while self._events and self._events[0][0] <= self._now:
            self._step()
        arrived, self._completions = self._completions, []
        return sorted(arrived, key=lambda completion: completion.error is not None)

    # ---- faults

    def kill_node(self, node: int) -> None:
        """Remove a node with its actors, its tasks and its stored objects; a new node joins."""
        for actor in [actor for actor in self.actors if actor.node == node]:
            actor.death = ErrorKind.NODE_LOST
            self.kill_actor(actor)
        for running in [running for running, where in self.tasks.items() if where == node]:
            self.kill_file_task(running, TaskError(ErrorKind.NODE_LOST, f"node {node} died"))
        stored = [ref for ref in self.store if ref.node == node]
        for ref in sorted(stored, key=lambda ref: ref.serial):
            self.lose(ref)
        self.nodes.remove(node)
        self.nodes.add(max(self.nodes) + 1)

    def kill_file_task(self, running: SimulatedTask, error: TaskError) -> None:
        """End the process of a file task; the call fails with `error`."""
        del self.tasks[running]
        assert running.task is not None
        self.task_failed(running.task)
        running.task = None
        self._report_later(running.task_ref, error)

    def lose(self, ref: SimulatedRef) -> None:
        """Lose an object of the store. Holders of its reference learn of it when they use it."""
        ref.gone = True

    def load_seconds(self, actor: SimulatedActor) -> float:
        """From an actor's start until it has its model."""
        return self.durations.load

    def outcome(self, actor: SimulatedActor, task: Task) -> tuple[float, TaskError | None]:
        """How a call that begins now will end: after how many seconds, and with which error."""
        return actor.slowness * self.durations.batch[actor.pool], None

    def file_seconds(self, task: Task) -> float:
        """How long a file task takes: encoding pictures, or writing a part."""
        return self.durations.files

    def file_outcome(self, task: Task) -> TaskError | None:
        """The error with which a file task ends, or None."""
        return None

    def task_failed(self, task: Task) -> None:
        """A call has failed, whatever the reason. A hook for subclasses that count."""

    def deliver(self, completion: Completion) -> None:
        """Hand a completion to the next `wait`."""
        self._completions.append(completion)

    # ---- the clock

    def at(self, seconds_from_now: float, action: Callable[[], None]) -> None:
        """Run `action` after `seconds_from_now` of virtual time."""
        heappush(self._events, (self._now + seconds_from_now, next(self._serial), action))

    def drain(self) -> None:
        """Run all scheduled events, and drop their completions."""
        while self._events:
            self._step()
        self._completions.clear()

    def _step(self) -> None:
        self._now, _, action = heappop(self._events)
        action()

    # ---- actors

    def _loaded(self, actor: SimulatedActor) -> None:
        if not actor.dead:
            actor.ready = True
            self.deliver(Completion(actor.task_ref))

    def _begin(self, actor: SimulatedActor) -> None:
        running = actor.calls[0]
        assert running.task is not None
        error = self._lost_input(running.task)
        seconds = self.durations.loss_report
        if error is None:
            seconds, error = self.outcome(actor, running.task)
        running.seconds = seconds
        self.at(seconds, lambda: self._ended(actor, running, error))

    def _ended(
        self, actor: SimulatedActor, running: SimulatedTask, error: TaskError | None
    ) -> None:
        if running.task is None:
            return  # the actor died meanwhile
        actor.calls.popleft()
        if error is None:
            self.deliver(self._carried_out(running, actor.node))
        else:
            self.task_failed(running.task)
            self._report(running.task_ref, error)
        running.task = None
        # Delivering may have killed the actor.
        if actor.calls and not actor.dead:
            self._begin(actor)

    def _file_task_ended(self, running: SimulatedTask, error: TaskError | None) -> None:
        if running.task is None:
            return
        node = self.tasks.pop(running)
        error = error or self.file_outcome(running.task)
        if error is None:
            self.deliver(self._carried_out(running, node))
        else:
            self.task_failed(running.task)
            self._report(running.task_ref, error)
        running.task = None

    def _lost_input(self, task: Task) -> TaskError | None:
        gone = next((ref for ref in task.inputs if ref.gone), None)
        return gone and TaskError(ErrorKind.OBJECT_LOST, "its node died", lost=gone)

    def _report_death(self, task_ref: object, actor: SimulatedActor) -> None:
        self._report_later(task_ref, TaskError(actor.death, f"{actor.name} died"))

    def _report_later(self, task_ref: object, error: TaskError) -> None:
        self.at(self.durations.death_report, lambda: self._report(task_ref, error))

    def _report(self, task_ref: object, error: TaskError) -> None:
        self.deliver(Completion(task_ref, error=error))

    # ---- outputs

    def _carried_out(self, running: SimulatedTask, node: int) -> Completion:
        task = running.task
        assert task is not None
        if task.call.stage is Stage.COMMIT:
            return Completion(running.task_ref, self.commit(task))
        made = _made(task)
        outputs = [
            SimulatedRef(rows, task.owner.part.index, task.call, output, node, next(self._serial))
            for output, rows in zip(STAGES[task.call.stage].outputs, made, strict=False)
        ]
        self.store.update(outputs)
        facts = self.facts(task, running.seconds)
        if not STAGES[task.call.stage].gives_scores:
            return Completion(running.task_ref, facts, outputs)
        extras = tuple([(extra_score_of(one),) for one in _taken(task)])
        facts = replace(facts, extra_scores=extras)
        return Completion(running.task_ref, (made[0], facts), outputs)

    def facts(self, task: Task, seconds: float) -> CallFacts:
        """The facts of a call that took `seconds`, as an actor returns them to the driver."""
        rows, stage = len(task.call.rows), task.call.stage
        stored = (rows,) * len(STAGES[stage].outputs)
        evaluations = EVALUATIONS.get(stage, 0) * (1 + task.call.attempt)
        return CallFacts(rows, seconds, stored, evaluations)

    def commit(self, task: Task) -> dict[str, Any]:
        """Keep a part as tuples, one for each row; returns the record."""
        files = [ref.rows for ref in task.inputs]
        results = [result for result in task.results if result]
        assert len(results) == len(task.results), "a simulated part is never retried"

        def file(pick: tuple[int, int] | None) -> Any:
            return pick and files[pick[0]][pick[1]]

        self.committed[task.owner.part.index] = [
            (r.seed, r.student_score, r.teacher_score, r.source, r.nfe, r.error,
             file(r.image), file(r.student_image), r.extra_scores)
            for r in results
        ]  # fmt: skip
        return {
            "part": task.owner.part.index,
            "rows": len(results),
            "refined": sum(result.teacher_score is not None for result in results),
            "failed": sum(result.error is not None for result in results),
        }


def extra_score_of(picture: Any) -> float:
    """A score that decides nothing, of a picture."""
    return crc32(repr(picture).encode()) % 1000 / 1000


def _taken(task: Task) -> list[Any]:
    """The rows' inputs."""
    contents = [ref.rows for ref in task.inputs]
    return [contents[which][row] for which, row in task.picks]


def _made(task: Task) -> list[list[Any]]:
    """The call's outputs: for each row a tuple that names its seed and what it was made from.

    And its slot in its batch, on which a row's last bits depend on a GPU.
    """
    slots = task.slots or range(len(task.targets))
    taken = _taken(task)
    match task.call.stage:
        case Stage.DRAW:
            number, draws = task.call.attempt, task.owner.cascade.rules.draws
            drawings = range(draws) if number == 0 else [draws - 1 + number]
            rows = zip(task.seeds, task.prompts, slots, strict=True)
            drawn = [(*row, which) for row in rows for which in drawings]
            return [[("latents", *each) for each in drawn], [("drawn", *each) for each in drawn]]
        case Stage.REFINE:
            starts = taken or [None] * len(task.seeds)
            number = task.call.attempt
            refined = [("refined", *row) for row in zip(task.seeds, starts, slots, strict=True)]
            return [[(*row, number) if number else row for row in refined]]
        case Stage.SCORE_DRAWN | Stage.SCORE_REFINED:
            scored = zip(taken, slots, strict=True)
            return [[crc32(repr(one).encode()) / 2**32 for one in scored]]
        case _:
            return [[("file", picture) for picture in taken]]

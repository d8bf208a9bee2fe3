"""The crew's hands on a virtual clock: actors, nodes and an object store that cost nothing.

The runner, the crew, the pools and the cascades are the real ones. What is done for them takes as
long as `Times` says, on a clock that jumps from event to event, and the pictures are tuples that
name what they were made from: a run's result can be compared with another's, down to each row.

    hands = SimulatedExecutor(Times(), num_nodes=3)
    with Dispatcher(job, hands, sizes, task_slots=2) as crew:
        Runner(job).run(crew, job.rules(threshold))

Things can be broken: `kill_actor`, `kill_node`, `lose`, and what a subclass adds
(`tests.simulation.trials`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any
from weakref import WeakSet
from zlib import crc32

from actors.facts import CallFacts
from jobs.execution.calls import OUTPUTS, Call, Output, Stage
from jobs.execution.executor import Completion, ErrorKind, Task, TaskError

DRIVER_NODE = 0
"""Commits run here; if it dies, so does the driver."""

EVALUATIONS = {Stage.DRAW: 1, Stage.REFINE: 2}
"""Network evaluations of a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds. `micro_batch_size` rows take as long as a full batch: batches are padded."""

    load: float = 5.0
    batch: Mapping[str, float] = field(
        default_factory=lambda: {"student": 1.0, "oracle": 0.2, "teacher": 4.0}
    )
    files: float = 0.1
    tell_of_a_death: float = 1.0
    tell_of_a_lost_input: float = 5.0


@dataclass(eq=False)
class SimulatedRef:
    """Stands for a thing in the store, which lasts as long as somebody holds this.

    `rows`: a value for each row of the `call` that made it. `gone`: lost with its node.
    """

    rows: list[Any]
    part: int
    call: Call
    output: Output
    node: int
    serial: int
    gone: bool = False


@dataclass(eq=False, slots=True)
class SimulatedTask:
    """A call on its way. `work` is dropped, with the references in it, when it is over."""

    task_ref: object
    task: Task | None
    seconds: float = 0.0
    """That the call takes, once it has begun."""


@dataclass(eq=False, slots=True)
class SimulatedActor:
    """`slowness` multiplies its times. `calls`: the oldest is being worked on."""

    pool: str
    name: str
    node: int
    task_ref: object
    ready: bool = False
    dead: bool = False
    slowness: float = 1.0
    calls: deque[SimulatedTask] = field(default_factory=deque)


class SimulatedExecutor:
    """See `jobs.execution.executor.Executor`."""

    def __init__(self, times: Times, num_nodes: int, start: float = 0.0) -> None:
        """`start`: what the clock says at the beginning, in seconds."""
        self.times = times
        self.nodes = set(range(num_nodes))
        self.actors: list[SimulatedActor] = []
        self._actors_on: Counter[int] = Counter()
        self.tasks: dict[SimulatedTask, int] = {}
        """Files being handled, with the node that does it."""
        self.store: WeakSet[SimulatedRef] = WeakSet()
        self.committed: dict[int, list[tuple[Any, ...]]] = {}
        """By part: what its rows became."""
        self._now = start
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._completions: list[Completion] = []
        self._serial = count()

    # ---- what the crew asks for

    def now(self) -> float:
        """Seconds on the virtual clock."""
        return self._now

    def set_target_sizes(self, sizes: Mapping[str, int]) -> None:
        """This cluster does not grow."""

    def start_actor(self, pool: str) -> tuple[SimulatedActor, object]:
        """On the node with the fewest actors."""
        node = min(sorted(self.nodes), key=lambda node: self._actors_on[node])
        self._actors_on[node] += 1
        name = f"{pool} {next(self._serial)}"
        actor = SimulatedActor(pool, name, node, task_ref=object())
        self.actors.append(actor)
        self.at(self.load_seconds(actor), lambda: self._loaded(actor))
        return actor, actor.task_ref

    def kill_actor(self, handle: SimulatedActor) -> None:
        """Its calls are told of later; a call that comes after its death, likewise."""
        if handle.dead:
            return
        handle.dead = True
        self.actors.remove(handle)
        self._actors_on[handle.node] -= 1
        if not handle.ready:
            self._tell_of_death(handle.task_ref, handle)
        for running in handle.calls:
            assert running.task is not None
            self.task_failed(running.task)
            running.task = None
            self._tell_of_death(running.task_ref, handle)
        handle.calls.clear()

    def submit_actor_task(self, handle: SimulatedActor, task: Task) -> object:
        """Queue a call on an actor."""
        running = SimulatedTask(object(), task)
        if handle.dead:
            self.task_failed(task)
            self._tell_of_death(running.task_ref, handle)
        else:
            handle.calls.append(running)
            if len(handle.calls) == 1:
                self._begin(handle)
        return running.task_ref

    def submit_file_task(self, task: Task) -> object:
        """Encode on any node, commit on the driver's."""
        running = SimulatedTask(object(), task)
        nodes = sorted(self.nodes)
        commits = task.call.stage is Stage.COMMIT
        self.tasks[running] = DRIVER_NODE if commits else nodes[next(self._serial) % len(nodes)]
        error = self._lost_input(task)
        running.seconds = self.times.tell_of_a_lost_input if error else self.file_seconds(task)
        self.at(running.seconds, lambda: self._files_handled(running, error))
        return running.task_ref

    def wait(self, timeout_seconds: float) -> list[Completion]:
        """Let time pass until something comes back."""
        until = self._now + timeout_seconds
        while not self._completions and self._events and self._events[0][0] <= until:
            self._step()
        if not self._completions:
            self._now = until
            return []
        while self._events and self._events[0][0] <= self._now:
            self._step()
        answers, self._completions = self._completions, []
        return sorted(answers, key=lambda completion: completion.error is not None)

    # ---- what can go wrong

    def kill_node(self, node: int) -> None:
        """Take a node with its actors, its tasks, and what is stored there; a new one joins."""
        for actor in [actor for actor in self.actors if actor.node == node]:
            self.kill_actor(actor)
        for running in [running for running, where in self.tasks.items() if where == node]:
            del self.tasks[running]
            assert running.task is not None
            self.task_failed(running.task)
            running.task = None
            self._tell_later(running.task_ref, TaskError(ErrorKind.NODE_LOST, f"node {node} died"))
        there = [ref for ref in self.store if ref.node == node]
        for ref in sorted(there, key=lambda ref: ref.serial):
            self.lose(ref)
        self.nodes.remove(node)
        self.nodes.add(max(self.nodes) + 1)

    def lose(self, ref: SimulatedRef) -> None:
        """A thing in the store is gone; its reference is not told."""
        ref.gone = True

    def load_seconds(self, actor: SimulatedActor) -> float:
        """From an actor's start until it has its model."""
        return self.times.load

    def outcome(self, actor: SimulatedActor, task: Task) -> tuple[float, TaskError | None]:
        """How a call that begins now will end: seconds, and trouble or None."""
        return actor.slowness * self.times.batch[actor.pool], None

    def file_seconds(self, task: Task) -> float:
        """How long pictures take to be encoded, or a part to be written."""
        return self.times.files

    def file_outcome(self, task: Task) -> TaskError | None:
        """The same for files."""
        return None

    def task_failed(self, task: Task) -> None:
        """A call has failed, whatever the reason; for those who count."""

    def deliver(self, completion: Completion) -> None:
        """What is delivered comes out of `wait`."""
        self._completions.append(completion)

    # ---- how time passes

    def at(self, seconds_from_now: float, action: Callable[[], None]) -> None:
        """Have something happen."""
        heappush(self._events, (self._now + seconds_from_now, next(self._serial), action))

    def drain(self) -> None:
        """Let everything happen that is still to come; nobody listens."""
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
        seconds = self.times.tell_of_a_lost_input
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
            self._tell(running.task_ref, error)
        running.task = None
        # Delivering may have been the end of it.
        if actor.calls and not actor.dead:
            self._begin(actor)

    def _files_handled(self, running: SimulatedTask, error: TaskError | None) -> None:
        if running.task is None:
            return
        node = self.tasks.pop(running)
        error = error or self.file_outcome(running.task)
        if error is None:
            self.deliver(self._carried_out(running, node))
        else:
            self.task_failed(running.task)
            self._tell(running.task_ref, error)
        running.task = None

    def _lost_input(self, task: Task) -> TaskError | None:
        gone = next((ref for ref in task.inputs if ref.gone), None)
        return gone and TaskError(ErrorKind.OBJECT_LOST, "its node died", lost=gone)

    def _tell_of_death(self, task_ref: object, actor: SimulatedActor) -> None:
        self._tell_later(task_ref, TaskError(ErrorKind.DIED, f"{actor.name} died"))

    def _tell_later(self, task_ref: object, error: TaskError) -> None:
        self.at(self.times.tell_of_a_death, lambda: self._tell(task_ref, error))

    def _tell(self, task_ref: object, error: TaskError) -> None:
        self.deliver(Completion(task_ref, error=error))

    # ---- what the models make

    def _carried_out(self, running: SimulatedTask, node: int) -> Completion:
        task = running.task
        assert task is not None
        if task.call.stage is Stage.COMMIT:
            return Completion(running.task_ref, self.commit(task))
        made = _made(task)
        outputs = [
            SimulatedRef(rows, task.owner.part.index, task.call, output, node, next(self._serial))
            for output, rows in zip(OUTPUTS[task.call.stage], made, strict=False)
        ]
        self.store.update(outputs)
        facts = self.facts(task, running.seconds)
        scores = task.call.stage in (Stage.SCORE_DRAWN, Stage.SCORE_REFINED)
        return Completion(running.task_ref, (made[0], facts) if scores else facts, outputs)

    def facts(self, task: Task, seconds: float) -> CallFacts:
        """What the driver learns of a call that took `seconds`."""
        rows, stage = len(task.call.rows), task.call.stage
        stored = (rows,) * len(OUTPUTS.get(stage, ()))
        return CallFacts(rows, seconds, stored, EVALUATIONS.get(stage, 0))

    def commit(self, task: Task) -> dict[str, Any]:
        """Write a part: the tuples of its rows; returns the record."""
        files = [ref.rows for ref in task.inputs]
        results = [result for result in task.results if result]
        assert len(results) == len(task.results), "no part is retried here"

        def file(pick: tuple[int, int] | None) -> Any:
            return pick and files[pick[0]][pick[1]]

        self.committed[task.owner.part.index] = [
            (r.seed, r.student_score, r.teacher_score, r.source, r.nfe, r.error,
             file(r.image), file(r.student_image))
            for r in results
        ]  # fmt: skip
        return {
            "part": task.owner.part.index,
            "rows": len(results),
            "refined": sum(result.teacher_score is not None for result in results),
            "failed": sum(result.error is not None for result in results),
        }


def _made(task: Task) -> list[list[Any]]:
    """What a call makes of each row: tuples that name the row's seed and what it was made from."""
    contents = [ref.rows for ref in task.inputs]
    taken = [contents[which][row] for which, row in task.picks]
    match task.call.stage:
        case Stage.DRAW:
            draws = range(task.owner.cascade.rules.draws)
            rows = zip(task.seeds, task.prompts, strict=True)
            drawn = [(*row, which) for row in rows for which in draws]
            return [[("latents", *each) for each in drawn], [("drawn", *each) for each in drawn]]
        case Stage.REFINE:
            starts = taken or [None] * len(task.seeds)
            return [[("refined", *pair) for pair in zip(task.seeds, starts, strict=True)]]
        case Stage.SCORE_DRAWN | Stage.SCORE_REFINED:
            return [[crc32(repr(picture).encode()) / 2**32 for picture in taken]]
        case _:
            return [[("file", picture) for picture in taken]]

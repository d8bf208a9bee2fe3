"""The crew's hands on a virtual clock: actors, nodes and an object store that cost nothing.

The runner, the crew, the pools and the cascades are the real ones. What is done for them takes as
long as `Times` says, on a clock that jumps from event to event, and the pictures are tuples that
name what they were made from: a run's result can be compared with another's, down to each row.

    hands = SimulatedHands(Times(), num_nodes=3)
    with Crew(job, hands, sizes, task_slots=2) as crew:
        Runner(job).run(crew, job.rules(threshold))

Things can be broken: `kill_actor`, `kill_node`, `lose`, and what a subclass adds
(`tests.simulation.faults`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any
from weakref import WeakSet
from zlib import crc32

import pyarrow as pa

from actors.facts import CallFacts
from actors.refinement import Refinement
from jobs.execution.calls import OUTPUTS, Call, Output, Stage
from jobs.execution.executor import Answer, Kind, Trouble, Work
from jobs.input.prompts import Part, Prompts
from jobs.output.folder import OutputFolder
from jobs.resolve import Job
from jobs.spec.job_spec import JobSpec

DRIVER_NODE = 0
"""Commits run here; if it dies, so does the driver."""

EVALUATIONS = {Stage.DRAW: 1, Stage.REFINE: 2}
"""Network evaluations of a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds. `rows_at_once` rows take as long as a full batch: batches are padded."""

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
class Asked:
    """A call on its way. `work` is dropped, with the references in it, when it is over."""

    ticket: object
    work: Work | None
    seconds: float = 0.0
    """That the call takes, once it has begun."""


@dataclass(eq=False, slots=True)
class SimulatedActor:
    """`slowness` multiplies its times. `calls`: the oldest is being worked on."""

    pool: str
    name: str
    node: int
    ticket: object
    ready: bool = False
    dead: bool = False
    slowness: float = 1.0
    calls: deque[Asked] = field(default_factory=deque)


class SimulatedHands:
    """See `jobs.execution.executor.Hands`."""

    def __init__(self, times: Times, num_nodes: int, start: float = 0.0) -> None:
        """`start`: what the clock says at the beginning, in seconds."""
        self.times = times
        self.nodes = set(range(num_nodes))
        self.actors: list[SimulatedActor] = []
        self._actors_on: Counter[int] = Counter()
        self.tasks: dict[Asked, int] = {}
        """Files being handled, with the node that does it."""
        self.store: WeakSet[SimulatedRef] = WeakSet()
        self.committed: dict[int, list[tuple[Any, ...]]] = {}
        """By part: what its rows became."""
        self._now = start
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._answers: list[Answer] = []
        self._serial = count()

    # ---- what the crew asks for

    def now(self) -> float:
        """Seconds on the virtual clock."""
        return self._now

    def want_actors(self, sizes: Mapping[str, int]) -> None:
        """This cluster does not grow."""

    def start_actor(self, pool: str) -> tuple[SimulatedActor, object]:
        """On the node with the fewest actors."""
        node = min(sorted(self.nodes), key=lambda node: self._actors_on[node])
        self._actors_on[node] += 1
        name = f"{pool} {next(self._serial)}"
        actor = SimulatedActor(pool, name, node, ticket=object())
        self.actors.append(actor)
        self.at(self.load_seconds(actor), lambda: self._loaded(actor))
        return actor, actor.ticket

    def kill_actor(self, handle: SimulatedActor) -> None:
        """Its calls are told of later; a call that comes after its death, likewise."""
        if handle.dead:
            return
        handle.dead = True
        self.actors.remove(handle)
        self._actors_on[handle.node] -= 1
        if not handle.ready:
            self._tell_of_death(handle.ticket, handle)
        for asked in handle.calls:
            assert asked.work is not None
            self.went_wrong(asked.work)
            asked.work = None
            self._tell_of_death(asked.ticket, handle)
        handle.calls.clear()

    def ask_actor(self, handle: SimulatedActor, work: Work) -> object:
        """Queue a call on an actor."""
        asked = Asked(object(), work)
        if handle.dead:
            self.went_wrong(work)
            self._tell_of_death(asked.ticket, handle)
        else:
            handle.calls.append(asked)
            if len(handle.calls) == 1:
                self._begin(handle)
        return asked.ticket

    def handle_files(self, work: Work) -> object:
        """Encode on any node, commit on the driver's."""
        asked = Asked(object(), work)
        nodes = sorted(self.nodes)
        commits = work.call.stage is Stage.COMMIT
        self.tasks[asked] = DRIVER_NODE if commits else nodes[next(self._serial) % len(nodes)]
        trouble = self._lost_input(work)
        asked.seconds = self.times.tell_of_a_lost_input if trouble else self.file_seconds(work)
        self.at(asked.seconds, lambda: self._files_handled(asked, trouble))
        return asked.ticket

    def wait(self, timeout_seconds: float) -> list[Answer]:
        """Let time pass until something comes back."""
        until = self._now + timeout_seconds
        while not self._answers and self._events and self._events[0][0] <= until:
            self._step()
        if not self._answers:
            self._now = until
            return []
        while self._events and self._events[0][0] <= self._now:
            self._step()
        answers, self._answers = self._answers, []
        return sorted(answers, key=lambda answer: answer.trouble is not None)

    # ---- what can go wrong

    def kill_node(self, node: int) -> None:
        """Take a node with its actors, its tasks, and what is stored there; a new one joins."""
        for actor in [actor for actor in self.actors if actor.node == node]:
            self.kill_actor(actor)
        for asked in [asked for asked, where in self.tasks.items() if where == node]:
            del self.tasks[asked]
            assert asked.work is not None
            self.went_wrong(asked.work)
            asked.work = None
            self._tell_later(asked.ticket, Trouble(Kind.UNLUCKY, f"node {node} died"))
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

    def outcome(self, actor: SimulatedActor, work: Work) -> tuple[float, Trouble | None]:
        """How a call that begins now will end: seconds, and trouble or None."""
        return actor.slowness * self.times.batch[actor.pool], None

    def file_seconds(self, work: Work) -> float:
        """How long pictures take to be encoded, or a part to be written."""
        return self.times.files

    def files_outcome(self, work: Work) -> Trouble | None:
        """The same for files."""
        return None

    def went_wrong(self, work: Work) -> None:
        """A call has failed, whatever the reason; for those who count."""

    def deliver(self, answer: Answer) -> None:
        """What is delivered comes out of `wait`."""
        self._answers.append(answer)

    # ---- how time passes

    def at(self, seconds_from_now: float, action: Callable[[], None]) -> None:
        """Have something happen."""
        heappush(self._events, (self._now + seconds_from_now, next(self._serial), action))

    def drain(self) -> None:
        """Let everything happen that is still to come; nobody listens."""
        while self._events:
            self._step()
        self._answers.clear()

    def _step(self) -> None:
        self._now, _, action = heappop(self._events)
        action()

    # ---- actors

    def _loaded(self, actor: SimulatedActor) -> None:
        if not actor.dead:
            actor.ready = True
            self.deliver(Answer(actor.ticket))

    def _begin(self, actor: SimulatedActor) -> None:
        asked = actor.calls[0]
        assert asked.work is not None
        trouble = self._lost_input(asked.work)
        seconds = self.times.tell_of_a_lost_input
        if trouble is None:
            seconds, trouble = self.outcome(actor, asked.work)
        asked.seconds = seconds
        self.at(seconds, lambda: self._ended(actor, asked, trouble))

    def _ended(self, actor: SimulatedActor, asked: Asked, trouble: Trouble | None) -> None:
        if asked.work is None:
            return  # the actor died meanwhile
        actor.calls.popleft()
        if trouble is None:
            self.deliver(self._carried_out(asked, actor.node))
        else:
            self.went_wrong(asked.work)
            self._tell(asked.ticket, trouble)
        asked.work = None
        # Delivering may have been the end of it.
        if actor.calls and not actor.dead:
            self._begin(actor)

    def _files_handled(self, asked: Asked, trouble: Trouble | None) -> None:
        if asked.work is None:
            return
        node = self.tasks.pop(asked)
        trouble = trouble or self.files_outcome(asked.work)
        if trouble is None:
            self.deliver(self._carried_out(asked, node))
        else:
            self.went_wrong(asked.work)
            self._tell(asked.ticket, trouble)
        asked.work = None

    def _lost_input(self, work: Work) -> Trouble | None:
        gone = next((ref for ref in work.inputs if ref.gone), None)
        return gone and Trouble(Kind.INPUT_LOST, "its node died", lost=gone)

    def _tell_of_death(self, ticket: object, actor: SimulatedActor) -> None:
        self._tell_later(ticket, Trouble(Kind.DIED, f"{actor.name} died"))

    def _tell_later(self, ticket: object, trouble: Trouble) -> None:
        self.at(self.times.tell_of_a_death, lambda: self._tell(ticket, trouble))

    def _tell(self, ticket: object, trouble: Trouble) -> None:
        self.deliver(Answer(ticket, trouble=trouble))

    # ---- what the models make

    def _carried_out(self, asked: Asked, node: int) -> Answer:
        work = asked.work
        assert work is not None
        if work.call.stage is Stage.COMMIT:
            return Answer(asked.ticket, self.commit(work))
        made = _made(work)
        outputs = [
            SimulatedRef(rows, work.owner.part.index, work.call, output, node, next(self._serial))
            for output, rows in zip(OUTPUTS[work.call.stage], made, strict=False)
        ]
        self.store.update(outputs)
        facts = self.facts(work, asked.seconds)
        scores = work.call.stage in (Stage.SCORE_DRAWN, Stage.SCORE_REFINED)
        return Answer(asked.ticket, (made[0], facts) if scores else facts, outputs)

    def facts(self, work: Work, seconds: float) -> CallFacts:
        """What the driver learns of a call that took `seconds`."""
        rows, stage = len(work.call.rows), work.call.stage
        stored = (rows,) * len(OUTPUTS.get(stage, ()))
        return CallFacts(rows, seconds, stored, EVALUATIONS.get(stage, 0))

    def commit(self, work: Work) -> dict[str, Any]:
        """Write a part: the tuples of its rows; returns the record."""
        files = [ref.rows for ref in work.inputs]
        results = [result for result in work.results if result]
        assert len(results) == len(work.results), "no part is retried here"

        def file(pick: tuple[int, int] | None) -> Any:
            return pick and files[pick[0]][pick[1]]

        self.committed[work.owner.part.index] = [
            (r.seed, r.student_score, r.teacher_score, r.source, r.nfe, r.error,
             file(r.image), file(r.student_image))
            for r in results
        ]  # fmt: skip
        return {
            "part": work.owner.part.index,
            "rows": len(results),
            "refined": sum(result.teacher_score is not None for result in results),
            "failed": sum(result.error is not None for result in results),
        }


def _made(work: Work) -> list[list[Any]]:
    """What a call makes of each row: tuples that name the row's seed and what it was made from."""
    contents = [ref.rows for ref in work.inputs]
    taken = [contents[which][row] for which, row in work.picks]
    match work.call.stage:
        case Stage.DRAW:
            draws = range(work.owner.cascade.rules.draws)
            rows = zip(work.seeds, work.prompts, strict=True)
            drawn = [(*row, which) for row in rows for which in draws]
            return [[("latents", *each) for each in drawn], [("drawn", *each) for each in drawn]]
        case Stage.REFINE:
            starts = taken or [None] * len(work.seeds)
            return [[("refined", *pair) for pair in zip(work.seeds, starts, strict=True)]]
        case Stage.SCORE_DRAWN | Stage.SCORE_REFINED:
            return [[crc32(repr(picture).encode()) / 2**32 for picture in taken]]
        case _:
            return [[("file", picture) for picture in taken]]


class SimulatedPrompts(Prompts):
    """Rows without a file. Row n's seed is n."""

    def __init__(self, spec: JobSpec, num_rows: int, unusable: frozenset[int]) -> None:
        self.spec = spec
        self.num_rows = num_rows
        self._unusable = unusable

    def parts(self, first: int = 0) -> Iterator[Part]:
        """The parts from number `first` on, in order."""
        size = self.spec.rows_per_part
        for index in range(first, self.num_parts):
            rows = range(index * size, min(self.num_rows, (index + 1) * size))
            unusable = {
                row - rows[0]: "the prompt is empty" for row in self._unusable if row in rows
            }
            yield Part(index, rows[0], pa.table({}), self.texts(rows), rows, unusable)

    def texts(self, rows: range) -> Sequence[str]:
        """The rows' prompts."""
        return [f"prompt {row}" for row in rows]

    def sample(self, num_rows: int) -> Part:
        """Rows spread evenly; none of them unusable."""
        count = min(num_rows, self.num_rows)
        rows = [self.num_rows * place // count for place in range(count)]
        return Part(0, 0, pa.table({}), [f"prompt {row}" for row in rows], rows, {})


class SimulatedOutput(OutputFolder):
    """Records in memory; they outlive the driver."""

    def __init__(self) -> None:
        super().__init__("simulated")
        self.kept: dict[int, dict[str, Any]] = {}
        self.timeline: list[Mapping[str, Any]] = []
        self.job: dict[str, Any] | None = None
        """What job.json says, if anybody has calibrated."""

    def records(self) -> dict[int, dict[str, Any]]:
        """The records of the finished parts, by part number."""
        return dict(self.kept)

    def read_job(self) -> dict[str, Any] | None:
        """As job.json, if it were a file."""
        return self.job

    def add_to_timeline(self, entry: Mapping[str, Any]) -> None:
        """Remember an event."""
        self.timeline.append(entry)

    def check_there(self) -> None:
        """Memory does not vanish."""


def simulated_job(spec: JobSpec, num_rows: int, through: str, unusable: frozenset[int]) -> Job:
    """A job that has no files and needs none."""
    refinement = Refinement(spec.strategy, 0.6, 2, through)  # type: ignore[arg-type]
    return Job(spec, SimulatedPrompts(spec, num_rows, unusable), SimulatedOutput(), refinement, {})

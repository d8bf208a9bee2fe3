"""The interface by which the dispatcher starts actors, submits tasks, waits and kills.

There are two kinds of executors: on Ray (`jobs.execution.ray_executor`), and on a virtual clock
(`jobs.simulation.executor`). Every decision is made on this side of them, by the dispatcher and
`actors.pool`, and so it is the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from actors.refinement import SAME_FOR_ALL, RowOptions
from jobs.execution.active_part import ActivePart, Ref, picks
from jobs.execution.calls import Call
from jobs.execution.resources import Resources
from jobs.execution.stages import STAGES
from jobs.output.columns import RowResult

Handle = Any
"""Stands for an actor."""


class ErrorKind(Enum):
    """The ways in which a task can fail."""

    RAISED = auto()
    OUT_OF_MEMORY = auto()
    """The device has no room for so many rows at once."""
    OBJECT_LOST = auto()
    """An input is no longer in the object store; the task did not begin."""
    DIED = auto()
    """Its process is gone."""
    UNREACHABLE = auto()
    """Its actor cannot be reached: its node is gone, or, seldom, its process alone."""
    EVICTED = auto()
    """Its node ran out of main memory, and the node's memory monitor killed its process."""
    NODE_LOST = auto()
    """Its node is gone."""
    NODE_FULL = auto()
    """The object store of its node had no place for its outputs; its process lives."""


GONE = frozenset((ErrorKind.DIED, ErrorKind.UNREACHABLE, ErrorKind.EVICTED, ErrorKind.NODE_LOST))
"""After these the process is gone: an actor's with every task that it had."""

WITH_NODE = frozenset((ErrorKind.UNREACHABLE, ErrorKind.NODE_LOST))
"""After these an actor's node is gone too, which says nothing against the actor or its model."""


@dataclass(frozen=True, slots=True)
class TaskError:
    """Why a task failed. `lost`: the input that is gone, where that is known."""

    kind: ErrorKind
    reason: str
    lost: Ref = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A task is over. `error`: None if it succeeded.

    `outputs`: references to what the task left in the object store, in the order of the stage's
    outputs. `value`: (scores, CallFacts) of an oracle, a part's record of a commit, None of an
    actor that has loaded, CallFacts of everything else.
    """

    task_ref: Ref
    value: Any = None
    outputs: Sequence[Ref] = ()
    error: TaskError | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A call with all that it takes.

    `inputs`: by reference, the call that made it. `micro_batch_size`: rows that an actor computes
    together. The properties are computed when they are read: a simulation reads few of them.
    """

    owner: ActivePart
    call: Call
    inputs: dict[Ref, Call] = field(default_factory=dict)
    micro_batch_size: int = 0
    make_results: Callable[[], Sequence[RowResult | None]] = tuple

    @property
    def arguments(self) -> list[Any]:
        """The arguments of an actor's method before the references, by the table of stages."""
        return [getattr(self, name) for name in STAGES[self.call.stage].arguments]

    @property
    def results(self) -> Sequence[RowResult | None]:
        """Of a commit: what each row becomes."""
        return self.make_results()

    @property
    def picks(self) -> list[tuple[int, int]]:
        """For each row, which of `inputs` it takes and which row of it; of a SCORE_DRAWN, for each
        drawing of each row."""
        return picks(self.owner.cascade, self.call)

    @property
    def prompts(self) -> list[str]:
        """The rows' prompts."""
        return [self.owner.part.prompts[row] for row in self.call.rows]

    @property
    def slots(self) -> list[int] | None:
        """The rows' slots in their batch, of a SCORE_DRAWN those of the rows' drawings; None if
        they are 0, 1, 2 and on."""
        slots = self.call.slots
        if slots is None:
            return None
        draws = range(self._draws)
        return [slot * len(draws) + which for slot in slots for which in draws]

    @property
    def _draws(self) -> int:
        """The pictures of each row that the call takes: of a first drawing there may be several."""
        each = STAGES[self.call.stage].scores_each_draw and self.call.attempt == 0
        return self.owner.cascade.rules.draws if each else 1

    @property
    def targets(self) -> list[str]:
        """For each picture to be scored, the text that it should fit: the prompt, or the target."""
        part = self.owner.part
        texts = [(part.targets or part.prompts)[row] for row in self.call.rows]
        draws = self._draws
        return texts if draws == 1 else [text for text in texts for _ in range(draws)]

    @property
    def negatives(self) -> list[str] | None:
        """The rows' negative prompts, where the job has them and the stage draws."""
        negatives = self.owner.part.negatives
        if negatives is None or not STAGES[self.call.stage].takes_images:
            return None
        return [negatives[row] for row in self.call.rows]

    @property
    def options(self) -> RowOptions:
        """What the rows of the call have of their own, all of them the same."""
        options = self.owner.part.options.get(STAGES[self.call.stage].pool)
        return options[self.call.rows[0]] if options else SAME_FOR_ALL

    @property
    def images(self) -> list[Any] | None:
        """The rows' own pictures, for the stages that take them: bytes of files, or paths."""
        images = self.owner.part.images
        if images is None or not STAGES[self.call.stage].takes_images:
            return None
        return [images[row] for row in self.call.rows]

    @property
    def seeds(self) -> list[int]:
        """The rows' seeds."""
        return [self.owner.part.seeds[row] for row in self.call.rows]


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The cluster at one moment: what it has, what of it is free, and who has no place in it.

    `waiting`: of the actors that were asked for, those for which no node has had room so far.
    `share`: the GPUs that are this job's, where other jobs run on the cluster; None without them.
    `neighbours`: those jobs, for people.
    """

    have: Resources
    free: Resources
    waiting: frozenset[Handle] = frozenset()
    share: int | None = None
    neighbours: str = ""


class Executor(Protocol):
    """References go out with the tasks; only small facts come back.

    A task reference is hashable and stands for one task. A completion may come late, when its actor
    has been replaced, or twice: the dispatcher knows which references it waits for.
    """

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def set_target_sizes(self, sizes: Mapping[str, int]) -> None:
        """The wanted number of actors of each pool, whenever it changes.

        `start_actor` and `kill_actor` follow; a cluster that can grow prepares for them here.
        """
        ...

    def look(self, unloaded: Collection[Handle]) -> ClusterView | None:
        """The cluster as it is now, and which of the actors that have not loaded wait for a place.

        None: the cluster has room for all that fits, and stays as it is.
        """
        ...

    def holds(self, gpus: int) -> None:
        """The job's actors have so many GPUs now: the other jobs on the cluster learn it."""
        ...

    def has_news(self) -> bool:
        """Whether jobs came to the cluster or went, since this was asked last."""
        ...

    def start_actor(self, pool: str) -> tuple[Handle, Ref]:
        """Start an actor of a pool; the task completes when it has loaded.

        The error is RAISED for a model that cannot be loaded, one of GONE for a killed actor.
        """
        ...

    def kill_actor(self, handle: Handle) -> None:
        """Stop an actor at once, dead or alive."""
        ...

    def leave_actors(self, handles: Collection[Handle]) -> Collection[Handle]:
        """The job ends, and these actors are in good order; returns those that stay, loaded, for
        the next job. The others are to be killed."""
        ...

    def submit_actor_task(self, handle: Handle, task: Task) -> Ref:
        """Give an actor a task; it runs its tasks one by one, in order. Returns the reference."""
        ...

    def submit_file_task(self, task: Task) -> Ref:
        """Encode pictures, or write a part, on some node. Returns the reference."""
        ...

    def wait(self, timeout_seconds: float) -> list[Completion]:
        """All completions that are there: at least one, or none at the timeout; successes first."""
        ...

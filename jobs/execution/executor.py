"""What the crew has done for it: start an actor, ask it, handle files, wait, kill.

Two have such hands: Ray (`jobs.execution.ray_executor`), and a virtual clock
(`jobs.simulation.executor`). All that decides is on this side of them, in
`jobs.execution.dispatcher` and `actors.pool`, and so it is the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from jobs.execution.active_part import ActivePart, Ref, picks
from jobs.execution.calls import Call, Stage
from jobs.output.columns import RowResult

Handle = Any
"""What stands for an actor."""


class ErrorKind(Enum):
    """How a call can end that does not end well."""

    RAISED = auto()
    OUT_OF_MEMORY = auto()
    """The device has no room for so many rows at once."""
    OBJECT_LOST = auto()
    """An input is no longer in the object store; the call did not begin."""
    DIED = auto()
    """Its actor is gone, with every call that it had."""
    NODE_LOST = auto()
    """Its node is gone, and it was no actor's."""


@dataclass(frozen=True, slots=True)
class TaskError:
    """Why a call has no answer. `lost`: the input that is gone, where that is known."""

    kind: ErrorKind
    reason: str
    lost: Ref = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back for a ticket.

    `outputs`: references to what the call left in the object store, in the order of
    `calls.OUTPUTS`. `value`: (scores, CallFacts) of an oracle, a part's record of a commit,
    None of an actor that has loaded, CallFacts of everything else.
    """

    task_ref: Ref
    value: Any = None
    outputs: Sequence[Ref] = ()
    error: TaskError | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A call with all that it takes.

    `inputs`: by reference, the call that made it. `micro_batch_size`: rows that an actor computes
    together. What is more than that is worked out for those who ask.
    """

    owner: ActivePart
    call: Call
    inputs: dict[Ref, Call] = field(default_factory=dict)
    micro_batch_size: int = 0
    make_results: Callable[[], Sequence[RowResult | None]] = tuple

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
        """The rows' prompts, or for the oracle their targets; of a SCORE_DRAWN, one a drawing."""
        part = self.owner.part
        scores = self.call.stage in (Stage.SCORE_DRAWN, Stage.SCORE_REFINED)
        texts = part.targets if scores and part.targets else part.prompts
        prompts = [texts[row] for row in self.call.rows]
        draws = self.owner.cascade.rules.draws
        if draws == 1 or self.call.stage is not Stage.SCORE_DRAWN:
            return prompts
        return [prompt for prompt in prompts for _ in range(draws)]

    @property
    def images(self) -> list[Any] | None:
        """The rows' own pictures, for those calls that take them: bytes of files, or paths."""
        images = self.owner.part.images
        if images is None or self.call.stage not in (Stage.DRAW, Stage.REFINE):
            return None
        return [images[row] for row in self.call.rows]

    @property
    def seeds(self) -> list[int]:
        """The rows' seeds."""
        return [self.owner.part.seeds[row] for row in self.call.rows]


class Executor(Protocol):
    """References go out with the work; only small facts come back.

    A ticket is hashable and stands for one call. An answer may come late, when its actor has been
    given up, or twice: the crew knows which tickets it waits for.
    """

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def set_target_sizes(self, sizes: Mapping[str, int]) -> None:
        """How many actors of each pool there should be, whenever that changes.

        `start_actor` and `kill_actor` follow; this is for hands whose cluster can grow for them.
        """
        ...

    def start_actor(self, pool: str) -> tuple[Handle, Ref]:
        """Start an actor of a pool; the ticket is answered when it has loaded.

        RAISED is the trouble with a model that cannot be loaded, DIED with a killed actor.
        """
        ...

    def kill_actor(self, handle: Handle) -> None:
        """Stop an actor at once, dead or alive."""
        ...

    def submit_actor_task(self, handle: Handle, task: Task) -> Ref:
        """Give an actor a call; it does its calls one by one, in order. Returns the ticket."""
        ...

    def submit_file_task(self, task: Task) -> Ref:
        """Encode pictures, or write a part, somewhere. Returns the ticket."""
        ...

    def wait(self, timeout_seconds: float) -> list[Completion]:
        """Everything that came back, at least one or none at the timeout; what ended well first."""
        ...

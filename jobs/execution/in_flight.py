"""The calls that an actor or a file task works on, by task reference."""

from __future__ import annotations

from dataclasses import dataclass

from actors.pool import PoolActor, PoolCall
from jobs.execution.active_part import Ref
from jobs.execution.executor import Task
from jobs.execution.stages import Stage


@dataclass(eq=False, kw_only=True, slots=True)
class SentCall(PoolCall):
    """A call under way. `actor`: None for a file task. `queue_seconds`: that it waited before it
    was sent, at `sent_at` on the executor's clock."""

    task: Task
    task_ref: Ref
    actor: PoolActor | None
    queue_seconds: float
    sent_at: float

    @property
    def actor_number(self) -> int | None:
        """The actor's number within its pool."""
        return None if self.actor is None else self.actor.number


class InFlight:
    """`drawing`, `file_tasks`, `commits`: how many of the calls draw, are file tasks, and are those
    of them that commit."""

    def __init__(self) -> None:
        self._sent: dict[Ref, SentCall] = {}
        self.drawing = 0
        self.file_tasks = 0
        self.commits = 0

    def __len__(self) -> int:
        return len(self._sent)

    def add(self, sent: SentCall) -> None:
        """A call is under way."""
        self._sent[sent.task_ref] = sent
        self._count(sent, 1)

    def pop(self, task_ref: Ref) -> SentCall | None:
        """A call is over; None if it is not, or no longer, one of these."""
        sent = self._sent.pop(task_ref, None)
        if sent:
            self._count(sent, -1)
        return sent

    def _count(self, sent: SentCall, by: int) -> None:
        if sent.actor is None:
            self.file_tasks += by
            self.commits += by * (sent.task.call.stage is Stage.COMMIT)
        elif sent.task.call.stage is Stage.DRAW:
            self.drawing += by

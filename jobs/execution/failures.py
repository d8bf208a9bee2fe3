"""The meaning of a failed call: who is at fault, which inputs are lost, which actor is replaced.

Errors of tasks go in, events for the cascades come out. A row's `error` is a function of the row:
hosts, processes, bytes and seconds are for the log.
"""

from __future__ import annotations

from actors.pool import Pool, PoolActor, PoolCall
from jobs.execution.active_part import ActivePart, Ref
from jobs.execution.actor_pools import ActorPools
from jobs.execution.calls import Call, Event, Failed, Lost
from jobs.execution.executor import ErrorKind, Task, TaskError
from jobs.execution.in_flight import InFlight, SentCall
from jobs.execution.object_store import ObjectStoreBudget
from jobs.execution.observers import CallFailed, MicroBatchHalved, Observers
from jobs.execution.stages import STAGES, OutputKind, Stage

PartEvent = tuple[ActivePart, Event]
"""An event, and the part whose cascade it is for."""

LOST_IN_THE_QUEUE = "an input was lost while the call waited"
DIED = "its actor died"
HUNG = "its actor did not answer in time"
ROW_REASONS = {
    ErrorKind.OUT_OF_MEMORY: "out of memory",
    ErrorKind.OBJECT_LOST: "its input was lost again and again",
    ErrorKind.DIED: "its worker died",
    ErrorKind.EVICTED: "its worker was killed for memory again and again",
    ErrorKind.NODE_LOST: "its node died again and again",
    ErrorKind.NODE_FULL: "its node had no room again and again",
}
"""A row's `error` after a call that failed so to the end; elsewhere the exception itself."""

NOBODYS_FAULT = frozenset((ErrorKind.EVICTED, ErrorKind.NODE_LOST, ErrorKind.NODE_FULL))
"""A call that fails so is made again, and uses up no attempt: it is the node that failed. The
memory monitor chooses whom it kills by age, not by need."""


class FailureHandler:
    """Decides with what the dispatcher knows: the pools, the calls in flight, the references."""

    def __init__(
        self,
        pools: ActorPools,
        in_flight: InFlight,
        budget: ObjectStoreBudget,
        observers: Observers,
    ) -> None:
        self._pools, self._in_flight = pools, in_flight
        self._budget, self._observers = budget, observers

    def call_failed(self, sent: SentCall, error: TaskError) -> list[PartEvent]:
        """A call came back with an error; its actor, if it has one, lives."""
        owner, call = sent.task.owner, sent.task.call
        owner.failures += 1
        owner.failed_commits += call.stage is Stage.COMMIT
        self._observers.notify(CallFailed(owner.part.index, call, error.kind, error.reason))
        blame = True
        events: list[PartEvent] = []
        if error.kind is ErrorKind.OBJECT_LOST:
            blame, events = False, self._lost(sent.task, error.lost)
        elif error.kind in NOBODYS_FAULT or self._halves_micro_batch(sent, error):
            blame = False
        elif sent.actor is not None:
            pool = self._pool_of(call)
            if self._pools.raised(pool, sent.actor, error.reason):
                events = self._given_up(sent.actor, DIED, at_fault=None)
        reason = ROW_REASONS.get(error.kind, error.reason)
        return [*events, (owner, Failed(call, reason, blame=blame))]

    def actor_died(self, sent: SentCall, error: TaskError) -> list[PartEvent]:
        """The actor of a call is gone, with every call that it had."""
        assert sent.actor is not None
        at_fault = self._pools.died(self._pool_of(sent.task.call), sent.actor, error)
        blamed = None if error.kind in NOBODYS_FAULT else at_fault
        return self._given_up(sent.actor, DIED, blamed)

    def replace_hung(self, now: float) -> list[PartEvent]:
        """Replace the actors that are at one call for too long."""
        events: list[PartEvent] = []
        for pool in self._pools.values():
            limit = pool.limit_seconds
            for actor in pool.hung(now):
                reason = f"no answer for {limit:.0f} s (call_timeout_seconds sets this limit)"
                hung = self._pools.hangs(pool, actor, reason)
                events += self._given_up(actor, HUNG, hung)
        return events

    def _pool_of(self, call: Call) -> Pool:
        return self._pools[STAGES[call.stage].pool]

    def _halves_micro_batch(self, sent: SentCall, error: TaskError) -> bool:
        """After the device ran out of memory: the same call, computed in smaller batches."""
        if error.kind is not ErrorKind.OUT_OF_MEMORY or sent.actor is None:
            return False
        pool, rows = self._pool_of(sent.task.call), sent.task.micro_batch_size
        before = pool.micro_batch_size
        halved = pool.ran_out_of_memory(rows)
        if pool.micro_batch_size < before:
            self._observers.notify(MicroBatchHalved(pool.name, rows, pool.micro_batch_size))
        return halved

    def _lost(self, task: Task, lost: Ref) -> list[PartEvent]:
        """Only the object that is gone is made again; all inputs, if Ray does not say which."""
        output = task.owner.cascade.outputs.input_of(task.call.step)
        gone = [lost] if lost in task.inputs else list(task.inputs)
        return [
            (task.owner, Lost(task.inputs[ref], output))
            for ref in gone
            if self._forget(task.owner, task.inputs[ref], output, ref)
        ]

    def _forget(self, owner: ActivePart, maker: Call, output: OutputKind, ref: Ref) -> bool:
        """Drop a lost reference; False if its object was made anew since, or released before."""
        if owner.refs.get((maker, output)) != ref:
            return False
        self._budget.release(owner, maker, output)
        return True

    def _given_up(
        self, actor: PoolActor, reason: str, at_fault: PoolCall | None
    ) -> list[PartEvent]:
        """Every call of an actor that is gone has failed; one of them may be the cause."""
        events: list[PartEvent] = []
        while actor.calls:
            # Taken out: call and actor refer to each other, and would keep the inputs in the store.
            sent = actor.calls.popleft()
            assert isinstance(sent, SentCall)
            self._in_flight.pop(sent.task_ref)
            owner, call = sent.task.owner, sent.task.call
            owner.failures += 1
            self._observers.notify(CallFailed(owner.part.index, call, ErrorKind.DIED, reason))
            events.append((owner, Failed(call, reason, blame=sent is at_fault)))
        return events

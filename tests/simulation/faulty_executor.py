"""A simulated executor that injects the faults of a plan, and counts the calls made again.

Each driver of a trial gets a `FaultyExecutor`; `trials.Trial` keeps what outlives the driver.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

from actors.errors import BottegaError
from actors.facts import CallFacts
from jobs.execution.calls import Call
from jobs.execution.executor import ClusterView, Completion, ErrorKind, Task, TaskError
from jobs.execution.resources import Resources
from jobs.execution.stages import FIRST_DRAWING, Stage, Step
from jobs.simulation.executor import (
    DRIVER_NODE,
    Durations,
    SimulatedActor,
    SimulatedExecutor,
    SimulatedRef,
    SimulatedTask,
)
from tests.simulation.fault_plans import POOLS, Fault, FaultKind
from tests.simulation.shared_gpus import Others, SharedGpus

if TYPE_CHECKING:
    from jobs.execution.dispatcher import Dispatcher
    from tests.simulation.trials import Trial

MAX_TURNS = 20_000
"""A trial whose runner waits more often has no end. Of the first 400
seeds the longest trial waited 5,519 times, and the longest without faults 1,128 times."""


class Ledger:
    """Counts how often each row went through each stage, and how often faults explain that.

    A failed call explains one more call like it. A lost object explains one more of the call that
    made it, and of the calls that made that call's inputs: those had been released.
    """

    def __init__(self) -> None:
        self.made: Counter[tuple[int, Step, int]] = Counter()
        self.explained: Counter[tuple[int, Step, int]] = Counter()

    def make(self, part: int, call: Call) -> None:
        self.made.update((part, call.step, row) for row in call.rows)

    def explain(self, part: int, call: Call) -> None:
        self.explained.update((part, call.step, row) for row in call.rows)

    def lost(self, part: int, call: Call) -> None:
        self.explain(part, call)
        for source in dict.fromkeys(call.sources):
            self.lost(part, source)

    def problems(self, most: int) -> list[str]:
        """The rows that went through a stage without an explanation, or more than `most` times."""
        found = []
        for key, times in self.made.items():
            part, step, row = key
            if times > 1 + self.explained[key]:
                found.append(
                    f"part {part} row {row}: {step} was done {times} times, and faults explain "
                    f"{1 + self.explained[key]}"
                )
            elif times > most:
                found.append(f"part {part} row {row}: {step} was done {times} times, over {most}")
        return found


class RestartError(Exception):
    """The driver has died."""


class FaultyExecutor(SimulatedExecutor):
    """The executor of one driver. The trial keeps what outlives it."""

    def __init__(self, trial: Trial, start: float) -> None:
        super().__init__(Durations(), trial.plan.job.num_nodes, start)
        self.trial = trial
        self.random = Random(f"{trial.plan.seed} {start}")
        self.ledger = Ledger()
        self.finished_before = set(trial.output.kept)
        self.over = False
        self.turns = 0
        self.dispatcher: Dispatcher | None = None
        self._suspects: set[SimulatedActor] = set()
        """Actors that the dispatcher may kill: something was wrong with them."""
        self._hanging: set[SimulatedActor] = set()
        self._raising: dict[SimulatedActor, float] = {}
        self._late: dict[object, float] = {}
        self._twice: dict[object, float] = {}
        self.gpus: SharedGpus | None = None
        if trial.capacity:
            self.gpus = SharedGpus(trial.gpus_left, trial.capacity.shares, super().place)
        for fault in trial.left:
            self.at(max(0.0, fault.at * trial.seconds - start), lambda f=fault: self._strike(f))  # type: ignore[misc]

    def log(self, text: str) -> None:
        self.trial.log(f"{self.now():8.2f} s  {text}")

    # ---- the executor's interface

    def wait(self, timeout_seconds: float) -> list[Completion]:
        self.turns += 1
        self._interact()
        if self.turns > MAX_TURNS:
            raise BottegaError(f"no end after {MAX_TURNS} turns")
        return super().wait(timeout_seconds)

    def start_actor(self, pool: str) -> tuple[SimulatedActor, object]:
        self._interact()
        actor, task_ref = super().start_actor(pool)
        self.log(f"{actor.name} starts on node {actor.node}")
        if (capacity := self.trial.capacity) and not capacity.fits(self._sizes()):
            self.trial.problem(f"{actor.name} was started and there is no GPU for it")
        return actor, task_ref

    def place(self, actor: SimulatedActor) -> None:
        if self.gpus is None:
            super().place(actor)
            return
        self.gpus.ask(actor)
        if actor in self.gpus.waiting:
            self.log(f"{actor.name} waits for a GPU")

    def look(self, unloaded: Collection[SimulatedActor]) -> ClusterView | None:
        if self.gpus is None:
            return None
        cpus = 8.0 * self.trial.plan.job.num_nodes
        return ClusterView(
            Resources(cpus, self.trial.gpus_left),
            Resources(cpus, self.gpus.free),
            frozenset(actor for actor in unloaded if actor in self.gpus.waiting),
        )

    def _sizes(self) -> Counter[str]:
        return Counter(actor.pool for actor in self.actors)

    def submit_actor_task(self, handle: SimulatedActor, task: Task) -> object:
        self._interact()
        self._count(task, handle.name)
        return super().submit_actor_task(handle, task)

    def submit_file_task(self, task: Task) -> object:
        self._interact()
        self._count(task, "files")
        return super().submit_file_task(task)

    def kill_actor(self, handle: SimulatedActor) -> None:
        if not self.over and not handle.dead:
            self.log(f"{handle.name} is killed by the dispatcher")
            dismissed = self.trial.may_dismiss and not handle.calls
            if handle not in self._suspects and not dismissed:
                self.trial.problem(f"{handle.name} was killed, and nothing was wrong with it")
        self._end(handle)

    def _end(self, actor: SimulatedActor) -> None:
        super().kill_actor(actor)
        if self.gpus is not None:
            self.gpus.leave(actor)

    def _count(self, task: Task, who: str) -> None:
        part = task.owner.part.index
        self.log(f"{who}: {task.call} of part {part}")
        self.ledger.make(part, task.call)
        self.trial.num_calls += 1
        self.trial.check_batch(part, task.call)
        if part in self.finished_before:
            self.trial.problem(f"part {part} was finished, and {task.call} was done for it again")

    def _interact(self) -> None:
        self.trial.interactions += 1
        if self.trial.restarts and self.trial.interactions >= self.trial.restarts[0]:
            self.trial.restarts.pop(0)
            self.log(FaultKind.RESTART)
            raise RestartError

    # ---- outcomes

    def outcome(self, actor: SimulatedActor, task: Task) -> tuple[float, TaskError | None]:
        seconds, _ = super().outcome(actor, task)
        seconds *= self.random.uniform(0.7, 1.3)
        if task.micro_batch_size > self.trial.memory.get(actor.pool, inf):
            return 0.1, TaskError(ErrorKind.OUT_OF_MEMORY, "out of memory")
        if actor in self._hanging:
            return inf, None
        if self._raising.get(actor, 0) > 0:
            self._raising[actor] -= 1
            return seconds / 2, TaskError(ErrorKind.RAISED, "a broken actor")
        match how := self._poison(task):
            case FaultKind.RAISE:
                self._suspects.add(actor)
                return seconds / 2, TaskError(ErrorKind.RAISED, "poison")
            case FaultKind.KILL_WORKING:
                self.at(seconds / 2, lambda: self._kill(actor, "poison"))
                return inf, None
            case FaultKind.HANG:
                self._suspects.add(actor)
                self.log(f"{actor.name} hangs: poison")
                return inf, None
        assert how is None
        return seconds, None

    def file_outcome(self, task: Task) -> TaskError | None:
        if self._poison(task):
            return TaskError(ErrorKind.RAISED, "poison")
        if task.call.stage is Stage.COMMIT and self.trial.failing_commits:
            kind = self.trial.failing_commits.pop()
            self.log(kind)
            if kind is FaultKind.COMMIT_UNREPORTED:
                self.commit(task)
            return TaskError(ErrorKind.RAISED, "no space left on device")
        return None

    def _poison(self, task: Task) -> FaultKind | None:
        """How the call's rows break it. By the rows' seeds, since a call's places may change."""
        return next(
            (
                poison.how
                for poison in self.trial.plan.job.poison
                if poison.stage is task.call.stage and poison.row in task.seeds
            ),
            None,
        )

    def facts(self, task: Task, seconds: float) -> CallFacts:
        facts, job = super().facts(task, seconds), self.trial.plan.job
        makes = task.call.stage is Stage.REFINE or (
            task.call.stage is Stage.DRAW and task.call.attempt > 0
        )
        if not makes or not job.not_finite & set(task.seeds):
            return facts
        places = [place for place, seed in enumerate(task.seeds) if seed in job.not_finite]
        self.log(f"the numbers are not finite: rows {places} of {task.call}")
        for place in places:
            # The first drawing may have been released, and is drawn again then.
            row, cascade = task.call.rows[place], task.owner.cascade
            self.ledger.explain(task.owner.part.index, cascade.made_by(FIRST_DRAWING, row))
        return replace(facts, permanent_failures=tuple((p, "not finite") for p in places))

    def task_failed(self, task: Task) -> None:
        self.ledger.explain(task.owner.part.index, task.call)

    def deliver(self, completion: Completion) -> None:
        if (seconds := self._late.pop(completion.task_ref, None)) is not None:
            self.at(seconds, lambda: super(FaultyExecutor, self).deliver(completion))
            return
        if (seconds := self._twice.pop(completion.task_ref, None)) is not None:
            self.at(seconds, lambda: super(FaultyExecutor, self).deliver(completion))
        super().deliver(completion)

    def commit(self, task: Task) -> dict[str, Any]:
        record = super().commit(task)
        self.trial.committed(record, self.committed[record["part"]])
        return record

    # ---- faults

    def _strike(self, fault: Fault) -> None:
        if self.over:
            return
        self.trial.left.remove(fault)
        match fault.kind:
            case FaultKind.KILL_NODE:
                nodes = sorted(self.nodes - {DRIVER_NODE})
                self.log(f"node {nodes[fault.pick % len(nodes)]} dies")
                self.kill_node(nodes[fault.pick % len(nodes)])
            case FaultKind.LOSE:
                stored = sorted((r for r in self.store if not r.gone), key=lambda r: r.serial)
                if stored:
                    self.lose(stored[fault.pick % len(stored)])
            case FaultKind.MEMORY:
                self.trial.memory[POOLS[fault.pick % 3]] = 1 + int(fault.size * 4)
                self.log(f"memory is short: {self.trial.memory}")
            case FaultKind.COMMIT | FaultKind.COMMIT_UNREPORTED:
                self.trial.failing_commits.append(fault.kind)
            case FaultKind.RESIZE:
                self._resize(fault)
            case FaultKind.EVICT:
                self._evict(fault)
            case FaultKind.OTHERS:
                self._others_come(fault)
            case FaultKind.GPU_LEAVES:
                self._gpu_leaves()
            case _:
                self._strike_actor(fault)

    def _resize(self, fault: Fault) -> None:
        """Resize the pools to sizes that fit: perhaps to none for a while, then to some again."""
        random, capacity = Random(fault.pick), self.trial.capacity
        for least, after in ((0, 0.0), (1, 40 * fault.size)):
            sizes = dict(zip(POOLS, self.trial.plan.job.sizes, strict=True))
            for _ in range(20):
                tried = {pool: random.randint(least, 3) for pool in POOLS}
                if capacity is None or capacity.fits(tried):
                    sizes = tried
                    break
            self.at(after, lambda sizes=sizes: self._resize_to(sizes))  # type: ignore[misc]

    def _others_come(self, fault: Fault) -> None:
        """Another job wants GPUs, up to all of them: for a while, or to the end and all but one."""
        if self.gpus is None or self.trial.others_stay:
            return
        stay, count = fault.size < 0.3, self.trial.gpus_left
        if stay and count == 1:
            return
        self.trial.others_stay = stay
        others = Others(1 + fault.pick % (count - stay))
        self.log(f"{fault.kind}: {others.wanted} of {count}")
        self.gpus.ask(others)
        shared = self.gpus
        if not stay:
            self.at(400 * fault.size, lambda: shared.others_leave(others))

    def _gpu_leaves(self) -> None:
        """A node with one GPU leaves for good, if another one stays."""
        if self.gpus is None or self.trial.others_stay or self.trial.gpus_left == 1:
            return
        self.trial.gpus_left -= 1
        gpu = self.trial.gpus_left
        self.log(f"{FaultKind.GPU_LEAVES}: {gpu}")
        del self.gpus.room[gpu]
        for actor in self.gpus.on(gpu):
            actor.death = ErrorKind.NODE_LOST
            self._suspects.add(actor)
            self._kill(actor, FaultKind.GPU_LEAVES)

    def _evict(self, fault: Fault) -> None:
        """Kill an actor or a file task, whichever the fault picks, as a memory monitor does."""
        running: list[SimulatedActor | SimulatedTask] = [*self.actors, *self.tasks]
        if not running:
            return
        victim = running[fault.pick % len(running)]
        if isinstance(victim, SimulatedActor):
            victim.death = ErrorKind.EVICTED
            self._kill(victim, fault.kind)
        else:
            self.log(fault.kind)
            self.kill_file_task(victim, TaskError(ErrorKind.EVICTED, fault.kind))

    def _resize_to(self, sizes: dict[str, int]) -> None:
        if self.dispatcher is not None and not self.over:
            self.log(f"the pools are resized: {sizes}")
            self.dispatcher.pools.resize(sizes)

    def _strike_actor(self, fault: Fault) -> None:
        wanted = {
            FaultKind.KILL_LOADING: lambda a: not a.ready,
            FaultKind.KILL_IDLE: lambda a: a.ready and not a.calls,
            FaultKind.KILL_BUSY: lambda a: len(a.calls) == 2,
        }.get(fault.kind, lambda a: bool(a.calls))
        fitting = [actor for actor in self.actors if wanted(actor)]
        if not fitting:
            return
        actor = fitting[fault.pick % len(fitting)]
        current = actor.calls[0] if actor.calls else None
        if "dies" in fault.kind:
            self._kill(actor, fault.kind)
            return
        self._suspects.add(actor)
        self.log(f"{actor.name}: {fault.kind}")
        match fault.kind:
            case FaultKind.SLOW:
                actor.slowness = 2 + 200 * fault.size**2
            case FaultKind.HANG:
                self._hanging.add(actor)
            case FaultKind.RAISE | FaultKind.RAISE_ALWAYS:
                self._raising[actor] = 1 if fault.kind is FaultKind.RAISE else inf
            case _:
                assert current is not None
                assert current.task is not None
                which = self._late if fault.kind is FaultKind.LATE else self._twice
                which[current.task_ref] = 200 * fault.size**2
                if fault.kind is FaultKind.LATE:
                    self.task_failed(current.task)

    def _kill(self, actor: SimulatedActor, why: str) -> None:
        if not actor.dead:
            self.log(f"{actor.name} dies: {why}")
            self._end(actor)

    def kill_node(self, node: int) -> None:
        self._suspects |= {actor for actor in self.actors if actor.node == node}
        super().kill_node(node)

    def lose(self, ref: SimulatedRef) -> None:
        if not ref.gone:
            self.log(f"the {ref.output} of {ref.call} of part {ref.part} are lost")
            self.ledger.lost(ref.part, ref.call)
        super().lose(ref)

"""The executor on Ray: actors of three classes, plain tasks for files.

It fetches only small facts: scores, seconds, records. Pictures and latents go from actor to actor.
Actors have `max_restarts=0` and `max_task_retries=0`, tasks `max_retries=0`: Ray repeats nothing
behind our back.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic, sleep
from typing import Any, NamedTuple, NoReturn

import ray
from ray import ObjectRef
from ray.exceptions import RayError

from actors.actor_classes import actor_classes
from actors.counted import counted
from actors.errors import JobError
from jobs.execution.executor import ClusterView, Completion, Task
from jobs.execution.file_nodes import FileNodes
from jobs.execution.neighbours import Neighbours
from jobs.execution.node_requester import JobsRequest
from jobs.execution.outputs import attempts_of
from jobs.execution.ray_errors import task_error
from jobs.execution.resources import Resources, free_nodes
from jobs.execution.stages import STAGES, Stage, stages_of
from jobs.execution.warm_actor import kept
from jobs.execution.warm_pools import WarmPools
from jobs.output.encode import encode
from jobs.output.patience import commit_part, patience_of_try
from jobs.output.score_columns import score_columns
from jobs.resolution import Job
from jobs.scaling.initial_sizes import PoolPlan, PoolPlans
from jobs.scaling.node_requests import NodeRequest
from jobs.scaling.warm_actors import idle_by_node

log = logging.getLogger("bottega.dispatcher")


LIVENESS_SECONDS = 0.5
"""Between two looks at Ray's own processes: as often as the runner comes round without completions.
"""


COMMIT_BYTES = 300e6
"""Of main memory that a commit takes, beside its files in the object store. Measured: 230 MB for a
part of 2 GB, of which the process alone is 90 (`python -m benchmarks.commit`)."""


@dataclass(frozen=True, slots=True, eq=False)
class RayActor:
    """`methods`: of `actor`, by name, with their options: Ray is slow to make one for each call."""

    pool: str
    actor: Any
    methods: Mapping[str, Any]


class _Submitted(NamedTuple):
    """References of a task that is under way, and whether an actor has it."""

    outputs: list[ObjectRef[Any]]
    inputs: list[ObjectRef[Any]]
    of_actor: bool


class RayExecutor:
    """See `jobs.execution.executor.Executor`. Ray runs already."""

    def __init__(
        self,
        job: Job,
        plans: PoolPlans,
        neighbours: Neighbours | None = None,
        *,
        warm: WarmPools | None = None,
    ) -> None:
        """`neighbours`: the way to the other jobs on the cluster; None where there are none.
        `warm`: to the actors that jobs leave there; None where the Ray ends with this job."""
        self._neighbours, self._warm = neighbours, warm
        kinds = actor_classes(job.spec.models)
        self._job, self._plans = job, plans
        self._score_columns = score_columns(job.spec.models.oracle)
        self._actors: dict[str, tuple[Any, Any]] = {
            name: (_actor(kinds[name], getattr(plans, name), self._keeps(name)), settings)
            for name, settings in job.spec.models
        }
        # An actor knows its model alone. What it does with it is of the job, and comes with a call.
        steps = (make for make, _, _ in attempts_of(job.rungs))
        self._rung_of = {step: rung for rung, step in enumerate(steps)}
        self._threads = {name: getattr(plans, name).threads for name in self._actors}
        for name in self._actors:
            plan: PoolPlan = getattr(plans, name)
            if plan.size:
                log.info("%s: %s (%s), %s each", name, counted(plan.size, "actor"), plan.reason,
                         counted(plan.threads, "thread"))  # fmt: skip
        # No cores are asked for: the slots bound these tasks, and a node whose cores are all
        # promised to actors must still be able to write a file.
        options: dict[str, Any] = {"num_cpus": 0, "max_retries": 0}
        self._encode: Any = ray.remote(num_returns=2, **options)(encode)
        self._write: Any = ray.remote(memory=_memory_of_a_commit(), **options)(commit_part)
        here = ray.get_runtime_context().get_node_id()
        self._file_nodes = FileNodes(job, here, [n for n, cores in _nodes().items() if cores])
        self._waiting: dict[ObjectRef[Any], _Submitted] = {}
        """By task reference, which is a call's last one."""
        self._request = JobsRequest()
        self._next_look = 0.0
        self._ray_died = False

    def now(self) -> float:
        """The machine's monotonic clock."""
        return monotonic()

    def set_target_sizes(self, sizes: Mapping[str, int]) -> None:
        """With `pools.grow`, ask the autoscaler for room for so many actors, and for no more.

        Actors that wait for a node ask for it by themselves, but only a smaller request lets nodes
        go.
        """
        if not self._job.spec.pools.grow or not ray.is_initialized() or self._ray_died:
            return
        bundles, labels = [], []
        for name, size in sizes.items():
            plan: PoolPlan = getattr(self._plans, name)
            bundle = {"CPU": plan.cpus, "GPU": plan.gpus}
            bundles += [{what: much for what, much in bundle.items() if much}] * size
            labels += [plan.node_label] * size
        self._request.change(NodeRequest(bundles, labels))
        shown = ", ".join(f"{size} {name}" for name, size in sizes.items())
        log.info("the autoscaler is asked for nodes for %s", shown if bundles else "no actors")

    def look(self, unloaded: Collection[RayActor]) -> ClusterView:
        """The nodes' resources, those that are free, and which of these actors have no worker.

        An actor has a process id from when a node gave it a worker process, which is before its
        model loads. (It has an address before: that of the raylet in whose queue it is.)
        """
        here = ray.get_runtime_context().get_node_id()
        nodes = _nodes()
        if here not in nodes:
            # Of a Ray that this process is attached to, its own processes are not known.
            self._end_with_ray(["raylet"])
        ids = {handle.actor._actor_id.hex(): handle for handle in unloaded}
        # There is no public way that works without the dashboard.
        known = _pending_actors() if ids else {}
        waiting = {actor for name, actor in ids.items() if name in known and not known[name]}
        writers = self._file_nodes.look([node for node, cores in nodes.items() if cores])
        idle = self._warm.idle() if self._warm else {}
        if self._warm and idle and waiting:
            pools = {name: ids[name].pool for name in ids if ids[name] in waiting}
            self._warm.make_room(pools, idle, free_nodes())
        have = replace(Resources.of_ray(), num_writers=writers)
        free = Resources.free_in_ray(idle_by_node(idle.values()))
        if self._neighbours is None:
            return ClusterView(have, free, frozenset(waiting))
        share = self._neighbours.share(have.gpus)
        return ClusterView(have, free, frozenset(waiting), share, str(self._neighbours))

    def holds(self, gpus: int) -> None:
        """The next renewal tells it."""
        if self._neighbours is not None:
            self._neighbours.job = replace(self._neighbours.job, holds=gpus)
        if self._warm is not None:
            self._warm.bound(gpus)

    def has_news(self) -> bool:
        """Of the answers so far."""
        return self._neighbours is not None and self._neighbours.has_news()

    def start_actor(self, pool: str) -> tuple[RayActor, ObjectRef[Any]]:
        """Take a warm actor, or start one; Ray queues it until a node has room."""
        actor = self._warm.claim(pool) if self._warm else None
        if actor is None:
            kind, settings = self._actors[pool]
            options: dict[str, Any] = {"threads": self._threads[pool]}
            if self._warm and self._keeps(pool):
                options |= {"lease": self._warm.lease, "about": self._warm.about[pool]}
            actor = kind.remote(settings, **options)
        methods = {}
        for stage in stages_of(pool):
            info = STAGES[stage]
            # Its outputs stay in the object store; the last object is for the driver.
            method = getattr(actor, info.method).options(num_returns=len(info.outputs) + 1)
            methods[info.method] = method
        loads = self._task_ref([actor.ready.remote()], [], of_actor=True)
        return RayActor(pool, actor, methods), loads

    def leave_actors(self, handles: Collection[RayActor]) -> Collection[RayActor]:
        """With `keep_warm` they stay, for the next job."""
        if self._warm is None or self._ray_died:
            return ()
        staying = [handle for handle in handles if self._keeps(handle.pool)]
        self._warm.leave([handle.actor for handle in staying])
        return staying

    def _keeps(self, pool: str) -> bool:
        return self._warm is not None and self._warm.keeps(pool)

    def kill_actor(self, handle: RayActor) -> None:
        """Kill the process; those of a Ray that died are ended with it."""
        if not self._ray_died:
            ray.kill(handle.actor)

    def submit_actor_task(self, handle: RayActor, task: Task) -> ObjectRef[Any]:
        """References go to Ray as top-level arguments: it moves them before the call starts."""
        inputs = list(task.inputs)
        method = handle.methods[STAGES[task.call.stage].method]
        options: dict[str, Any] = {
            "micro_batch_size": task.micro_batch_size,
        }
        if (rung := self._rung_of.get(task.call.step)) is not None:
            options["plan"] = self._job.plan_of(rung, task.options)
        if (images := task.images) is not None:
            options["images"] = images
        if (negatives := task.negatives) is not None:
            options["negatives"] = negatives
        if (slots := task.slots) is not None:
            options["slots"] = slots
        refs = method.remote(*task.arguments, *inputs, **options)
        refs = refs if isinstance(refs, list) else [refs]
        return self._task_ref(refs, inputs, of_actor=True)

    def submit_file_task(self, task: Task) -> ObjectRef[Any]:
        """Encode on any node, write on one that may: jobs/execution/file_nodes.py."""
        spec, part, inputs = self._job.spec, task.owner.part, list(task.inputs)
        if task.call.stage is not Stage.COMMIT:
            encode = self._encode.options(scheduling_strategy=self._file_nodes.encoder())
            refs = encode.remote(task.picks, spec.picture_format, *inputs)
            return self._task_ref(list(refs), inputs, of_actor=False)
        record = self._write.options(scheduling_strategy=self._file_nodes.writer()).remote(
            patience_of_try(
                task.owner.failed_commits, spec.max_attempts, spec.stall_timeout_seconds
            ),
            self._job.output,
            part.index,
            part.first_row,
            part.table,
            task.results,
            spec.image_format,
            spec.save_student,
            task.owner.facts(),
            *inputs,
            scores=self._score_columns,
        )
        return self._task_ref([record], inputs, of_actor=False)

    def wait(self, timeout_seconds: float) -> list[Completion]:
        """One completion wakes us; all the others that are there already are taken along.

        Raises JobError if the Ray that was started here has died: every call would fail now, each
        with an error that blames something else.
        """
        self._check_ray()
        self._request.renew()
        if self._neighbours is not None:
            self._neighbours.renew()
        if not self._waiting:
            sleep(timeout_seconds)  # Ray, asked to wait for nothing, comes back at once
            return []
        ready, rest = ray.wait(list(self._waiting), num_returns=1, timeout=timeout_seconds)
        if ready and rest:
            ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        completions = self._completions(ready)
        return sorted(completions, key=lambda completion: completion.error is not None)

    def _check_ray(self) -> None:
        if (now := self.now()) < self._next_look:
            return
        self._next_look = now + LIVENESS_SECONDS
        if dead := dead_processes_of_ray():
            self._end_with_ray(dead)

    def _end_with_ray(self, dead: Sequence[str]) -> NoReturn:
        self._ray_died = True
        raise JobError(
            f"the Ray on this machine died: its {' and its '.join(dead)} ended. Finished parts "
            "are safe. Run the same command again to continue."
        )

    def _completions(self, task_refs: Sequence[ObjectRef[Any]]) -> list[Completion]:
        """The completions, fetched at once; one by one where a task failed."""
        try:
            values = ray.get(list(task_refs))
        except RayError:
            return [self._completion(task_ref) for task_ref in task_refs]
        outputs = [self._waiting.pop(task_ref).outputs for task_ref in task_refs]
        return [Completion(*each) for each in zip(task_refs, values, outputs, strict=True)]

    def _task_ref(
        self, refs: list[ObjectRef[Any]], inputs: list[ObjectRef[Any]], of_actor: bool
    ) -> ObjectRef[Any]:
        self._waiting[refs[-1]] = _Submitted(refs[:-1], inputs, of_actor)
        return refs[-1]

    def _completion(self, task_ref: ObjectRef[Any]) -> Completion:
        outputs, inputs, of_actor = self._waiting.pop(task_ref)
        try:
            return Completion(task_ref, ray.get(task_ref), outputs)
        except RayError as error:
            return Completion(task_ref, error=task_error(error, inputs, of_actor))


def dead_processes_of_ray() -> list[str]:
    """Which of the two processes that a Ray cannot live without have ended, by name.

    Of a Ray that this process started; of one that it is attached to, none is known.
    """
    node = ray._private.worker._global_node  # there is no public way
    if node is None:
        return []
    return [name for name, _ in node.dead_processes() if name in ("raylet", "gcs_server")]


def _nodes() -> dict[str, float]:
    """The cores of the nodes that are there, by id."""
    return {n["NodeID"]: n["Resources"].get("CPU", 0.0) for n in ray.nodes() if n["Alive"]}


def _memory_of_a_commit() -> float:
    """Bytes that a commit claims of its node, and no more than the node can give."""
    here = ray.get_runtime_context().get_node_id()
    has: list[float] = [
        node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["NodeID"] == here
    ]
    return min([COMMIT_BYTES, *(memory / 4 for memory in has if memory)])


def _pending_actors() -> dict[str, bool]:
    """Of this job's actors that are not ready: whether a node has given them a worker process."""
    job_id = ray._private.worker.global_worker.current_job_id
    table: Any = ray._private.state.state.actor_table
    return {
        name: bool(actor["Pid"])
        for state in ("DEPENDENCIES_UNREADY", "PENDING_CREATION")
        for name, actor in table(None, job_id, state).items()
    }


def _actor(kind: type, plan: PoolPlan, stays: bool) -> Any:
    """The class of actors of a pool. `stays`: they may outlive the job."""
    actor: Any = ray.remote(kept(kind) if stays else kind)
    return actor.options(
        lifetime="detached" if stays else None,
        num_cpus=plan.cpus,
        num_gpus=plan.gpus,
        label_selector=plan.node_label or None,
        max_restarts=0,
        max_task_retries=0,
    )

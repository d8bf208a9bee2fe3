"""Simulated hands for a plan: calls take what the stage times say, on GPUs of known types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actors.facts import CallFacts
from actors.settings import OracleSettings
from actors.timed import DEFAULT_SIDE, score_of
from jobs.execution.active_part import ActivePart
from jobs.execution.calls import OUTPUTS, Call, Output, Stage
from jobs.execution.executor import Task, TaskError
from jobs.planning.stage_times import StageTimes
from jobs.resolve import Job
from jobs.simulation.executor import Durations, SimulatedActor
from jobs.simulation.light_executor import LightExecutor

GOLDEN = (5**0.5 - 1) / 2
"""Its multiples are spread over [0, 1) as evenly as can be, however many there are."""

ACCELERATOR_LABEL = "ray.io/accelerator-type"
"""Ray's own label of a node's type of GPU; `pools.teacher.node_label` may name one."""

WRITE_SECONDS = 0.2
"""To write a part whose pictures are encoded."""


class PlannedExecutor(LightExecutor):
    """See `jobs.execution.executor.Executor`."""

    def __init__(
        self,
        job: Job,
        times: StageTimes,
        oracle: OracleSettings | None,
        gpus: Mapping[str, int],
        shares: Mapping[str, float],
    ) -> None:
        """`oracle`: a stand-in that gives the scores; None: evenly in [0, 1).

        `gpus`: how many of each type. `shares`: what an actor of a pool takes of one.
        """
        super().__init__(Durations(), num_nodes=1)
        self.busy_seconds = dict.fromkeys(shares, 0.0)
        """By pool: how long its actors were at work, together."""
        self.at_work_seconds = 0.0
        """GPU-seconds of students and teachers at work; the oracle is small, and beside them."""
        self.drawn_at: list[tuple[float, float]] = []
        """For each call that draws: when it began, and `at_work_seconds` by then."""
        # An actor at work keeps its GPU busy, if it has one, also where it may take half of it.
        self._keeps_busy = {pool: max(1.0, shares[pool]) for pool in ("student", "teacher")}
        self._stages, self._oracle, self._shares = times, oracle, shares
        self._free = {gpu: float(count) for gpu, count in gpus.items()}
        self._gpu_of: dict[str, str] = {}
        """By actor."""
        self._wanted = {
            name: pool.node_label.get(ACCELERATOR_LABEL)
            for name, pool in job.spec.pools.by_name.items()
        }
        student = job.spec.models.student
        pixels = (student.width or DEFAULT_SIDE) * (student.height or DEFAULT_SIDE)
        self._row_bytes = {
            Output.PICTURES: 3 * pixels,
            Output.LATENTS: pixels // 4,
            # A PNG of a photograph takes about two thirds of its pixels.
            Output.FILES: 2 * pixels,
        }
        self._draws = job.spec.draws
        self._evaluations = {Stage.DRAW: job.student_nfe, Stage.REFINE: job.teacher_nfe}

    def start_actor(self, pool: str) -> tuple[SimulatedActor, object]:
        """On a GPU with room, of the type that the job file names, if it names one."""
        actor, task_ref = super().start_actor(pool)
        wanted = self._wanted[pool]
        types = [gpu for gpu in self._free if wanted in (None, gpu)]
        gpu = max(types or self._free, key=lambda gpu: self._free[gpu])
        self._free[gpu] -= self._shares[pool]
        self._gpu_of[actor.name] = gpu
        return actor, task_ref

    def kill_actor(self, handle: SimulatedActor) -> None:
        """Its GPU has room again."""
        if not handle.dead:
            self._free[self._gpu_of[handle.name]] += self._shares[handle.pool]
        super().kill_actor(handle)

    def load_seconds(self, actor: SimulatedActor) -> float:
        """As the model's timing says."""
        return self._stages.pools[actor.pool].loading

    def outcome(self, actor: SimulatedActor, task: Task) -> tuple[float, TaskError | None]:
        """As long as a stand-in would take."""
        call, owner = task.call, task.owner
        gpu = self._gpu_of[actor.name]
        key = owner.part.seeds[call.rows[0]]
        timing = self._stages.pools[actor.pool]
        seconds = timing.seconds(self._pictures(call), task.micro_batch_size, key, gpu)
        self.busy_seconds[actor.pool] += seconds
        self.at_work_seconds += seconds * self._keeps_busy.get(actor.pool, 0.0)
        if call.stage is Stage.DRAW:
            self.drawn_at.append((self.now(), self.at_work_seconds))
        return seconds, None

    def _pictures(self, call: Call) -> int:
        """That a call draws, scores or improves."""
        several = call.stage in (Stage.DRAW, Stage.SCORE_DRAWN)
        return len(call.rows) * (self._draws if several else 1)

    def file_seconds(self, task: Task) -> float:
        """By the number of pictures."""
        if task.call.stage is Stage.COMMIT:
            return WRITE_SECONDS
        return self._stages.file_seconds_per_row * len(task.call.rows)

    def scores(self, owner: ActivePart, call: Call) -> Sequence[float]:
        """As a stand-in for an oracle would score: by the rows' seeds.

        Or so evenly that any few rows are rejected as all are: no plan hangs on a sample's luck.
        """
        if self._oracle is None:
            first = owner.part.first_row
            return [(first + row) * GOLDEN % 1.0 for row in call.rows]
        seeds = owner.part.seeds
        return [score_of(self._oracle, seeds[row], refined=False) for row in call.rows]

    def facts(self, task: Task, seconds: float) -> CallFacts:
        """With the evaluations and the bytes that the job's settings come to."""
        stage = task.call.stage
        pictures = self._pictures(task.call)
        rows = pictures if stage is Stage.SCORE_DRAWN else len(task.call.rows)
        stored = tuple(pictures * self._row_bytes[output] for output in OUTPUTS.get(stage, ()))
        return CallFacts(rows, seconds, stored, self._evaluations.get(stage, 0))

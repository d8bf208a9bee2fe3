"""A plan's simulated executor: stage times give each call's duration, on GPUs of known types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from statistics import fmean

from actors.facts import CallFacts
from actors.settings import OracleSettings
from actors.timed import score_of
from jobs.execution.active_part import ActivePart
from jobs.execution.calls import Call
from jobs.execution.executor import Task, TaskError
from jobs.execution.measurements import planned_evaluations
from jobs.execution.stages import STAGES, OutputKind, Stage, Step
from jobs.planning.stage_times import StageTimes
from jobs.resolution import Job
from jobs.simulation.executor import Durations, SimulatedActor
from jobs.simulation.light_executor import LightExecutor

GOLDEN = (5**0.5 - 1) / 2
"""Its multiples modulo 1 are spread over [0, 1) as evenly as possible, however many there are."""

ACCELERATOR_LABEL = "ray.io/accelerator-type"
"""Ray's own label for a node's type of GPU; `pools.teacher.node_label` may name a type."""

WRITE_SECONDS = 0.2
"""To write a part whose pictures are encoded. Chosen; with 0.02 or 2 s the plan of 20,480 rows on 8
GPUs differs by 0.3 % at most.
"""


class PlannedExecutor(LightExecutor):
    """See `jobs.execution.executor.Executor`."""

    def __init__(
        self,
        job: Job,
        times: StageTimes,
        oracle: OracleSettings | None,
        gpus: Mapping[str, int],
        shares: Mapping[str, float],
        *,
        usual_pixels: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """`oracle`: the stand-in that scores each row; None for scores evenly in [0, 1).

        `gpus`: how many of each type. `shares`: by pool, an actor's share of a GPU. `usual_pixels`:
        of the pictures that the times are of, where rows have sizes of their own: to make them, and
        to encode them.
        """
        self._usual_pixels, self._encoded_pixels = usual_pixels
        super().__init__(Durations(), num_nodes=1)
        self.busy_seconds = dict.fromkeys(shares, 0.0)
        """By pool: seconds of its actors at work, together."""
        self.at_work_seconds = 0.0
        """GPU-seconds of students and teachers at work. The small oracle runs beside them."""
        self.drawn_at: list[tuple[float, float]] = []
        """For each call that draws: its begin, and the GPU-seconds at work before it."""
        self._ended_seconds = self._running = self._running_since = 0.0
        """GPU-seconds of calls that ended; GPUs at work, and the sum of their calls' begins."""
        # An actor at work keeps a whole GPU busy, even if it has a share of half.
        self._keeps_busy = {pool: max(1.0, shares[pool]) for pool in ("student", "teacher")}
        self._stages, self._oracle, self._shares = times, oracle, shares
        self._free = {gpu: float(count) for gpu, count in gpus.items()}
        self._gpu_of: dict[str, str] = {}
        """The type of each actor's GPU, by name."""
        self._wanted = {
            name: pool.node_label.get(ACCELERATOR_LABEL)
            for name, pool in job.spec.pools.by_name.items()
        }
        self._pixels = job.spec.pixels
        self._pixel_bytes = {
            OutputKind.PICTURES: 3.0,
            OutputKind.LATENTS: 0.25,
            OutputKind.FILES: job.spec.picture_format.price.stored,
        }
        self._draws = job.spec.draws
        self._evaluations = planned_evaluations(job)
        self._steps = {
            Step(Stage.REFINE, refined.attempt): refined.steps / job.refinement.steps
            for refined in job.refinements
        }
        """By attempt of the teacher's: its steps, in those of the first."""

    def start_actor(self, pool: str) -> tuple[SimulatedActor, object]:
        """Start an actor on a GPU with room, of the type that the job file names, if any."""
        actor, task_ref = super().start_actor(pool)
        wanted = self._wanted[pool]
        types = [gpu for gpu in self._free if wanted in (None, gpu)]
        gpu = max(types or self._free, key=lambda gpu: self._free[gpu])
        self._free[gpu] -= self._shares[pool]
        self._gpu_of[actor.name] = gpu
        return actor, task_ref

    def kill_actor(self, handle: SimulatedActor) -> None:
        """Free the actor's share of its GPU."""
        if not handle.dead:
            self._free[self._gpu_of[handle.name]] += self._shares[handle.pool]
        super().kill_actor(handle)

    def load_seconds(self, actor: SimulatedActor) -> float:
        """The loading time of the pool's model."""
        return self._stages.pools[actor.pool].loading

    def outcome(self, actor: SimulatedActor, task: Task) -> tuple[float, TaskError | None]:
        """The duration that a stand-in model would take."""
        call, owner = task.call, task.owner
        gpu = self._gpu_of[actor.name]
        key = owner.part.seeds[call.rows[0]]
        timing = self._stages.pools[actor.pool]
        seconds = timing.seconds(self._pictures(call), task.micro_batch_size, key, gpu)
        seconds *= self._steps.get(call.step, 1.0)
        if canvas := task.options.canvas:
            seconds *= prod(canvas) / self._usual_pixels
        busy, now = self._keeps_busy.get(actor.pool, 0.0), self.now()
        self.busy_seconds[actor.pool] += seconds
        self.at_work_seconds += seconds * busy
        if call.stage is Stage.DRAW:
            before = self._ended_seconds + now * self._running - self._running_since
            self.drawn_at.append((now, before))
        self._running += busy
        self._running_since += now * busy
        return seconds, None

    def _pictures(self, call: Call) -> int:
        """How many pictures a call draws, scores or refines."""
        several = call.stage in (Stage.DRAW, Stage.SCORE_DRAWN) and not call.attempt
        return len(call.rows) * (self._draws if several else 1)

    def _mean_pixels(self, task: Task) -> float:
        """Of a picture of a call, whose rows may have several sizes when they are encoded."""
        options = task.owner.part.options.get("teacher")
        if not options:
            return self._pixels
        canvases = [options[row].canvas for row in task.call.rows]
        return fmean(prod(one) if one else self._pixels for one in canvases)

    def file_seconds(self, task: Task) -> float:
        """The stage times' encoding time of each picture; a part's writing takes WRITE_SECONDS."""
        if task.call.stage is Stage.COMMIT:
            return WRITE_SECONDS
        share = self._mean_pixels(task) / self._encoded_pixels
        return self._stages.file_seconds_per_row * len(task.call.rows) * share

    def scores(self, owner: ActivePart, call: Call) -> Sequence[float]:
        """A stand-in oracle's scores, by the rows' seeds.

        Without one, scores so even that any few rows are rejected in the same proportion as all:
        no plan depends on a sample's luck.
        """
        if self._oracle is None:
            first = owner.part.first_row
            return [(first + row) * GOLDEN % 1.0 for row in call.rows]
        seeds = owner.part.seeds
        return [score_of(self._oracle, seeds[row], refined=False) for row in call.rows]

    def facts(self, task: Task, seconds: float) -> CallFacts:
        """Facts with the evaluations and bytes that follow from the job's settings."""
        stage = task.call.stage
        busy = self._keeps_busy.get(STAGES[stage].pool, 0.0)
        self._ended_seconds += seconds * busy
        self._running -= busy
        self._running_since -= (self.now() - seconds) * busy
        pictures = self._pictures(task.call)
        rows = pictures if stage is Stage.SCORE_DRAWN else len(task.call.rows)
        held = pictures * self._mean_pixels(task)
        stored = tuple(round(held * self._pixel_bytes[output]) for output in STAGES[stage].outputs)
        return CallFacts(rows, seconds, stored, self._evaluations.get(task.call.step, 0))

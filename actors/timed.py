"""Stand-ins for student, oracle and teacher: they take time instead of computing.

For benchmarks, and for people who plan a cluster: the pools, the references, the batches and the
dataset are real, only the pictures are of one grey. Seconds come from a profile
(`actors.models.profiles`), scores from the rows' seeds. A picture and its latents carry their row's
seed in their first bytes: so the oracle knows which row it scores, and a teacher that gets another
row's latents raises. Imports no torch, so that an actor starts fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from time import perf_counter, sleep
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.facts import CallFacts
from actors.models.profiles import Timing, chance
from actors.refinement import FROM_PROMPTS, SAME_FOR_ALL, DrawPlan, Refinement, RowOptions
from actors.settings import (
    DiffusionSettings,
    ModelSettings,
    OracleSettings,
    StudentSettings,
    TeacherSettings,
)
from actors.timed_settings import DEFAULT_SIDE

Pictures = npt.NDArray[np.uint8]
"""(rows, height, width, 3), uint8 RGB."""

Latents = npt.NDArray[Any]
"""(rows, 4, height / 8, width / 8), float16 or float32."""

SEED_BYTES = 8
REFINED = SEED_BYTES
"""The place of the byte that flags a teacher's picture."""


VARIANCES: tuple[float, ...] = tuple(
    (1 - np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)).tolist()
)
"""The noise variance at each training timestep, the cleanest first: Stable Diffusion's."""


def identities(models: ModelSettings) -> dict[str, str]:
    """Role -> what a stand-in's pictures or scores depend on, beside their shape; never on time."""
    oracle = models.oracle.timed
    assert oracle is not None
    return {"student": "timed", "oracle": f"timed, rejects {oracle.rejected}", "teacher": "timed"}


def timing_of(
    settings: DiffusionSettings | OracleSettings,
    steps: int | None = None,
    *,
    options: RowOptions = SAME_FOR_ALL,
) -> Timing:
    """How long the calls of a timed model take. `steps`: network steps, of a whole drawing if None.

    A picture of another size takes time in proportion to its pixels. A refinement takes its steps'
    share of a whole drawing. Encoding and decoding are in that share too, since no profile has
    measured them apart.
    """
    timed = settings.timed
    assert timed is not None
    share = 1.0
    if isinstance(settings, DiffusionSettings):
        assert settings.timed is not None
        share = (steps or settings.steps) / settings.timed.steps(settings.steps)
        share *= prod(_sides(settings, options)) / prod(_sides(settings))
    return Timing(
        curves=timed.curves,
        load_seconds=timed.load_seconds,
        share=share,
        noise=timed.noise,
        straggler_fraction=timed.straggler_fraction,
        straggler_factor=timed.straggler_factor,
        speed=timed.speed,
    )


def score_of(settings: OracleSettings, seed: int, refined: bool) -> float:
    """The score of a row's picture, in [0, 1).

    The fraction `rejected` of the drawn pictures scores below 0.5; the teacher's never do.
    """
    assert settings.timed is not None
    luck = chance(seed, "timed/refined" if refined else "timed/drawn")
    if refined:
        return 0.5 + luck / 2
    rejected = settings.timed.rejected
    if isinstance(rejected, tuple):
        rejected = next(fraction for first, fraction in reversed(rejected) if seed >= first)
    if luck < rejected:
        return 0.5 * luck / rejected
    return 0.5 + 0.5 * (luck - rejected) / (1 - rejected)


def share_below(threshold: float, rejected: float) -> float:
    """The fraction of drawn pictures that score below `threshold`, if `rejected` are below 0.5."""
    if threshold <= 0.5:
        return max(0.0, 2 * threshold * rejected)
    return min(1.0, rejected + 2 * (threshold - 0.5) * (1 - rejected))


class TimedStudent:
    """See `actors.student.Student`."""

    def __init__(self, settings: StudentSettings, threads: int | None = None) -> None:
        self.settings = settings
        self._clock = _Clock(timing_of(settings))

    def ready(self) -> None:
        """Returns when the time to load is over."""

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        images: Sequence[bytes | str] | None = None,
        micro_batch_size: int | None = None,
        slots: Sequence[int] | None = None,
        negatives: Sequence[str] | None = None,
        *,
        plan: DrawPlan = FROM_PROMPTS,
    ) -> tuple[Latents, Pictures, CallFacts]:
        """Grey pictures for each prompt, all of a row alike, and latents of zeros."""
        start, size = perf_counter(), micro_batch_size or self.settings.batch_size
        draws = plan.draws
        each = [seed for seed in seeds for _ in range(draws)]
        sides = _sides(self.settings, plan.options)
        latents, pictures = _latents(self.settings, sides, each), _pictures(sides, each)
        timing = timing_of(self.settings, options=plan.options)
        self._clock.take(start, len(each), size, key=seeds[0], timing=timing)
        facts = CallFacts(
            rows=len(prompts),
            seconds=perf_counter() - start,
            stored_bytes=(latents.nbytes, pictures.nbytes),
            evaluations=self.settings.steps * self.settings.evaluations_per_step * draws,
        )
        return latents, pictures, facts


class TimedTeacher:
    """See `actors.teacher.Teacher`."""

    def __init__(self, settings: TeacherSettings, threads: int | None = None) -> None:
        self.settings = settings
        self._clock = _Clock(timing_of(settings))

    def ready(self) -> None:
        """Returns when the time to load is over."""

    def refine(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        picks: Sequence[tuple[int, int]],
        *starts: Latents,
        plan: Refinement,
        images: Sequence[bytes | str] | None = None,
        micro_batch_size: int | None = None,
        slots: Sequence[int] | None = None,
        negatives: Sequence[str] | None = None,
    ) -> tuple[Pictures, CallFacts]:
        """A grey picture for each prompt. Raises ValueError for another row's latents."""
        start, size = perf_counter(), micro_batch_size or self.settings.batch_size
        for (which, row), seed in zip(picks, seeds, strict=bool(picks)):
            if (found := _seed_in(starts[which][row])) != seed:
                raise ValueError(f"the latents of the row with seed {found} came for seed {seed}")
        pictures = _pictures(_sides(self.settings, plan.options), seeds)
        pictures.reshape(len(seeds), -1)[:, REFINED] = 1
        timing = timing_of(self.settings, plan.steps, options=plan.options)
        self._clock.take(start, len(seeds), size, key=seeds[0], timing=timing)
        facts = CallFacts(
            rows=len(prompts),
            seconds=perf_counter() - start,
            stored_bytes=(pictures.nbytes,),
            evaluations=plan.steps * self.settings.evaluations_per_step,
        )
        return pictures, facts


class TimedOracle:
    """See `actors.oracle.Oracle`."""

    def __init__(self, settings: OracleSettings, threads: int | None = None) -> None:
        self.settings, self.extras = settings, settings.extras
        self._clock = _Clock(timing_of(settings))

    def ready(self) -> None:
        """Returns when the time to load is over."""

    def score(
        self,
        prompts: Sequence[str],
        picks: Sequence[tuple[int, int]],
        *pictures: Pictures,
        micro_batch_size: int | None = None,
        slots: Sequence[int] | None = None,
    ) -> tuple[list[float], CallFacts]:
        """The scores of the stand-ins' pictures; see `score_of`."""
        start, size = perf_counter(), micro_batch_size or self.settings.batch_size
        chosen = [pictures[which][row].reshape(-1) for which, row in picks]
        seeds = [_seed_in(picture) for picture in chosen]
        scores = [
            score_of(self.settings, seed, bool(picture[REFINED]))
            for seed, picture in zip(seeds, chosen, strict=True)
        ]
        extras = [
            tuple(chance(seed, f"timed/{extra.column}/{picture[REFINED]}") for extra in self.extras)
            for seed, picture in zip(seeds, chosen, strict=True)
        ]
        self._clock.take(start, len(prompts), size, key=seeds[0])
        found = tuple(extras) if self.extras else ()
        return scores, CallFacts(len(prompts), perf_counter() - start, extra_scores=found)


class _Clock:
    """Sleeps for the seconds of a timing; when it is made, for those of loading."""

    def __init__(self, timing: Timing) -> None:
        self._timing, self._gpu = timing, _gpu_here()
        sleep(timing.loading)

    def take(
        self, start: float, rows: int, micro_batch_size: int, key: int, timing: Timing | None = None
    ) -> None:
        """Sleep until a call that began at `start` has taken its seconds."""
        seconds = (timing or self._timing).seconds(rows, micro_batch_size, key, self._gpu)
        sleep(max(0.0, start + seconds - perf_counter()))


def _gpu_here() -> str | None:
    """The type of this node's GPU, if Ray knows."""
    import ray

    if not ray.is_initialized():
        return None
    label = ray.get_runtime_context().get_node_labels().get("ray.io/accelerator-type")
    return None if label is None else str(label)


Sides = tuple[int, int]
"""Height and width, in pixels."""


def _sides(settings: DiffusionSettings, options: RowOptions = SAME_FOR_ALL) -> Sides:
    if options.canvas:
        return options.canvas[1], options.canvas[0]
    return settings.height or DEFAULT_SIDE, settings.width or DEFAULT_SIDE


def _latents(settings: DiffusionSettings, sides: Sides, seeds: Sequence[int]) -> Latents:
    height, width = sides
    kind = np.float32 if settings.dtype == "float32" else np.float16
    latents = np.zeros((len(seeds), 4, height // 8, width // 8), kind)
    _write_seeds(latents.view(np.uint8), seeds)
    return latents


def _pictures(sides: Sides, seeds: Sequence[int]) -> Pictures:
    pictures = np.empty((len(seeds), *sides, 3), np.uint8)
    for picture, seed in zip(pictures, seeds, strict=True):
        picture.fill(int(256 * chance(seed, "timed/grey")))
    _write_seeds(pictures, seeds)
    pictures.reshape(len(seeds), -1)[:, REFINED] = 0
    return pictures


def _write_seeds(rows: npt.NDArray[np.uint8], seeds: Sequence[int]) -> None:
    written = np.array(seeds, np.dtype("<i8")).view(np.uint8).reshape(len(seeds), SEED_BYTES)
    rows.reshape(len(seeds), -1)[:, :SEED_BYTES] = written


def _seed_in(row: npt.NDArray[Any]) -> int:
    first = np.ascontiguousarray(row).reshape(-1).view(np.uint8)[:SEED_BYTES]
    return int(first.view(np.dtype("<i8"))[0])

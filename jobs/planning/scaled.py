"""A small cluster that stands for a large one: as many GPUs fewer as rows fewer.

A job's time follows from the rows for each GPU. A tenth of the rows on a tenth of the GPUs takes as
long, but for sizes that have no tenth, and for the parts, which stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

from jobs.spec.job_spec import JobSpec
from jobs.spec.sample import sample_size

ENOUGH_GPUS = 128
"""Of the small cluster. Measured on 24 jobs with up to 1,024 GPUs, against the whole simulation:
with 128 a plan is 0.8 % off at most, with 64 1.1 %, with 32 2.1 %.
"""

QUICK_GPUS = 100
"""The same for one plan of many, where the job has many rounds or the number divides."""

MAX_MISFIT = 0.01
"""Of a number of GPUs or actors, by which the small cluster may differ in proportion. Chosen: half
of the 2 % within which a plan should be. Beyond, the cluster is simulated as it is."""

USUAL_PART_ROWS = 1024
"""A part shrinks with the cluster, but not below this: each part's last batch of the teacher is
short, and counts for more in a shorter part."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """A job on a small cluster. `factor`: how many times as many GPUs and rows there really are."""

    factor: float
    spec: JobSpec
    gpus: Mapping[str, int]
    num_rows: int


def scaled(
    spec: JobSpec, gpus: Mapping[str, int], num_rows: int, enough: int, *, few_rounds: bool = False
) -> Scaled | None:
    """The job on some `enough` GPUs, up to twice as many where that fits the numbers better.

    few_rounds: a job of few batches for each GPU is rather put on a number that divides all of
    them; each size that is rounded moves its end. Measured on 23,040 rows of SDXL on 256 GPUs,
    three rounds of the teacher: on 128 GPUs a plan was 0.1 % off, on 100 3.8 %.
    None where no such cluster has these proportions: a pool of 1 actor has no tenth.
    """
    total = sum(gpus.values())

    def misfits(few: int) -> tuple[float, bool]:
        return round(_misfit(spec, gpus, total / few), 6), few_rounds and bool(total % few)

    best = min(range(enough, 2 * enough), key=misfits)
    factor = total / best
    if factor <= 1 or _misfit(spec, gpus, factor) > MAX_MISFIT:
        return None
    return Scaled(
        factor,
        _smaller(spec, num_rows, factor),
        {gpu: max(1, round(count / factor)) for gpu, count in gpus.items()},
        max(1, round(num_rows / factor)),
    )


def _misfit(spec: JobSpec, gpus: Mapping[str, int], factor: float) -> float:
    """The largest difference in proportion: of a pool's size, or of GPUs of a type among all."""
    total = sum(gpus.values())
    off = [abs(factor * max(1, round(n / factor)) - n) / total for n in gpus.values()]
    off += [abs(factor * round(n / factor) - n) / n for n in _sizes(spec)]
    return max(off)


def _sizes(spec: JobSpec) -> Iterator[int]:
    for pool in spec.pools.by_name.values():
        yield from (size for size in (pool.size, pool.max_size) if size)


def _smaller(spec: JobSpec, num_rows: int, factor: float) -> JobSpec:
    pools = {}
    for name, pool in spec.pools.by_name.items():
        sizes = {"size": pool.size, "max_size": pool.max_size, "min_size": pool.min_size}
        fewer = {key: max(1, round(size / factor)) if size else size for key, size in sizes.items()}
        pools[name] = pool.model_copy(update=fewer)
    # The sample in whole batches: a budget in GPU-seconds divides their seconds by its rows.
    batch = spec.models.student.batch_size
    whole = sample_size(spec.calibration_rows, num_rows)
    sample = batch * ceil(whole / factor / batch)
    part = spec.part_rows
    return spec.model_copy(
        update={
            "pools": spec.pools.model_copy(update=pools),
            "calibration_rows": min(whole, sample),
            "rows_per_part": min(part, max(USUAL_PART_ROWS, round(part / factor))),
        }
    )

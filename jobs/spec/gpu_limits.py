"""Refuses GPUs that would idle, and pools of fixed sizes that have more of them than `max_gpus`."""

from __future__ import annotations

from math import ceil

from actors.errors import SpecError
from actors.pool_settings import MAIN_SHARE, ORACLE_SHARE
from jobs.spec.job_spec import JobSpec


def check_gpus(spec: JobSpec) -> None:
    """Raises SpecError for pools that no job may begin with.

    Not the fields' own rules: the output of a job that had such pools can still be read.
    """
    _check_whole_gpus(spec)
    _check_max_gpus(spec)


def _check_whole_gpus(spec: JobSpec) -> None:
    """Refuse actors of several GPUs, of which all but one would idle."""
    for name, pool in spec.pools.by_name.items():
        gpus = pool.gpus_per_actor or 0.0
        if gpus > 1 and not (name == "oracle" and spec.models.oracle.is_own):
            large = (
                ""
                if name == "oracle"
                else (f"; models.{name}.offload is for a model that is too large for one")
            )
            raise SpecError(
                f"pools.{name}.gpus_per_actor: an actor of {gpus:g} GPUs would leave {gpus - 1:g} "
                f"of them idle, since a model computes on one. Give at most 1{large}."
            )


def _check_max_gpus(spec: JobSpec) -> None:
    """Sizes that follow the measurements stay within `max_gpus` by themselves."""
    if spec.max_gpus is None or spec.pools.device == "cpu":
        return
    # On one GPU the three share it: jobs/scaling/initial_sizes.py.
    main = MAIN_SHARE if spec.max_gpus > 1 else MAIN_SHARE / 2
    fixed = {
        name: (least, (ORACLE_SHARE if name == "oracle" else main))
        for name, pool in spec.pools.by_name.items()
        if (least := pool.size or pool.min_size)
    }
    for name, pool in spec.pools.by_name.items():
        if name in fixed and pool.gpus_per_actor is not None:
            fixed[name] = fixed[name][0], pool.gpus_per_actor
    # Of those that have more than half of a GPU no two share one.
    alone = sum(number * ceil(share) for number, share in fixed.values() if share > 0.5)
    needed = max(alone, ceil(round(sum(number * share for number, share in fixed.values()), 4)))
    if needed > spec.max_gpus:
        shown = ", ".join(f"{number} {name}" for name, (number, _) in fixed.items())
        raise SpecError(
            f"max_gpus: {spec.max_gpus}, and the sizes in `pools` ({shown}) need {needed} GPUs. "
            f"Give max_gpus: {needed} or more, or leave the sizes out: they follow the GPUs then."
        )

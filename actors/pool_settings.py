"""The settings of the three actor pools: how many actors, and what each of them needs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from actors.durations import seconds_of
from actors.strict import Settings

MAIN_SHARE, ORACLE_SHARE = 0.9, 0.1
"""Of a GPU. Chosen: each GPU has room for a student or a teacher, whichever the job needs, and the
small oracle fits beside either. With halves a GPU could stay empty because the wrong half is free.
"""

MOST_WARM_SECONDS = 86_400.0
"""Chosen: from one nightly job to the next. What is held longer is a service, not a job's pool."""


class PoolSettings(Settings):
    """How many actors of one kind there are, and what each one needs."""

    size: int | None = Field(
        default=None,
        ge=1,
        description="Actors, from the beginning to the end. Default: the number follows the "
        "measurements (docs/balance.md).",
    )
    min_size: int = Field(default=0, ge=0, description="No fewer actors than this, without `size`.")
    max_size: int | None = Field(
        default=None, ge=1, description="No more actors than this, without `size`."
    )
    gpus_per_actor: float | None = Field(
        default=None,
        ge=0.0,
        description="GPUs of one actor; 0.5 lets two share one. Default where there are GPUs: 0.9 "
        "for student and teacher and 0.1 for the oracle, which so finds room beside them; on a "
        "single GPU 0.45, 0.45 and 0.1.",
    )
    threads_per_actor: int = Field(
        default=1,
        ge=1,
        description="torch's threads in one actor. On CPUs the number changes the last bits of a "
        "picture, so it belongs to the job, and not to the machine.",
    )
    node_label: dict[str, str] = Field(
        default_factory=dict,
        description="Only nodes with these Ray labels, for example {bottega-pool: teacher}.",
    )

    @field_validator("gpus_per_actor")
    @classmethod
    def _whole_above_one(cls, value: float | None) -> float | None:
        if value and value > 1 and value % 1:
            raise ValueError("input should be a whole number above 1: only one GPU can be shared")
        return value

    @model_validator(mode="after")
    def _no_contradictions(self) -> PoolSettings:
        if self.size is not None and (self.min_size or self.max_size is not None):
            raise ValueError("size fixes the pool; give it, or min_size and max_size, not both")
        if self.max_size is not None and self.max_size < self.min_size:
            raise ValueError(f"max_size {self.max_size} is less than min_size {self.min_size}")
        return self


class PoolsSettings(Settings):
    """The three pools."""

    student: PoolSettings = Field(default_factory=PoolSettings, description="The student's pool.")
    oracle: PoolSettings = Field(default_factory=PoolSettings, description="The oracle's pool.")
    teacher: PoolSettings = Field(default_factory=PoolSettings, description="The teacher's pool.")
    device: Literal["cpu", "gpu"] | None = Field(
        default=None,
        description="cpu: the actors run on cores, also where there are GPUs. gpu: the job waits "
        "for nodes with GPUs, or is refused on a machine without. Default: GPUs where there are "
        "any; without, models of 300 MB and more as with gpu, smaller ones and stand-ins on cores.",
    )
    allow_other_devices: bool = Field(
        default=False,
        description="Go on with a dataset on another kind of GPU, or of CPU, than it was begun on: "
        "the last bits of its rows then depend on who made them.",
    )
    keep_warm: str | None = Field(
        default=None,
        description="How long the actors stay, loaded, when the job has ended, as 15m or 2h, for "
        "the next job on the cluster with the same models (docs/cluster.md). They give way to any "
        "other job at once. No pool is without an actor meanwhile. At most 24h.",
    )
    early_parts: bool = Field(
        default=False,
        description="Finish parts early, for somebody who reads them while the job runs. Without "
        "it a short job may draw all rows before it refines, which ends the whole job earlier.",
    )
    grow: bool = Field(
        default=False,
        description="The cluster has an autoscaler: ask it for nodes as they are needed, for at "
        "most `max_size` actors of student and teacher, and give them back (docs/balance.md).",
    )

    @field_validator("keep_warm", mode="before")
    @classmethod
    def _a_time(cls, value: Any) -> Any:
        """YAML has a number where there is no unit."""
        if value is None or isinstance(value, bool):
            return value
        seconds = seconds_of(str(value))
        if seconds is None or seconds > MOST_WARM_SECONDS:
            raise ValueError(
                f"{value!r} is no time up to 24h with its unit; give it as 90s, 15m or 2h"
            )
        return str(value)

    @property
    def keep_warm_seconds(self) -> float:
        """How long actors stay after the job; 0 for not at all."""
        return (seconds_of(self.keep_warm) if self.keep_warm else None) or 0.0

    @property
    def by_name(self) -> dict[str, PoolSettings]:
        """The pools."""
        return {"student": self.student, "oracle": self.oracle, "teacher": self.teacher}

    @model_validator(mode="after")
    def _no_gpus_on_cores(self) -> PoolsSettings:
        if self.device == "cpu" and self.grow:
            raise ValueError("device: cpu, and grow asks for nodes with GPUs; give one of them")
        for name, pool in self.by_name.items():
            if self.device == "cpu" and pool.gpus_per_actor:
                raise ValueError(
                    f"device: cpu, and {name}.gpus_per_actor {pool.gpus_per_actor:g} asks for "
                    "GPUs; give one of them"
                )
        return self

    @model_validator(mode="after")
    def _grows_so_far(self) -> PoolsSettings:
        bounded = {name for name, pool in self.by_name.items() if pool.size or pool.max_size}
        endless = [name for name in ("student", "teacher") if name not in bounded]
        if self.grow and endless:
            raise ValueError(f"grow: how far? Give pools.{endless[0]}.max_size")
        return self

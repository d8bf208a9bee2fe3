"""The settings of a stand-in: how long its calls take, and what it rejects (actors/timed.py)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from actors.models.profiles import Curve, curve_of, published
from actors.strict import Settings

Fraction = Annotated[float, Field(ge=0, le=1)]

BatchSize = Annotated[int, Field(ge=1)]
BatchSeconds = Annotated[float, Field(ge=0)]


class TimedSettings(Settings):
    """A stand-in that takes time instead of computing (actors/timed.py)."""

    seconds: dict[str, Annotated[dict[BatchSize, BatchSeconds], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Seconds of a whole batch by its size, as {1: 0.1, 16: 0.8}; or by type of "
        "GPU, as {A100: {1: 0.1}, H100: {1: 0.05}}. Between two sizes, in proportion.",
    )
    gpu: str | None = Field(
        default=None,
        description="The type whose seconds an actor takes if its node has no label "
        "ray.io/accelerator-type. Default: the first type.",
    )
    load_seconds: float = Field(
        default=10.0, ge=0, description="From an actor's start to its model."
    )
    noise: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="A call takes up to this fraction more or less; by the rows' seeds.",
    )
    straggler_fraction: float = Field(
        default=0.0, ge=0, le=1, description="The fraction of calls that are late."
    )
    straggler_factor: float = Field(
        default=5.0, ge=1, description="How many times as long a late one is."
    )
    speed: float = Field(
        default=1.0,
        gt=0,
        description="How many times faster than real: at 10, ten seconds take one.",
    )

    @field_validator("seconds", mode="before")
    @classmethod
    def _of_any_gpu(cls, value: Any) -> Any:
        """{1: 0.1} is {any: {1: 0.1}}."""
        if isinstance(value, dict) and not any(isinstance(v, dict) for v in value.values()):
            return {ANY_GPU: value} if value else {}
        return value

    @model_validator(mode="after")
    def _known_gpu(self) -> TimedSettings:
        curves = self.curves
        if not curves:
            raise ValueError("how long does a batch take? Give seconds, or the name of a profile")
        if self.gpu is not None and self.gpu not in curves:
            raise ValueError(f"gpu {self.gpu!r} is none of those timed: {', '.join(curves)}")
        return self

    @property
    def curves(self) -> dict[str, Curve]:
        """Seconds of a batch, by type of GPU; the first type is the default."""
        timed = {gpu: curve_of(sizes) for gpu, sizes in self.seconds.items()}
        return dict(sorted(timed.items(), key=lambda item: item[0] != self.gpu))


DEFAULT_SIDE = 512
"""Width and height in pixels of a stand-in's pictures, as Stable Diffusion 1.5 draws."""

ANY_GPU = "any"
"""Stands for every type of GPU where `seconds` names none."""


class TimedDiffusionSettings(TimedSettings):
    """A stand-in for a student or a teacher."""

    profile: str | None = Field(
        default=None,
        description="A published profile in place of `seconds`: sd-turbo, sdxs or sdxl-lightning "
        "for a student, sd-1.5 or sdxl for a teacher (docs/plan.md).",
    )

    @model_validator(mode="after")
    def _profile_or_seconds(self) -> TimedDiffusionSettings:
        if bool(self.profile) == bool(self.seconds):
            raise ValueError("give either profile or seconds")
        return self

    @property
    def curves(self) -> dict[str, Curve]:
        """See TimedSettings."""
        if self.profile is None:
            return super().curves
        if self.profile not in published():
            names = ", ".join(published())
            raise ValueError(f"{self.profile!r} is no published profile; there are {names}")
        found = published()[self.profile].curves
        return dict(sorted(found.items(), key=lambda item: item[0] != self.gpu))

    def steps(self, own: int) -> int:
        """The steps of the batch that was timed: the profile's, or else the model's `own`."""
        return own if self.profile is None else published()[self.profile].steps


class TimedOracleSettings(TimedSettings):
    """A stand-in for an oracle. Its scores are 0 to 1, by the rows' seeds."""

    seconds: dict[str, Annotated[dict[BatchSize, BatchSeconds], Field(min_length=1)]] = Field(
        default_factory=lambda: {ANY_GPU: {1: 0.02}},
        description="As for a student. Default: {1: 0.02}, which is what DiffServe says of its "
        "discriminator; larger batches in proportion.",
    )
    rejected: Fraction | tuple[tuple[Annotated[int, Field(ge=0)], Fraction], ...] = Field(
        default=0.5,
        description="The fraction of drawn pictures that score below 0.5, so that budget: "
        "{threshold: 0.5} refines it. Or a schedule over the rows, as [[0, 0.05], [5000, 0.75]]: "
        "from row 5000 on, 0.75; rows are counted by their seeds, and seed_column names a column "
        "of row numbers.",
    )

    @field_validator("rejected", mode="after")
    @classmethod
    def _in_order(cls, value: Any) -> Any:
        if isinstance(value, tuple):
            firsts = [first for first, _ in value]
            if firsts[:1] != [0] or firsts != sorted(set(firsts)):
                raise ValueError("a schedule begins at row 0, and its rows go up")
        return value

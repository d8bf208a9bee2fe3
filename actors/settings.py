"""What each model is told: frozen, validated, and free of torch, so that a job file loads fast.

`jobs.spec` puts these into the job file; `actors.models.presets` fills them for known models.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

DType = Literal["float32", "float16", "bfloat16"]

ALLOW_PICKLE = (
    "Load weights from pickles (.bin) where there are no .safetensors. A pickle can run code on "
    "every machine of the job: only for files that you trust."
)


class Settings(BaseModel):
    """Frozen, and strict about names: a misspelt field is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DiffusionSettings(Settings):
    """A text-to-image pipeline in diffusers' folder format."""

    path: Annotated[str, Field(min_length=1)] = Field(
        description="A folder that `DiffusionPipeline.from_pretrained` opens, or a hub id."
    )
    revision: str | None = Field(default=None, description="The hub revision (commit) to load.")
    allow_pickle: bool = Field(default=False, description=ALLOW_PICKLE)
    dtype: DType = Field(default="float32", description="Precision of weights and latents.")
    steps: int = Field(ge=1, le=1000, description="Scheduler steps of one whole drawing.")
    guidance_scale: float = Field(
        ge=0.0,
        description="Classifier-free guidance. Above 1 every step takes two network evaluations.",
    )
    batch_size: int = Field(
        ge=1,
        le=1024,
        description="Rows in a batch. Every batch has this shape: a shorter one is padded.",
    )
    width: int | None = Field(default=None, ge=8, description="Pixels; default: the model's own.")
    height: int | None = Field(default=None, ge=8, description="Pixels; default: the model's own.")

    @property
    def evaluations_per_step(self) -> int:
        """Network evaluations of one step: guidance doubles them."""
        return 2 if self.guidance_scale > 1 else 1


class StudentSettings(DiffusionSettings):
    """The fast, distilled model that draws every prompt."""


class TeacherSettings(DiffusionSettings):
    """The slow model that improves what the oracle rejects."""


ORACLE_KINDS = (
    "blip-itm", "image-reward", "clip-score", "pick-score", "hps-v2", "aesthetic", "ensemble",
)  # fmt: skip
"""The oracles that Bottega brings; any other kind is a class of the user's own."""


class ScorerSettings(Settings):
    """What scores how well a picture fits its prompt: higher is better."""

    kind: Annotated[str, Field(min_length=1)] = Field(
        default="blip-itm",
        description=f"{', '.join(ORACLE_KINDS)}; or a class of your own, as `module:Class` or by "
        "the name of its entry point (docs/oracles.md).",
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        description="A folder with the model in the format of its kind, or a hub id. None for an "
        "ensemble; a class of your own gets the folder as `path`.",
    )
    revision: str | None = Field(
        default=None,
        description="The hub revision (commit) to load; for a class of your own, the hash of its "
        "source file.",
    )
    allow_pickle: bool = Field(default=False, description=ALLOW_PICKLE)
    dtype: DType = Field(default="float32", description="Precision of the weights.")
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="For a class of your own: its keyword arguments."
    )

    @property
    def is_own(self) -> bool:
        """Whether this is a class of the user's own."""
        return self.kind not in ORACLE_KINDS

    @model_validator(mode="after")
    def _what_the_kind_takes(self) -> Self:
        if self.kind == "ensemble":
            if self.path is not None:
                raise ValueError("an ensemble has no path of its own; its members have")
        elif self.path is None and not self.is_own:
            raise ValueError(f"kind {self.kind!r} needs a path: a model's folder or a hub id")
        if self.options and not self.is_own:
            raise ValueError(f"options are for a class of your own, and not for {self.kind!r}")
        return self


class MemberSettings(ScorerSettings):
    """One of an ensemble's oracles."""

    weight: float = Field(
        default=1.0, allow_inf_nan=False, description="What its score is multiplied by."
    )

    @model_validator(mode="after")
    def _no_ensemble(self) -> Self:
        if self.kind == "ensemble":
            raise ValueError("an ensemble's members are no ensembles")
        return self


class OracleSettings(ScorerSettings):
    """The oracle of a job."""

    members: tuple[MemberSettings, ...] = Field(
        default=(), description="For an ensemble: the oracles whose weighted scores are added up."
    )
    batch_size: int = Field(ge=1, le=4096, description="Pictures in a batch; padded like the rest.")

    @model_validator(mode="after")
    def _members_of_an_ensemble(self) -> Self:
        if (self.kind == "ensemble") != bool(self.members):
            raise ValueError("kind: ensemble and members go together")
        return self


IMAGE_REWARD = OracleSettings(kind="image-reward", path="THUDM/ImageReward", batch_size=32)
"""The oracle of real models, unless the job names another."""


class ModelSettings(Settings):
    """The three models of a job."""

    student: StudentSettings = Field(description="Draws every prompt in a few steps.")
    oracle: OracleSettings = Field(
        default=IMAGE_REWARD,
        description="Scores each picture. Default: ImageReward, for real models.",
    )
    teacher: TeacherSettings = Field(description="Improves the rejected pictures.")


class PoolSettings(Settings):
    """How many actors of one kind there are, and what each one needs."""

    size: int | None = Field(
        default=None, ge=1, description="Actors. Default: what suits the cluster (see the log)."
    )
    gpus_per_actor: float | None = Field(
        default=None,
        ge=0.0,
        description="GPUs of one actor; 0.5 lets two share one. Default: 1 where there are GPUs, "
        "0.5 for student and oracle.",
    )
    threads_per_actor: int = Field(
        default=1,
        ge=1,
        description="torch's threads in one actor. On CPUs it changes the last bits of a picture, "
        "so it belongs to the job, and not to the machine.",
    )
    node_label: dict[str, str] = Field(
        default_factory=dict,
        description="Only nodes with these Ray labels, for example {bottega-pool: teacher}.",
    )


class PoolsSettings(Settings):
    """The three pools."""

    student: PoolSettings = Field(default_factory=PoolSettings, description="The student's pool.")
    oracle: PoolSettings = Field(default_factory=PoolSettings, description="The oracle's pool.")
    teacher: PoolSettings = Field(default_factory=PoolSettings, description="The teacher's pool.")

"""What each model is told: frozen, validated, and free of torch, so that a job file loads fast.

`jobs.spec` puts these into the job file; `actors.models.presets` fills them for known models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

DType = Literal["float32", "float16", "bfloat16"]

ALLOW_PICKLE = (
    "Load weights from pickles (.bin) where there are no .safetensors. A pickle can run code on "
    "every machine of the job: only for files that you trust."
)


class Settings(BaseModel):
    """Frozen, and strict about names: a misspelt field is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_is_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads `yes` as true, and Python takes true for 1: `refine: yes` would refine all.
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and {int, float} & {kind, *get_args(kind)}:
            raise ValueError("input should be a number, and not true or false")
        return value


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
    width: int | None = Field(
        default=None, ge=8, multiple_of=8, description="Pixels; default: the model's own."
    )
    height: int | None = Field(
        default=None, ge=8, multiple_of=8, description="Pixels; default: the model's own."
    )

    @property
    def evaluations_per_step(self) -> int:
        """Network evaluations of one step: guidance doubles them."""
        return 2 if self.guidance_scale > 1 else 1


class StudentSettings(DiffusionSettings):
    """The fast, distilled model that draws every prompt."""


class TeacherSettings(DiffusionSettings):
    """The slow model that improves what the oracle rejects."""


class OracleSettings(Settings):
    """The model that scores how well a picture fits its prompt: higher is better."""

    path: Annotated[str, Field(min_length=1)] = Field(
        description="A folder with an image-text retrieval model of transformers, or a hub id."
    )
    revision: str | None = Field(default=None, description="The hub revision (commit) to load.")
    allow_pickle: bool = Field(default=False, description=ALLOW_PICKLE)
    dtype: DType = Field(default="float32", description="Precision of the weights.")
    batch_size: int = Field(ge=1, le=4096, description="Pictures in a batch; padded like the rest.")


class ModelSettings(Settings):
    """The three models of a job."""

    student: StudentSettings = Field(description="Draws every prompt in a few steps.")
    oracle: OracleSettings = Field(description="Scores each picture.")
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

    @field_validator("gpus_per_actor")
    @classmethod
    def _whole_above_one(cls, value: float | None) -> float | None:
        if value and value > 1 and value % 1:
            raise ValueError("input should be a whole number above 1: only one GPU can be shared")
        return value


class PoolsSettings(Settings):
    """The three pools."""

    student: PoolSettings = Field(default_factory=PoolSettings, description="The student's pool.")
    oracle: PoolSettings = Field(default_factory=PoolSettings, description="The oracle's pool.")
    teacher: PoolSettings = Field(default_factory=PoolSettings, description="The teacher's pool.")

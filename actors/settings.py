"""What each model is told: frozen, validated, and free of torch, so that a job file loads fast.

`jobs.spec` puts these into the job file; `actors.models.presets` fills them for known models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from actors.models.profiles import Curve, curve_of, published

DType = Literal["float32", "float16", "bfloat16"]
SchedulerName = Literal[
    "ddim", "ddpm", "dpm-multistep", "euler", "euler-ancestral", "flow-euler", "flow-heun",
    "flow-lcm", "heun", "lcm", "pndm", "tcd", "unipc",
]  # fmt: skip

Fraction = Annotated[float, Field(ge=0, le=1)]

ALLOW_PICKLE = (
    "Load weights from pickles (.bin) where there are no .safetensors. A pickle can run code on "
    "every machine of the job: only for files that you trust."
)

PLACES = frozenset({"path", "file", "revision", "allow_pickle", "timed"})
"""Fields that say where a model's files are, or what stands in for them, and not what they are."""


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
        description="Whose seconds an actor takes if it cannot tell its GPU by the node's label "
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
        description="So many times as fast as real: 10 makes ten seconds one.",
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
        """Seconds of a batch, by type of GPU; the one to take by default is the first."""
        timed = {gpu: curve_of(sizes) for gpu, sizes in self.seconds.items()}
        return dict(sorted(timed.items(), key=lambda item: item[0] != self.gpu))


ANY_GPU = "any"
"""The type of a GPU whose type was not said."""


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
        """The steps that the seconds are of: the profile's, or else the model's `own`."""
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


class DenoiserSettings(Settings):
    """A UNet or transformer that takes the place of the pipeline's own."""

    path: Annotated[str, Field(min_length=1)] = Field(
        description="A folder with its config.json and .safetensors, or a hub id."
    )
    revision: str | None = Field(default=None, description="The hub revision (commit) to load.")


class LoraSettings(Settings):
    """A low-rank change of the pipeline's weights, fused into them when it is loaded."""

    path: Annotated[str, Field(min_length=1)] = Field(
        description="A .safetensors file, or with `file` the folder or hub id that holds it."
    )
    file: str | None = Field(default=None, description="The .safetensors file in `path`.")
    revision: str | None = Field(default=None, description="The hub revision (commit) to load.")
    scale: float = Field(default=1.0, description="How much of the change is applied.")


class ControlNetSettings(Settings):
    """A network beside the denoiser that is shown a picture of edges, depth or segments."""

    path: Annotated[str, Field(min_length=1)] = Field(
        description="A folder with its config.json and .safetensors, or a hub id."
    )
    revision: str | None = Field(default=None, description="The hub revision (commit) to load.")
    scale: float = Field(default=1.0, ge=0, le=10, description="How much it is listened to.")


class SchedulerSettings(Settings):
    """A scheduler that takes the place of the pipeline's own, with its settings kept otherwise."""

    name: SchedulerName | None = Field(
        default=None, description="Its kind. Default: the pipeline's own."
    )
    options: dict[str, bool | int | float | str | None] = Field(
        default_factory=dict,
        description="What its class in diffusers is told, e.g. {timestep_spacing: trailing}.",
    )
    timesteps: tuple[int, ...] | None = Field(
        default=None,
        description="The very timesteps of a drawing, falling, as many as `steps`; for students "
        "that were distilled at these.",
    )
    eta: float | None = Field(
        default=None, ge=0, le=1, description="Fresh noise of each step, for ddim and tcd."
    )


class DiffusionSettings(Settings):
    """A text-to-image pipeline in diffusers' folder format."""

    path: str = Field(
        default="",
        description="A folder that `DiffusionPipeline.from_pretrained` opens, or a hub id.",
    )
    timed: TimedDiffusionSettings | None = Field(
        default=None,
        description="In place of `path`: a stand-in that takes time instead of computing, for "
        "benchmarks and to plan a cluster. All three models, or none.",
    )
    revision: str | None = Field(default=None, description="The hub revision (commit) to load.")
    allow_pickle: bool = Field(default=False, description=ALLOW_PICKLE)
    variant: Annotated[str, Field(pattern=r"^\w+$")] | None = Field(
        default=None, description="Load the weight files of this variant, such as fp16."
    )
    denoiser: DenoiserSettings | None = Field(
        default=None,
        description="For a student published as a UNet or transformer alone (such as LCM-SDXL).",
    )
    lora: LoraSettings | None = Field(
        default=None,
        description="For a student that is a LoRA on its teacher (LCM-LoRA, Hyper-SD, Lightning).",
    )
    controlnet: ControlNetSettings | None = Field(
        default=None, description="With task: control only, and then for student and teacher."
    )
    scheduler: SchedulerSettings | None = Field(
        default=None, description="Default: the scheduler that the folder names."
    )
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
    prompt_tokens: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Tokens that a large text encoder (T5, Gemma, Qwen) reads of a prompt. Fewer "
        "are faster. Default: what diffusers' pipeline reads.",
    )
    image_guidance_scale: float | None = Field(
        default=None,
        ge=1,
        description="For editors that follow an instruction: how much of the row's picture stays. "
        "Default: 1.5, as diffusers'.",
    )
    guidance_passes: Literal[1, 2, 3] | None = Field(
        default=None,
        description="Network evaluations of one step. Default: by the family and the guidance.",
    )
    compile: bool = Field(
        default=False,
        description="torch.compile for the network, with this one shape. Pays where an actor "
        "draws more than some hundred batches.",
    )
    channels_last: bool = Field(
        default=False, description="The memory layout in which convolutions are faster on GPUs."
    )
    vae_slicing: bool = Field(
        default=False, description="Decode one picture at a time: less memory, more time."
    )
    vae_tiling: bool = Field(
        default=False, description="Decode in tiles, blended at their borders: for large pictures."
    )
    offload: Literal["none", "model", "sequential"] = Field(
        default="none",
        description="Keep weights in the CPU's memory until they are needed, by whole models or "
        "layer by layer: for GPUs that are too small. Much slower.",
    )

    @model_validator(mode="after")
    def _path_or_timed(self) -> DiffusionSettings:
        _exactly_one(self.path, self.timed)
        return self

    @property
    def evaluations_per_step(self) -> int:
        """Network evaluations of one step: in most families guidance doubles them."""
        return self.guidance_passes or (2 if self.guidance_scale > 1 else 1)

    @model_validator(mode="after")
    def _as_many_timesteps_as_steps(self) -> DiffusionSettings:
        timesteps = self.scheduler.timesteps if self.scheduler else None
        if timesteps is None:
            return self
        if len(timesteps) != self.steps:
            raise ValueError(f"scheduler.timesteps are {len(timesteps)}, and steps is {self.steps}")
        if list(timesteps) != sorted(set(timesteps), reverse=True):
            raise ValueError(f"scheduler.timesteps have to fall, got {list(timesteps)}")
        return self


class StudentSettings(DiffusionSettings):
    """The fast, distilled model that draws every prompt."""


class TeacherSettings(DiffusionSettings):
    """The slow model that improves what the oracle rejects."""

    @model_validator(mode="after")
    def _free_timesteps(self) -> TeacherSettings:
        if self.scheduler and self.scheduler.timesteps:
            raise ValueError("scheduler.timesteps are for a student: a teacher starts anywhere")
        return self


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
    path: str = Field(
        default="",
        description="A folder with the model in the format of its kind, or a hub id. An ensemble "
        "has none; a class of your own gets the folder as `path`.",
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
        if self.path and self.kind == "ensemble":
            raise ValueError("an ensemble has no path of its own; its members have")
        if self.options and not self.is_own:
            raise ValueError(f"options are for a class of your own, and not for {self.kind!r}")
        return self


class MemberSettings(ScorerSettings):
    """One of an ensemble's oracles."""

    weight: float = Field(
        default=1.0, allow_inf_nan=False, description="What its score is multiplied by."
    )

    @model_validator(mode="after")
    def _a_model(self) -> Self:
        if self.kind == "ensemble":
            raise ValueError("an ensemble's members are no ensembles")
        if not (self.path or self.is_own):
            raise ValueError(f"kind {self.kind!r} needs a path: a model's folder or a hub id")
        return self


class OracleSettings(ScorerSettings):
    """The oracle of a job."""

    timed: TimedOracleSettings | None = Field(
        default=None, description="In place of `path`: a stand-in, as for the student."
    )
    members: tuple[MemberSettings, ...] = Field(
        default=(), description="For an ensemble: the oracles whose weighted scores are added up."
    )
    batch_size: int = Field(ge=1, le=4096, description="Pictures in a batch; padded like the rest.")

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.kind == "ensemble") != bool(self.members):
            raise ValueError("kind: ensemble and members go together")
        _exactly_one(self.path or self.members or self.is_own, self.timed)
        return self


def _exactly_one(model: object, timed: TimedSettings | None) -> None:
    if bool(model) == (timed is not None):
        raise ValueError("give exactly one of path (a model) and timed (a stand-in for one)")


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

    @model_validator(mode="after")
    def _all_or_none_timed(self) -> ModelSettings:
        if len({model.timed is None for _, model in self}) > 1:
            timed = ", ".join(name for name, model in self if model.timed)
            raise ValueError(
                f"only {timed} is timed; a stand-in knows only what other stand-ins make: all "
                "three models are timed, or none"
            )
        return self

    @property
    def timed(self) -> bool:
        """Whether these are stand-ins, which take time instead of computing."""
        return self.student.timed is not None


class PoolSettings(Settings):
    """How many actors of one kind there are, and what each one needs."""

    size: int | None = Field(
        default=None,
        ge=1,
        description="Actors, from the beginning to the end. Default: the number follows what is "
        "measured (docs/balance.md).",
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
    grow: bool = Field(
        default=False,
        description="The cluster has an autoscaler: ask it for nodes as they are needed, for at "
        "most `max_size` actors of student and teacher, and give them back (docs/balance.md).",
    )

    @property
    def by_name(self) -> dict[str, PoolSettings]:
        """The pools."""
        return {"student": self.student, "oracle": self.oracle, "teacher": self.teacher}

    @model_validator(mode="after")
    def _grows_so_far(self) -> PoolsSettings:
        bounded = {name for name, pool in self.by_name.items() if pool.size or pool.max_size}
        endless = [name for name in ("student", "teacher") if name not in bounded]
        if self.grow and endless:
            raise ValueError(f"grow: how far? Give pools.{endless[0]}.max_size")
        return self

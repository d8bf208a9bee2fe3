"""The settings of each model: frozen, validated, and free of torch, so that a job file loads fast.

`jobs.spec.job_spec` puts these into the job file; `actors.models.presets` fills them for known
models.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from actors.strict import Settings
from actors.timed_settings import TimedDiffusionSettings, TimedOracleSettings, TimedSettings

DType = Literal["float32", "float16", "bfloat16"]
SchedulerName = Literal[
    "ddim", "ddpm", "dpm-multistep", "euler", "euler-ancestral", "flow-euler", "flow-heun",
    "flow-lcm", "heun", "lcm", "pndm", "tcd", "unipc",
]  # fmt: skip

ALLOW_PICKLE = (
    "Load weights from pickles (.bin) where there are no .safetensors. A pickle can run code on "
    "every machine of the job: only for files that you trust."
)

SquareFit = Literal["crop", "pad", "resize"]

PLACES = frozenset({"path", "file", "revision", "allow_pickle", "timed"})
"""Fields with the place of a model's files, or its stand-in. An identity leaves them out: it has a
hash of the content."""


# The upper bounds below are chosen: far above what any model takes, so that only typing errors meet
# them. 1,000 steps are all the training timesteps that diffusers' schedulers have.


class NetworkSettings(Settings):
    """A network that takes the place of the pipeline's own."""

    path: Annotated[str, Field(min_length=1)] = Field(
        description="A folder with its config.json and .safetensors, or a hub id; or one "
        ".safetensors file, which takes the configuration of the pipeline's own network."
    )
    file: str | None = Field(
        default=None, description="A .safetensors file in `path`, without a configuration."
    )
    revision: str | None = Field(default=None, description="The hub revision (commit) to load.")
    variant: Annotated[str, Field(pattern=r"^\w+$")] | None = Field(
        default=None, description="Load the weight files of this variant, such as fp16."
    )

    @property
    def is_file(self) -> bool:
        """Whether it is weights alone, in one file."""
        return self.file is not None or self.path.endswith(".safetensors")


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
    variant: Annotated[str, Field(pattern=r"^\w+$")] | None = Field(
        default=None, description="Load the weight files of this variant, such as fp16."
    )
    scale: float = Field(default=1.0, ge=0, le=10, description="How strongly it acts.")
    mode: int | None = Field(
        default=None,
        ge=0,
        description="Of a union of ControlNets for FLUX.1: the number that its card gives the kind "
        "of picture (canny, depth, ...).",
    )


class SchedulerSettings(Settings):
    """A scheduler that takes the place of the pipeline's own, with its settings kept otherwise."""

    name: SchedulerName | None = Field(
        default=None, description="Its kind. Default: the pipeline's own."
    )
    options: dict[str, bool | int | float | str | None] = Field(
        default_factory=dict,
        description="Arguments of its class in diffusers, e.g. {timestep_spacing: trailing}.",
    )
    timesteps: tuple[int, ...] | None = Field(
        default=None,
        description="The exact timesteps of a drawing, falling, as many as `steps`; for students "
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
    denoiser: NetworkSettings | None = Field(
        default=None,
        description="For a student published as a UNet or transformer alone (such as LCM-SDXL).",
    )
    vae: NetworkSettings | None = Field(
        default=None,
        description="Another autoencoder, such as madebyollin/sdxl-vae-fp16-fix.",
    )
    lora: LoraSettings | None = Field(
        default=None,
        description="For a student that is a LoRA on its teacher (LCM-LoRA, Hyper-SD, Lightning).",
    )
    loras: tuple[LoraSettings, ...] = Field(
        default=(), description="More LoRAs, fused after `lora`, each with its own scale."
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
    guidance_rescale: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="How much of the contrast that guidance adds is taken back (arXiv 2305.08891), "
        "for Stable Diffusion and SDXL. Default: diffusers', 0.",
    )
    clip_skip: int | None = Field(
        default=None,
        ge=1,
        le=11,
        description="Layers of CLIP that are left out at its end, for SDXL and Stable Diffusion 3, "
        "as diffusers counts them.",
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
    prompt_windows: int = Field(
        default=1,
        ge=1,
        le=16,
        description="How often CLIP's 77 tokens are read of each prompt, for Stable Diffusion 1, 2 "
        "and XL (docs/models.md). 1: as diffusers.",
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

    @model_validator(mode="after")
    def _weights_stay_where_they_are_compiled(self) -> DiffusionSettings:
        if self.compile and self.offload != "none":
            raise ValueError(
                "compile and offload: the hooks that move weights take the compiled network's "
                "place; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _windows_are_read_here(self) -> DiffusionSettings:
        if self.prompt_windows > 1 and (self.offload != "none" or self.clip_skip is not None):
            other = "offload" if self.offload != "none" else "clip_skip"
            raise ValueError(
                f"prompt_windows and {other}: the text encoders are called one window at a time, "
                f"where {other} has no effect; leave one of them out"
            )
        return self

    @property
    def all_loras(self) -> tuple[LoraSettings, ...]:
        """`lora` and `loras`, in the order in which they are fused."""
        return (*([self.lora] if self.lora else []), *self.loras)

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
    "blip-itm", "image-reward", "clip-score", "pick-score", "hps-v2", "aesthetic", "classifier",
    "ensemble",
)  # fmt: skip
"""The oracles that Bottega brings; any other kind is a class of the user's own."""


class ScorerSettings(Settings):
    """A model or a class that scores how well a picture fits its prompt: higher is better."""

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
    label: str | None = Field(
        default=None,
        description="With kind: classifier, the label whose probability is the score, as its "
        "config.json has it.",
    )
    fit: SquareFit | None = Field(
        default=None,
        description="How a picture that is not square becomes one, as the models see it. crop: its "
        "middle alone counts; pad: black beside it; resize: it is distorted. Default: as the model "
        "was published (docs/oracles.md).",
    )
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="For a class of your own: its keyword arguments. A secret (token, password, "
        "api_key, ...) is named by its place, `env:NAME` or `file:PATH`, and read by the actor.",
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
        if (self.kind == "classifier") != (self.label is not None):
            raise ValueError("kind: classifier and label go together")
        return self


class MemberSettings(ScorerSettings):
    """One of an ensemble's oracles."""

    weight: float = Field(
        default=1.0, allow_inf_nan=False, description="Its score is multiplied by this."
    )

    @model_validator(mode="after")
    def _a_model(self) -> Self:
        _one_model(self, "an ensemble's members are no ensembles")
        return self


class ExtraScoreSettings(ScorerSettings):
    """A further score of every picture, which becomes a column and decides nothing."""

    column: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$", max_length=100)] = Field(
        description="The name of its column: letters, digits and underscores."
    )

    @model_validator(mode="after")
    def _a_model(self) -> Self:
        _one_model(self, "an extra score is no ensemble; give each member a column of its own")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return (self.column,)


class FilterSettings(ExtraScoreSettings):
    """An extra score with a flag. The picture stays as it is, and so does the row."""

    above: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="Pictures that score above this are flagged, in the column COLUMN_flagged.",
    )
    below: float | None = Field(
        default=None, allow_inf_nan=False, description="Or those that score below this."
    )

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("a filter has exactly one of above and below: what it flags")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return self.column, f"{self.column}_flagged"


def _one_model(settings: ScorerSettings, no_ensemble: str) -> None:
    if settings.kind == "ensemble":
        raise ValueError(no_ensemble)
    if not (settings.path or settings.is_own):
        raise ValueError(f"kind {settings.kind!r} needs a path: a model's folder or a hub id")


class OracleSettings(ScorerSettings):
    """The oracle of a job."""

    timed: TimedOracleSettings | None = Field(
        default=None, description="In place of `path`: a stand-in, as for the student."
    )
    members: tuple[MemberSettings, ...] = Field(
        default=(), description="For an ensemble: the oracles whose weighted scores are added up."
    )
    extra_scores: tuple[ExtraScoreSettings, ...] = Field(
        default=(),
        description="Further scores of every picture. Each becomes a column, and decides nothing "
        "(docs/oracles.md).",
    )
    filters: tuple[FilterSettings, ...] = Field(
        default=(),
        description="Further scores with a flag, as for what is not safe for work. No row is "
        "dropped, and no picture is changed.",
    )
    batch_size: int = Field(ge=1, le=4096, description="Pictures in a batch; padded like the rest.")

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.kind == "ensemble") != bool(self.members):
            raise ValueError("kind: ensemble and members go together")
        _exactly_one(self.path or self.members or self.is_own, self.timed)
        return self

    @model_validator(mode="after")
    def _each_column_once(self) -> Self:
        names = [name for extra in self.extras for name in extra.columns]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two of extra_scores and filters have the column {twice[0]!r}")
        return self

    @property
    def extras(self) -> tuple[ExtraScoreSettings, ...]:
        """The scores that decide nothing: `extra_scores` and `filters`."""
        return (*self.extra_scores, *self.filters)

    @property
    def scorers(self) -> tuple[ScorerSettings, ...]:
        """This one, and all that it brings along."""
        return (self, *self.members, *self.extras)


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

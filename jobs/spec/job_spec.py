"""The job file: its fields, their rules, and errors that name the field, the rule and a way out.

Every field is described here, and nowhere else: `docs/job-file.md` is generated from these
descriptions. Bounds without a reason beside them are chosen wide: they catch slips, such as a
strength of 60. Relative paths are relative to the folder in which the command runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from actors.errors import SpecError
from actors.models.presets import CATALOGUE, PRESETS
from actors.pool_settings import PoolsSettings
from actors.redact import has_known_key, has_secret_url, is_secrets_name
from actors.refinement import Fit, Size
from actors.secret_references import is_reference
from actors.seeds import MAX_SEED
from actors.settings import ModelSettings
from actors.strict import Settings
from actors.timed_settings import DEFAULT_SIDE
from jobs.spec.after import After
from jobs.spec.ladder import (
    SHORT,
    Attempt,
    LadderRung,
    Rollback,
    attempts_of,
    check_alone,
    check_ladder,
    exactly_one_of,
)
from jobs.spec.part_size import USUAL_SIDE, PartSize, default_part_size
from jobs.spec.picture_formats import (
    DEFAULT_LEVEL,
    DEFAULT_QUALITY,
    ImageFormat,
    PictureFormat,
)
from jobs.spec.search import Search, as_search, check_search
from jobs.spec.sizes import check_sizes, parse_size
from jobs.spec.strict_yaml import read_mapping
from jobs.spec.task import Control, Edit, JobTask, check_task
from jobs.storage.urls import checked, is_url, scheme_of


class Budget(Settings):
    """The spending on the teacher, given in exactly one way."""

    refine: float | None = Field(
        default=None, ge=0, le=1, description="The fraction of pictures that the teacher improves."
    )
    nfe: float | None = Field(
        default=None,
        gt=0,
        description="Mean network evaluations a picture; guidance doubles them.",
    )
    threshold: float | None = Field(
        default=None,
        description="Scores below this go to the teacher; no calibration is needed.",
    )
    gpu_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Mean actor-seconds a picture over the three pools. The calibration times them "
        "on this cluster: the median of the calls of each pool, without an actor's first.",
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        exactly_one_of(self, "refine, nfe, threshold or gpu_seconds")
        return self


class JobSpec(Settings):
    """A job."""

    name: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        default="job", description="For people and logs; it changes no picture."
    )
    input: Annotated[str, Field(min_length=1)] = Field(
        description="Prompts: a file, folder or glob of parquet, arrow, csv, tsv, jsonl, json or "
        "txt (docs/input.md)."
    )
    prompt_column: str = Field(default="prompt", description="The column with the prompts.")
    negative_prompt: str | None = Field(
        default=None,
        description="What the pictures should not show. Read by student and teacher where they are "
        "guided (`guidance_scale` above 1); distilled models mostly are not.",
    )
    negative_prompt_column: str | None = Field(
        default=None, description="A column of negative prompts; a null is `negative_prompt`."
    )
    guidance_scale_column: str | None = Field(
        default=None,
        description="A column of guidance scales, above 1; a null is the model's own. Read by "
        "student and teacher whose own `guidance_scale` is above 1. Rows with the same share "
        "batches, so few different ones are cheaper.",
    )
    size: str | None = Field(
        default=None,
        description="Width and height of all pictures in pixels, as 1024x768: those of student "
        "and teacher.",
    )
    sizes: tuple[str, ...] = Field(
        default=(),
        description="Or several sizes, of which `size_column` chooses each row's. Rows of the same "
        "size share batches.",
    )
    size_column: str | None = Field(
        default=None,
        description="With `sizes`: a column of sizes (1024x768), or of aspect ratios (1.5, 3:2), "
        "which take the nearest of them; a null takes the first.",
    )
    task: JobTask = Field(
        default="generate",
        description="generate: a picture from each prompt. edit: each row's picture changed "
        "towards its prompt. control: drawn from the prompt, led by each row's picture.",
    )
    image_column: str | None = Field(
        default=None,
        description="With edit and control: the column of pictures. Bytes, Hugging Face's "
        "structs, or paths or URLs, relative to the input's place.",
    )
    image_roots: tuple[str, ...] = Field(
        default=(),
        description="The places, besides the input's own, that URLs in `image_column` may be "
        "below: s3://BUCKET/FOLDER, https://HOST/FOLDER. No other address is asked.",
    )
    image_fit: Fit | None = Field(
        default=None,
        description="How a picture of another shape is brought to the model's width and height. "
        "crop (the default): it loses its edges; stretch: it is distorted.",
    )
    target_column: str | None = Field(
        default=None,
        description="With edit, where the prompts are instructions (make it red): the column that "
        "describes the result (a red car), for the oracle. Default: the prompts.",
    )
    edit: Edit | None = Field(default=None, description="With `task: edit`.")
    control: Control | None = Field(default=None, description="With `task: control`.")
    id_column: str | None = Field(
        default=None, description="A column that names rows. Default: the row's number."
    )
    seed_column: str | None = Field(
        default=None, description="A column of seeds; a null is derived from `seed` and the id."
    )
    output: Annotated[str, Field(min_length=1)] = Field(
        description="The place of the dataset: a folder, or a URL as s3://BUCKET/FOLDER, gs://, "
        "az:// or hf://buckets/ORG/NAME (docs/storage.md)."
    )
    output_shared: bool | None = Field(
        default=None,
        description="Whether every node sees the output's folder under the same path, as on a "
        "network's disk. Then parts are written from any node, and not from the driver's alone. By "
        "default each node looks for the driver's heartbeat in it. An object store is shared "
        "anyway.",
    )
    models: ModelSettings = Field(
        description="A preset's name; or `preset:` and what differs from it; or student, oracle "
        "and teacher each spelled out."
    )
    budget: Budget = Field(
        default_factory=lambda: Budget(refine=0.3), description="The spending on the teacher."
    )
    draws: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Pictures that the student draws of each prompt. The oracle keeps the best of "
        "them, and only then the threshold applies; all of them count in `nfe`.",
    )
    strategy: Literal["refine", "regenerate"] = Field(
        default="refine",
        description="refine: from the student's picture, rolled back; regenerate: from noise. "
        "A preset may have another default.",
    )
    rollback: Rollback | None = Field(
        default=None, description="With `refine` only. Default: the preset's, or {strength: 0.6}."
    )
    teacher_steps: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Steps the teacher really takes on a rejected picture. Default: the same "
        "density of steps as in its whole drawing.",
    )
    keep: Literal["teacher", "best"] = Field(
        default="teacher",
        description="The picture that a refined row keeps: the teacher's, or the better scored.",
    )
    ladder: tuple[LadderRung, ...] | None = Field(
        default=None,
        description="What is tried on a row, in order, until a score passes (docs/ladder.md); or "
        "the name of one of the preset's ladders (`bottega models show` lists them). It spells "
        "out what budget, draws, strategy, rollback, teacher_steps and keep say in short, and "
        "stands instead of them. `search`: short for `search: {}`.",
    )
    search: Search | None = Field(
        default=None,
        description="The calibration finds the ladder that is best within `budget.nfe` or "
        "`budget.gpu_seconds`; draws, strategy, rollback and teacher_steps are among what it tries "
        "(docs/ladder.md).",
    )
    save_student: bool = Field(
        default=False, description="Keep the student's picture of refined rows in `student_image`."
    )
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="The job's seed.")
    rows_per_part: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Rows of one output file, and unit of resume; at least the larger batch of "
        "student and teacher. Default: for files of about 480 MB, by the format and the models' "
        "width and height; at least 16 batches, at most 2,048 rows (docs/plan.md).",
    )
    image_format: ImageFormat = Field(default="png", description="How pictures are stored.")
    image_quality: int = Field(
        default=DEFAULT_QUALITY, ge=1, le=100, description="For jpeg and webp."
    )
    image_lossless: bool = Field(
        default=False,
        description="With webp: no pixel changes. Files are a tenth smaller than PNG, and take a "
        "quarter of the time to encode.",
    )
    png_level: int = Field(
        default=DEFAULT_LEVEL,
        ge=0,
        le=9,
        description="How hard zlib tries, with png: 0 stores, 1 is the fastest, 9 the smallest.",
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        description="Draw so many rows only, spread over the input: a pilot. `bottega run --limit` "
        "sets it, with an output of its own.",
    )
    calibration_rows: int | None = Field(
        default=None,
        ge=8,
        le=100_000,
        description="Rows drawn to turn the budget into a threshold. Default: a hundredth of the "
        "rows, at least 256 and at most 8,192.",
    )
    max_attempts: int = Field(
        default=3, ge=1, le=20, description="Times that a batch may fail before it is halved."
    )
    max_failed: int | float = Field(
        default=0.1,
        description="The job ends early when more rows failed: a fraction of the rows so far, "
        "written with a point (`0.1`, at most `1.0`), or a count of rows, written without (`25`).",
    )
    stall_timeout_seconds: float = Field(
        default=1800, gt=0, description="The job ends when nothing has happened for this long."
    )
    place_timeout_seconds: float = Field(
        default=21_600,
        gt=0,
        description="The job ends when it has waited this long for its place in the cluster: for "
        "GPUs that other jobs use, or for nodes that have not joined.",
    )
    call_timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        description="An actor that spends longer on one call counts as hung and is replaced. "
        "Default: 10 times its pool's slowest call so far, at least 60, at most half of "
        "`stall_timeout_seconds`.",
    )
    max_gpus: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="No more GPUs than this; fixed sizes that need more are refused. Default: all "
        "that the cluster has, less those of other jobs (docs/cluster.md).",
    )
    priority: int = Field(
        default=0,
        ge=-1000,
        le=1000,
        description="Of several jobs on a cluster, those with a higher one have GPUs first; equal "
        "ones share them evenly.",
    )
    pools: PoolsSettings = Field(
        default_factory=PoolsSettings, description="Sizes and needs of the three actor pools."
    )
    missing_input: Literal["refuse", "skip"] = Field(
        default="refuse",
        description="What a job does whose `input` has no file: fails, or ends well and makes "
        "nothing, as on a night without news (docs/pipelines.md).",
    )
    after: After = Field(
        default_factory=After,
        description="What follows the complete dataset: steps, and hooks (docs/pipelines.md).",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_the_preset_improves(cls, fields: Any) -> Any:
        """The preset's ladder of this name; its strategy and rollback, where the job says nothing
        else."""
        if not isinstance(fields, dict):
            return fields
        fields = as_search(fields)
        check_alone(fields)
        if fields.get("size") is not None or fields.get("sizes"):
            fields = {**fields, "models": _without_the_presets_size(fields.get("models"))}
        models = fields.get("models")
        name = models.get("preset") if isinstance(models, dict) else models
        if isinstance(ladder := fields.get("ladder"), str):
            return {**fields, "ladder": _ladder_named(ladder, name)}
        if ladder is not None or not isinstance(name, str) or name not in CATALOGUE:
            return fields
        preset = CATALOGUE[name]
        if not {"strategy", "rollback"} & fields.keys():
            fields = {**fields, "strategy": preset.strategy}
        if preset.strategy == fields.get("strategy") == "refine" and "rollback" not in fields:
            fields = {**fields, "rollback": preset.rollback}
        return fields

    @field_validator("input", "output")
    @classmethod
    def _a_path_or_a_url(cls, value: str) -> str:
        if is_url(value):
            try:
                return checked(value)
            except SpecError as error:
                raise ValueError(str(error).rstrip(".")) from None
        return value

    @field_validator("image_roots", mode="before")
    @classmethod
    def _places(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(f"it is a list of places. Write [{value!r}]")
        return value

    @field_validator("image_roots")
    @classmethod
    def _roots(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for root in value:
            try:
                if scheme_of(root) not in ("https", "http"):
                    checked(root)
            except SpecError as error:
                raise ValueError(str(error).rstrip(".")) from None
        return value

    @field_validator("name")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("a name is one line of printable characters")
        return value

    @field_validator("size", "sizes")
    @classmethod
    def _real_sizes(cls, value: Any) -> Any:
        for text in (value,) if isinstance(value, str) else value or ():
            parse_size(text)
        return value

    @field_validator("max_failed", mode="before")
    @classmethod
    def _fraction_or_count(cls, value: Any) -> Any:
        fraction = isinstance(value, float) and 0 <= value <= 1
        count = type(value) is int and value >= 0
        if not fraction and not count:
            raise ValueError("give a fraction from 0.0 to 1.0, or a whole number of rows")
        return value

    @field_validator("models", mode="before")
    @classmethod
    def _fill_preset(cls, value: Any) -> Any:
        changed = value if isinstance(value, dict) else {"preset": value}
        if "preset" not in changed or not isinstance(value, dict | str):
            return value
        name = changed["preset"]
        if name not in list(PRESETS):
            raise ValueError(f"{name!r} is no preset{_nearest(str(name), PRESETS)}")
        own = {field: new for field, new in changed.items() if field != "preset"}
        return _merged(_base(PRESETS[name], own), own)

    @model_serializer(mode="wrap")
    def _as_it_was_said(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A job with a ladder has none of the fields that say one in short, and the others none."""
        unsaid = {"ladder"} if self.ladder is None else set(SHORT)
        if self.search is None:
            unsaid.add("search")  # so that the ids of jobs stay what they were before there was one
        return {name: value for name, value in fields(self).items() if name not in unsaid}

    @model_validator(mode="after")
    def _no_contradictions(self) -> JobSpec:
        if self.ladder is not None:
            check_ladder(self.ladder)
        if self.search is not None:
            paid = self.budget.nfe or self.budget.gpu_seconds
            judges = [extra.column for extra in self.models.oracle.extra_scores]
            check_search(self.search, paid is not None, self.keep, judges)
        if self.limit is not None and (self.after.publish or self.after.retention):
            raise ValueError(
                "limit: a pilot is not published, and no output is deleted for it. Leave out "
                "limit, or after.publish and after.retention"
            )
        if self.strategy == "regenerate" and self.rollback is not None:
            raise ValueError(
                "rollback: it goes with strategy: refine; regenerate starts from noise"
            )
        if self.prompt_column in (self.id_column, self.seed_column):
            other = "id_column" if self.prompt_column == self.id_column else "seed_column"
            raise ValueError(f"{other}: {self.prompt_column!r} is prompt_column already")
        if self.image_format == "png" and self.image_quality != DEFAULT_QUALITY:
            raise ValueError(
                "image_quality: it goes with image_format: jpeg or webp; png loses nothing"
            )
        if self.image_lossless and self.image_format != "webp":
            raise ValueError(
                "image_lossless: it goes with image_format: webp; png loses nothing, jpeg always "
                "does"
            )
        if self.image_lossless and self.image_quality != DEFAULT_QUALITY:
            raise ValueError("image_quality: with image_lossless nothing is lost; leave it out")
        if self.png_level != DEFAULT_LEVEL and self.image_format != "png":
            raise ValueError(f"png_level: it goes with image_format: png, not {self.image_format}")
        if (self.call_timeout_seconds or 0) >= self.stall_timeout_seconds:
            raise ValueError(
                f"call_timeout_seconds: {self.call_timeout_seconds:g} is not less than "
                f"stall_timeout_seconds ({self.stall_timeout_seconds:g}): the job would end before "
                "a hung actor is replaced"
            )
        if self.size is not None and self.sizes:
            raise ValueError("size: and sizes has several; give one of the two")
        check_sizes(self.all_sizes, self.size_column is not None, self.models)
        if self.guidance_scale_column is not None and not self.guided_roles:
            raise ValueError(
                "guidance_scale_column: neither student nor teacher is guided: it is read with a "
                "guidance_scale above 1. Leave it out"
            )
        check_task(
            self.task,
            self.image_column,
            self.image_fit,
            self.target_column,
            self.edit,
            self.control,
            self.models,
        )
        timed = self.models.oracle.timed
        if timed and isinstance(timed.rejected, tuple) and self.seed_column is None:
            raise ValueError(
                "models.oracle.timed.rejected: a schedule counts rows by their seeds; "
                "name a column of row numbers as seed_column"
            )
        return self

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What is tried on a row, in order. Of the short way the budget says which rows the teacher
        gets."""
        if self.ladder is not None:
            return attempts_of(self.ladder)
        teacher = Attempt(
            self.strategy, keep=self.keep, rollback=self.rollback, steps=self.teacher_steps
        )
        return Attempt("draw"), teacher

    @property
    def all_sizes(self) -> tuple[Size, ...]:
        """The sizes that the job file says; none where the models say it."""
        return tuple(map(parse_size, self.sizes if self.size is None else [self.size]))

    @property
    def guided_roles(self) -> tuple[str, ...]:
        """Those of student and teacher that read a row's own guidance scale."""
        models = {"student": self.models.student, "teacher": self.models.teacher}
        return tuple(role for role, model in models.items() if model.guidance_scale > 1)

    @property
    def picture_format(self) -> PictureFormat:
        """How pictures are stored."""
        return PictureFormat(
            self.image_format, self.image_quality, self.png_level, self.image_lossless
        )

    @property
    def pixels(self) -> int:
        """Of a picture, of the largest; of USUAL_SIDE where only the models' files say."""
        if self.all_sizes:
            return max(map(prod, self.all_sizes))
        student = self.models.student
        usual = DEFAULT_SIDE if self.models.timed else USUAL_SIDE
        return (student.width or usual) * (student.height or usual)

    @property
    def part_size(self) -> PartSize:
        """The rows of a part, and why so many."""
        # Without a fraction in the budget, as many as by the default budget are refined.
        refined = 0.3 if self.budget.refine is None else self.budget.refine
        saved, form = 1 + refined * self.save_student, self.picture_format
        batch = max(self.batch_sizes.values())
        if self.rows_per_part is None:
            return default_part_size(batch, self.pixels, form, saved)
        stored = self.rows_per_part * saved * self.pixels * form.price.stored
        return PartSize(self.rows_per_part, stored, "set in the job file")

    @property
    def is_written_from_any_node(self) -> bool:
        """Whether parts are, and nobody has to look: to an object store, or a shared folder."""
        return bool(self.output_shared) or "://" in self.output

    @property
    def batch_sizes(self) -> dict[str, int]:
        """Of student and teacher."""
        return {
            "student": self.models.student.batch_size,
            "teacher": self.models.teacher.batch_size,
        }

    @property
    def part_rows(self) -> int:
        """The rows of a part: `rows_per_part`, or the default."""
        return self.rows_per_part or self.part_size.rows


NOT_IN_THE_BYTES = frozenset(
    {
        "name",
        "input",
        "output",
        "output_shared",
        "pools",
        "max_attempts",
        "max_failed",
        "stall_timeout_seconds",
        "place_timeout_seconds",
        "max_gpus",
        "priority",
        "call_timeout_seconds",
        "missing_input",
        "after",
    }
)
"""Fields that change how a job runs and no byte of its rows; a resumed run may change them.

`input` is among them: its files count by their names and contents, not by their paths.
"""


MAX_SHOWN = 60
"""Characters of a list or a mapping that is wrong: a longer one would hide the sentence."""


def load_spec(path: str | Path, **overrides: Any) -> JobSpec:
    """Read a job file. `overrides` replace its fields. Raises SpecError."""
    fields = read_mapping(Path(path))
    return make_spec({**fields, **overrides}, where=str(path))


def make_spec(fields: dict[str, Any], where: str = "job") -> JobSpec:
    """Validate fields. Raises SpecError with each field's path, the rule and the nearest name."""
    _refuse_secrets(fields, where)
    _refuse_no_text(fields, where)
    try:
        return JobSpec.model_validate(fields)
    except ValidationError as error:
        problems = [_explain(problem) for problem in _of_alternatives(error)]
    raise SpecError(f"{where}:\n" + "\n".join(f"  {problem}" for problem in problems))


def _refuse_secrets(fields: dict[str, Any], where: str) -> None:
    """A job file is copied and shown around, and so is job.json: neither is a place for keys."""
    texts = list(_texts(fields))
    named = sorted(
        path
        for path, text in texts
        if (is_secrets_name(path.rpartition(".")[2]) and not is_reference(text))
        or has_known_key(text)
    )
    if named:
        raise SpecError(
            f"{where}: a job file is no place for secrets, such as {', '.join(named)} by the name "
            "or by the form. Give the place where it is: env:NAME_OF_A_VARIABLE or "
            "file:/path/of/a/file."
        )
    found = sorted(path for path, text in texts if has_secret_url(text))
    if found:
        raise SpecError(
            f"{where}: {', '.join(found)}: a URL with a key or a password in it. Write it without, "
            "and give the key in the environment (as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) "
            "or by an instance role. An @ that belongs to the path is written %40."
        )


def _refuse_no_text(fields: dict[str, Any], where: str) -> None:
    """Neither a path nor a prompt nor JSON has a NUL character, or half of one (a surrogate)."""
    for path, text in _texts(fields):
        wrong = next((one for one in text if one == "\0" or "\ud800" <= one <= "\udfff"), None)
        if wrong is not None:
            what = "a NUL character" if wrong == "\0" else f"the surrogate {wrong!r}"
            raise SpecError(
                f"{where}: {path} has {what} at position {text.index(wrong)}, which no text has. "
                "Leave it out."
            )


def _texts(fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text in the fields, with its path."""
    waiting: list[tuple[str, Any]] = [("", fields)]
    seen: set[int] = set()
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, dict | list) and id(value) not in seen:
            # YAML's aliases put one object into many places, or into itself.
            seen.add(id(value))
            below = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(f"{path}.{name}".lstrip("."), one) for name, one in below]


def _of_alternatives(error: ValidationError) -> list[dict[str, Any]]:
    """The problems; those of a value that fits none of several types are one."""
    found: list[dict[str, Any]] = []
    for problem in (dict(one) for one in error.errors()):
        last = found[-1] if found else None
        if last and _is_of_one_value(last, problem):
            place = last.get("place", last["loc"][:-1])
            words = str(problem["msg"]).removeprefix("Input should be ")
            words = "a mapping" if "dictionary" in words else words
            more = "" if words in last["msg"] else f" or {words}"
            found[-1] = {**last, "place": place, "msg": last["msg"] + more}
        else:
            found.append(problem)
    return [{**one, "loc": one.get("place", one["loc"])} for one in found]


def _is_of_one_value(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether pydantic tried two types on one value: it then names the type behind the field."""
    of_types = all(p["type"].endswith(("_type", "_number", "_parsing")) for p in (one, other))
    return of_types and one["loc"][:-1] == other["loc"][:-1] and one["input"] is other["input"]


def _explain(problem: dict[str, Any]) -> str:
    path = ".".join(str(step) for step in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not path:
        return message  # a contradiction between fields; it begins with the field to change
    if problem["type"] == "extra_forbidden":
        names = _names_at(JobSpec, problem["loc"][:-1])
        return f"{path}: unknown field{_nearest_field(str(problem['loc'][-1]), names)}"
    if problem["type"] == "missing":
        return f"{path}: this field is required"
    if problem["type"] in ("model_type", "dict_type"):
        names = _names_at(JobSpec, problem["loc"])
        message = " of ".join(["input should be a mapping", *filter(None, [", ".join(names)])])
    if problem["type"] == "tuple_type":
        message = "input should be a list"
    shown = problem["input"]
    is_short = isinstance(shown, str | int | float | bool | None) or len(repr(shown)) <= MAX_SHOWN
    got = f", got {shown!r}" if is_short and repr(shown) not in message else ""
    return f"{path}: {message[0].lower()}{message[1:]}{got}"


def _names_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The field names that are valid at a path."""
    for step in path:
        if isinstance(step, int):
            continue  # a place in a list
        below = _models_of(model, step)
        if not below:
            return []
        model = below[0]
    return [*model.model_fields, *(["preset"] if model is ModelSettings else [])]


def _models_of(model: type[BaseModel], name: str) -> list[type[BaseModel]]:
    """The model of the fields below a field; none for a plain value or an unknown name."""
    field = model.model_fields.get(name)
    return list(_models_in(field.annotation)) if field else []


def _models_in(kind: Any) -> Iterator[type[BaseModel]]:
    """The models in a type, at any depth: in a list, or as one of several."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in get_args(kind):
        yield from _models_in(inner)


def _ladder_named(name: str, preset: Any) -> Any:
    """The rungs of a preset's ladder, as a job file has them. Raises ValueError."""
    if not isinstance(preset, str) or preset not in CATALOGUE:
        raise ValueError(
            f"ladder: {name!r} would be the name of a preset's ladder, and `models` names no "
            "preset. Write its rungs (docs/ladder.md)"
        )
    ladders = CATALOGUE[preset].ladders
    if name not in ladders:
        there = f"which has {', '.join(ladders)}" if ladders else "which has none"
        raise ValueError(
            f"ladder: {name!r} is no ladder of the preset {preset!r}, {there}. Take one of another "
            "name, or write its rungs (docs/ladder.md)"
        )
    return [dict(rung) for rung in ladders[name].rungs]


def _nearest_field(name: str, valid: list[str]) -> str:
    """A field of this very name in another place is nearer than one whose name looks alike."""
    elsewhere = [path for path in _paths(JobSpec) if path.split(".")[-1] == name]
    if elsewhere:
        return f". Did you mean {' or '.join(map(repr, elsewhere[:3]))}?"
    return _nearest(name, valid)


def _paths(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Every field of a job file, as `pools.teacher.size`."""
    for name in model.model_fields:
        yield above + name
        for below in _models_of(model, name):
            yield from _paths(below, f"{above}{name}.")


def _nearest(name: str, valid: Any) -> str:
    names = sorted(valid)
    # Chosen below difflib's 0.6: a wrong suggestion costs a glance, a missing one a search.
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f". Did you mean {close[0]!r}?"
    return f". Valid names: {', '.join(names)}." if names else ""


def _without_the_presets_size(models: Any) -> Any:
    """The models, where the job says the size: a preset's own gives way, one of the job file's own
    would be a contradiction."""
    changed = models if isinstance(models, dict) else {"preset": models}
    if "preset" not in changed or not isinstance(models, dict | str):
        return models
    found = dict(changed)
    for role in ("student", "teacher"):
        own = found.get(role, {})
        if isinstance(own, dict):
            found[role] = {"width": None, "height": None, **own}
    return found


def _base(preset: ModelSettings, own: dict[str, Any]) -> dict[str, Any]:
    """The fields that a job's own are merged into; another kind of oracle inherits no files."""
    base = preset.model_dump()
    oracle = own.get("oracle")
    if isinstance(oracle, dict) and oracle.get("kind", preset.oracle.kind) != preset.oracle.kind:
        base["oracle"] = {"batch_size": preset.oracle.batch_size}
    return base


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`base` with the fields of `own` in place of its own, also further down.

    A table of seconds is replaced whole: a mixture of two tables was measured nowhere.
    """
    merged = dict(base)
    for name, value in own.items():
        below = base.get(name)
        both = isinstance(below, dict) and isinstance(value, dict) and name != "seconds"
        merged[name] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged

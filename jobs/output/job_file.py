"""Reads job.json back, and believes nothing of it that can be checked.

Every field is validated, so that whoever reads the job gets a sentence instead of a traceback. What
an older version did not write takes its default, as in a job file. `contradictions` derives again
what follows from the other fields: the threshold, first of all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from math import inf, isnan
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from actors.errors import OutputError, SpecError
from jobs.spec.byte_fields import byte_fields, threads_of
from jobs.spec.job_spec import JobSpec, make_spec
from jobs.spec.threshold import Thresholds, certain, thresholds

FORMAT = 4
"""The format of job.json that this version writes; a file without the field has format 1.

It rises when an older version would misread the file. A new field of the job file with a default is
no reason: an older job.json takes the default. Since format 2 `calibration_rows` may be null, for a
sample by the job's size. `jobs.spec.sample` chooses its rows, and `calibration.seconds_per_row` has
medians of warm actors' calls. Since format 3 a row without an id, among rows that have one, has a
seed that no id gives, and parts have other row groups and pages: the same rows make other bytes.
Since format 4 parts lie in folders of a thousand: an older version would not find them. Of all
formats the threshold follows from the scores in the file. An output keeps its format.
"""

FIRST_FORMAT_WITH_FOLDERS = 4
FIRST_FORMAT_WITHOUT_SAMPLE = 2
"""An output of format 1 that is continued gets this one: its default sample is written out."""

FORMAT_1_SAMPLE = 256
"""`calibration_rows` in a file of format 1 whose job file did not say how many."""

MOST_ROWS = 10**12
"""The names of pictures have twelve digits for the row."""

MOST_SHOWN = 8
"""Faults of one file in an error, which stays readable; a wrong file has hundreds."""


def _ascending(scores: list[float]) -> list[float]:
    if scores != sorted(scores):
        raise ValueError("the scores have to ascend")
    return scores


FOLLOWS = "after"
"""The field of a job file that no job.json has."""


def _a_threshold(text: str) -> str:
    """JSON has no infinity, so a threshold is text."""
    if isnan(float(text)):
        raise ValueError("nan is no threshold")
    return text


Count = Annotated[int, Field(ge=0, le=MOST_ROWS)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Evaluations = Annotated[int, Field(ge=1, le=10**9)]
ThresholdText = Annotated[str, Field(max_length=40), AfterValidator(_a_threshold)]


class _Fields(BaseModel):
    """Fields by name and type; others may follow, which this version does not read."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class _Calibration(_Fields):
    scores: Annotated[list[float], AfterValidator(_ascending)]
    refine: float = Field(ge=0, le=1)
    threshold: ThresholdText
    thresholds: list[ThresholdText] | None = None
    """Of each rung after the first, where a ladder has other than one."""
    rows: Count
    seconds_per_row: dict[str, Seconds]
    wall_seconds: Seconds


class _InputFile(_Fields):
    name: str
    bytes: int = Field(ge=0)
    content: str


class _ByRole(_Fields):
    """A text for each of the three models."""

    student: str
    oracle: str
    teacher: str


class _Identity(_Fields):
    spec: dict[str, Any]
    threads: dict[str, int]
    input_files: list[_InputFile]
    model_files: _ByRole


class _Refinement(_Fields):
    strategy: Literal["refine", "regenerate"]
    strength: float = Field(ge=0, le=1)
    steps: int = Field(ge=1, le=10_000)
    through: Literal["latents", "pixels"]


class _Nfe(_Fields):
    student: Evaluations
    teacher: Annotated[int, Field(ge=0, le=10**9)]
    """0 in a ladder without a teacher."""


class _Search(_Fields):
    asked: dict[str, Any]
    """What the search for a ladder was to find. What was said of the answer is for people."""


class _JobFile(_Fields):
    name: str
    rows: Count
    threshold: ThresholdText
    calibration: _Calibration
    identity: _Identity
    spec: dict[str, Any]
    models: _ByRole
    refinement: _Refinement | None
    """Of the teacher's first attempt; null in a ladder without a teacher."""
    refinements: list[_Refinement] | None = None
    """Of each attempt of the teacher's, in a job with a ladder."""
    nfe: _Nfe
    versions: dict[str, str]
    search: _Search | None = None
    """Of a job whose calibration found its ladder."""
    dataset_id: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Which dataset this is, since its first run. Outputs of earlier versions have none."""


JOB_FIELDS = tuple(name for name, one in _JobFile.model_fields.items() if one.is_required())
"""The fields without which a run cannot continue from a job.json."""


def dataset_id(job: Mapping[str, Any]) -> str:
    """Which dataset this is: its identity at its first run, which --extend and a rename keep."""
    kept: str | None = job.get("dataset_id")
    return kept or sha256(json.dumps(job["identity"], sort_keys=True).encode()).hexdigest()


def format_of(content: bytes) -> int:
    """The format of a job.json; that of this version where it does not say it well."""
    try:
        written = json.loads(content).get("format", 1)
    except (ValueError, RecursionError, AttributeError):
        return FORMAT
    return written if type(written) is int else FORMAT


def parse_job(content: bytes, file: str) -> dict[str, Any]:
    """The job in the content of job.json. Raises OutputError that names `file` for a broken one."""
    try:
        job = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise OutputError(f"{file} is not JSON ({error}); restore or remove it.") from error
    missing = [name for name in JOB_FIELDS if not isinstance(job, dict) or name not in job]
    written = job.get("format", 1) if isinstance(job, dict) else 1
    if type(written) is int and written > FORMAT:
        raise OutputError(
            f"{file} has format {_short(written)}, and this version reads formats up to {FORMAT}: "
            "a newer version wrote it. Use that version, or choose a new output folder."
        )
    if missing:
        raise OutputError(
            f"{file} is not a job of this version: it has no {missing[0]!r}. Restore "
            "it, or choose a new output folder."
        )
    faults = [] if type(written) is int and written >= 1 else [f"format: {_short(written)}"]
    try:
        _JobFile.model_validate(job)
    except ValidationError as error:
        faults += [_explain(dict(problem)) for problem in error.errors()]
    if not faults:
        # No dataset says what is to be run, sent or deleted after it: it may be somebody else's.
        fields = {name: value for name, value in job["spec"].items() if name != FOLLOWS}
        try:
            spec = make_spec(fields, where="spec")
        except SpecError as error:
            faults = [f"spec.{line.strip()}" for line in str(error).splitlines()[1:]]
            faults = faults or [str(error)]
    if not faults:
        derived = {"spec": byte_fields(spec), "threads": threads_of(spec)}
        faults = [
            f"identity.{path}: {_short(was)}, and spec has {_short(now)}"
            for name, whole in derived.items()
            for path, was, now in differences(
                _with_missing(job["identity"][name], whole), whole, name
            )
        ]
        wanted = sum(attempt.make != "draw" for attempt in spec.attempts)
        if (found := len(refinements_in(job))) != wanted:
            faults.append(f"refinement: there are {found}, and spec has {wanted}")
        identity = {**job["identity"], **derived}
        dumped = spec.model_dump(mode="json", exclude={FOLLOWS})
        job = {**job, "spec": dumped, "identity": identity}
    if faults:
        raise OutputError(
            f"{file} is damaged:\n"
            + "\n".join(f"  {fault}" for fault in faults[:MOST_SHOWN])
            + "\nRestore it from a copy, or choose a new output folder."
        )
    return dict(job)


def contradictions(job: dict[str, Any]) -> Iterator[str]:
    """The contradictions among the fields of a job.json, each a clause with both values."""
    spec = JobSpec.model_validate(job["spec"])
    nfe, calibration = job["nfe"], job["calibration"]
    models, refinements = spec.models, refinements_in(job)
    wanted = [attempt.make for attempt in spec.attempts if attempt.make != "draw"]
    if [one["strategy"] for one in refinements] != wanted:
        yield f"it has {len(refinements)} refinements, and the teacher's attempts are {wanted}"
    steps = refinements[0]["steps"] if refinements else 0
    for role, evaluations in (
        ("student", models.student.steps * models.student.evaluations_per_step * spec.draws),
        ("teacher", steps * models.teacher.evaluations_per_step),
    ):
        if nfe[role] != evaluations:
            yield f"nfe.{role} is {nfe[role]}, and its steps make {evaluations}"
    if calibration["rows"] != len(calibration["scores"]):
        found = len(calibration["scores"])
        yield f"calibration.rows is {calibration['rows']}, and there are {found} scores"
    try:
        derived = derived_thresholds(job)
    except (SpecError, ValueError) as error:
        yield f"no threshold follows from its budget and its scores ({error})"
        return
    threshold, refine = derived.highest, derived.refine
    for name, text in (
        ("threshold", job["threshold"]),
        ("calibration.threshold", calibration["threshold"]),
    ):
        if float(text) != threshold:
            yield f"{name} is {text}, and its budget and its scores make {threshold}"
    rungs = derived.rungs
    if (said := thresholds_in(job)) != rungs and len(rungs) != 1:
        yield f"calibration.thresholds are {said}, and its ladder and its scores make {rungs}"
    if calibration["refine"] != refine:
        yield f"calibration.refine is {calibration['refine']}, and its scores make {refine}"


def refinements_in(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The teacher's tasks that a job.json says, in order."""
    found = job.get("refinements")
    return [one for one in ([job["refinement"]] if found is None else found) if one is not None]


def thresholds_in(job: Mapping[str, Any]) -> tuple[float, ...]:
    """The thresholds that a job.json says, of each rung after the first."""
    several = job["calibration"].get("thresholds")
    return tuple(map(float, [job["threshold"]] if several is None else several))


def derived_thresholds(job: dict[str, Any]) -> Thresholds:
    """The thresholds by the budget or the ladder and the scores in a job.json.

    Raises ValueError or SpecError where none follows.
    """
    spec, nfe, calibration = JobSpec.model_validate(job["spec"]), job["nfe"], job["calibration"]
    if not job["rows"]:
        # An input without rows has nothing to calibrate on.
        return Thresholds((-inf,) * (len(spec.attempts) - 1), 0.0)
    if (known := certain(spec)) is not None:
        return known
    scores, seconds = calibration["scores"], calibration["seconds_per_row"]
    if not scores:
        raise ValueError("it has no scores")
    missing = {"draw", "score", "refine"} - seconds.keys()
    if spec.ladder is None and spec.budget.gpu_seconds is not None and missing:
        raise ValueError(f"calibration.seconds_per_row has no {min(missing)!r}")
    return thresholds(
        spec, scores, student_nfe=nfe["student"], teacher_nfe=nfe["teacher"], seconds=seconds
    )


def differences(before: Any, now: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """The fields, at any depth, that differ: each one's path and both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            found
            for name in sorted({*before, *now})
            for found in differences(before.get(name), now.get(name), f"{path}.{name}".lstrip("."))
        ]
    return [] if before == now else [(path, before, now)]


def _with_missing(written: Any, whole: Any) -> Any:
    """The fields with those that the version that wrote them did not have."""
    if isinstance(written, dict) and isinstance(whole, dict):
        missing = {name: value for name, value in whole.items() if name not in written}
        below = {name: _with_missing(value, whole.get(name)) for name, value in written.items()}
        return {**below, **missing}
    if isinstance(written, list) and isinstance(whole, list) and len(written) == len(whole):
        return [_with_missing(*pair) for pair in zip(written, whole, strict=True)]
    return written


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _explain(problem: dict[str, Any]) -> str:
    path = ".".join(str(step) for step in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{path}: {message[0].lower()}{message[1:]}, got {_short(problem['input'])}"


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."

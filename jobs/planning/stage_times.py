"""How long each stage of a job takes, from stand-ins, a profile, or records.

Nothing is measured here and nothing starts: a plan uses times that are known already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.errors import SpecError
from actors.models.checks import loaded_files
from actors.models.file_reader import FileReader
from actors.models.pipeline_files import replaced
from actors.models.profiles import Profile, Timing, curve_of, read_profiles
from actors.refinement import Refinement
from actors.settings import DiffusionSettings, ModelSettings, OracleSettings
from actors.timed import timing_of
from actors.timed_settings import ANY_GPU, TimedOracleSettings
from jobs.output.folder import JOB, OutputFolder
from jobs.output.records import DEVICES, RUNGS
from jobs.spec.byte_fields import without_places
from jobs.spec.job_spec import JobSpec
from jobs.spec.ladder import Attempt

LOAD_SECONDS = 10.0
"""Of an actor whose loading time is not known: the stand-ins' default."""

GREY_SECONDS_PER_PIXEL = 6e-8
"""To encode a stand-in's picture, which is all of one grey and so compresses at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """The timing of each pool's calls. `teacher_alone`: of a drawing by the teacher from noise.

    `file_seconds_per_row`: to encode a picture. `refined`: the refined fraction of the rows that
    were measured, if it is known. `row_bytes`: of the dataset, if it was measured with the same
    format. `source`: where the times come from, for people.
    """

    student: Timing
    oracle: Timing
    teacher: Timing
    teacher_alone: Timing
    source: str
    file_seconds_per_row: float
    refined: float | None = None
    row_bytes: float | None = None
    are_means: bool = False
    """Whether the times are means over rows of all sizes, and not of the first size."""

    @property
    def pools(self) -> Mapping[str, Timing]:
        """By pool."""
        return {"student": self.student, "oracle": self.oracle, "teacher": self.teacher}

    @property
    def usual_gpu(self) -> str:
        """The type of GPU whose times these are, or ANY_GPU."""
        types = [gpu for timing in self.pools.values() for gpu in timing.curves if gpu != ANY_GPU]
        return types[0] if types else ANY_GPU

    def check(self, gpus: Mapping[str, int]) -> None:
        """Refuse types of GPU for which a pool's times are not known. Raises SpecError."""
        for pool, timing in self.pools.items():
            for gpu in gpus:
                if gpu not in timing.curves and ANY_GPU not in timing.curves:
                    raise SpecError(
                        f"--gpus: how long the {pool} takes on {gpu!r} is not known, only on "
                        f"{', '.join(timing.curves)}. Give its seconds in the job file or in a "
                        "--profile, or plan with a type that is known."
                    )


def stage_times(
    spec: JobSpec,
    refinement: Refinement,
    profile: Path | None = None,
    measured: str | Path | None = None,
) -> StageTimes:
    """The times of a job's stages.

    profile: a CSV as `actors.models.profiles` reads it. measured: the output folder of a job with
    the same models. Without either: the stand-ins' own times. Raises SpecError.
    """
    if profile is not None and measured is not None:
        raise SpecError("give either --profile or --measured: times come from one place.")
    if profile is not None:
        return _from_profile(spec, refinement, profile)
    if measured is not None:
        return _from_records(spec, refinement, OutputFolder(measured))
    models = spec.models
    if models.timed:
        return StageTimes(
            student=timing_of(models.student),
            oracle=timing_of(models.oracle),
            teacher=timing_of(models.teacher, refinement.steps),
            teacher_alone=timing_of(models.teacher),
            file_seconds_per_row=GREY_SECONDS_PER_PIXEL * spec.pixels,
            source="the job file's stand-ins",
        )
    own = OutputFolder(spec.output)
    if own.storage.find(JOB):
        return _from_records(spec, refinement, own)
    raise SpecError(
        "how long do these models take? Nothing says so yet. Give a table of measured seconds "
        "with --profile (docs/plan.md), or with --measured the output folder of a small job with "
        "the same models; or plan with stand-ins of published speed: --models timed."
    )


# ---- from a table


def _from_profile(spec: JobSpec, refinement: Refinement, file: Path) -> StageTimes:
    profiles = read_profiles(file)
    student, teacher = _the_one(profiles, "student", file), _the_one(profiles, "teacher", file)
    if student is None or teacher is None:
        raise SpecError(f"{file} has no {'teacher' if student else 'student'}; a plan needs both.")
    oracle = _the_one(profiles, "oracle", file)
    models, named = spec.models, [p.model for p in (student, teacher, oracle) if p]
    whole = Timing(curves=teacher.curves, load_seconds=LOAD_SECONDS)
    return StageTimes(
        student=replace(whole, curves=student.curves, share=models.student.steps / student.steps),
        oracle=replace(whole, curves=oracle.curves) if oracle else _published_oracle(),
        teacher=replace(whole, share=refinement.steps / teacher.steps),
        teacher_alone=replace(whole, share=models.teacher.steps / teacher.steps),
        file_seconds_per_row=spec.picture_format.price.seconds * spec.pixels,
        source=f"{file}: {', '.join(named)}"
        + ("" if oracle else "; for the oracle 20 ms a picture, as DiffServe's discriminator")
        + ("; nothing is added for extra scores" if models.oracle.extras else ""),
    )


def _the_one(profiles: list[Profile], role: str, file: Path) -> Profile | None:
    found = [profile for profile in profiles if profile.role == role]
    if len(found) > 1:
        names = ", ".join(f"{profile.model} ({profile.steps} steps)" for profile in found)
        raise SpecError(f"{file} has more than one {role}: {names}. Leave one.")
    return found[0] if found else None


def _published_oracle() -> Timing:
    return timing_of(OracleSettings(timed=TimedOracleSettings(), batch_size=1))


# ---- from a job that ran

MAY_DIFFER = {"path", "revision", "allow_pickle", "steps", "batch_size"}
"""Settings of a model that may differ: files are compared by fingerprint, and times are scaled by
steps and batch size.
"""

FEW_CALLS = 10
"""A plan from fewer calls says that it is rough. Chosen: the first call of an actor is a slow one,
and of ten calls one that takes twice as long moves the mean by a tenth."""


def _from_records(spec: JobSpec, refinement: Refinement, output: OutputFolder) -> StageTimes:
    """Mean seconds a row of each pool, as a curve with one point at its batch size."""
    before = output.require_job()
    _check_same_models(spec.models, before, output.url)
    records = list(output.records().values())
    rows = sum(record["rows"] for record in records)
    attempts = JobSpec.model_validate(before["spec"]).attempts
    drawn, refined, steps = _work_of(before, records, attempts, rows)
    seconds = {
        pool: sum(record.get("seconds", {}).get(pool, 0.0) for record in records)
        for pool in ("student", "oracle", "teacher", "files")
    }
    if not refined:
        raise SpecError(
            f"{output.url!r} has {rows:,} finished rows and none of them refined: too little "
            "to say how long a row takes. Let it run until a part with refined rows is done."
        )
    old = before["spec"]["models"]
    made = "pictures by the teacher" if before["spec"].get("ladder") else "of them refined"

    def total(name: str, pool: str) -> int:
        # Records of earlier versions have neither; then each batch counts as full.
        counts = [record.get(name, {}).get(pool, 0) for record in records]
        return sum(counts) if all(name in record for record in records) else 0

    def timing(pool: str, count: int, share: float = 1.0) -> Timing:
        size: int = old[pool]["batch_size"]
        count = total("padded_rows", pool) or count
        curve = curve_of({size: seconds[pool] / count * size})
        return Timing(curves={ANY_GPU: curve}, load_seconds=LOAD_SECONDS, share=share)

    return StageTimes(
        student=timing("student", drawn, spec.models.student.steps / old["student"]["steps"]),
        oracle=timing("oracle", drawn + refined),
        teacher=timing("teacher", refined, refinement.steps / steps),
        teacher_alone=timing("teacher", refined, spec.models.teacher.steps / steps),
        source=f"the records of {output.url} ({rows:,} rows, {refined:,} {made}"
        f"{_how_sure(total('calls', 'teacher'))}){_made_on(records)}",
        file_seconds_per_row=seconds["files"] / rows,
        refined=sum(record["refined"] for record in records) / rows,
        row_bytes=_row_bytes(spec, before, records, rows),
        are_means=True,
    )


def _work_of(
    job: Mapping[str, Any], records: list[dict[str, Any]], attempts: Sequence[Attempt], rows: int
) -> tuple[int, int, float]:
    """Pictures that the student drew, pictures that the teacher made, and its mean steps for one.

    job: job.json. rows: of the records, in all.
    """
    if job["spec"].get("ladder") is None:
        refined = sum(record["refined"] for record in records)
        return rows * job["spec"]["draws"], refined, job["refinement"]["steps"]
    taken = [sum(each) for each in zip(*(record[RUNGS] for record in records), strict=True)]
    drawings = sum(attempt.make == "draw" for attempt in attempts)
    of_teacher, each = taken[drawings:], [one["steps"] for one in job["refinements"]]
    made = sum(of_teacher)
    steps = sum(rows * steps for rows, steps in zip(of_teacher, each, strict=True))
    return sum(taken[:drawings]), made, steps / made if made else 0.0


def _row_bytes(
    spec: JobSpec, before: Mapping[str, Any], records: Sequence[Mapping[str, Any]], rows: int
) -> float | None:
    """Of a row of the dataset; None where this job stores other pictures than that one did."""
    before_spec = JobSpec.model_validate(before["spec"])
    same = all(
        getattr(before_spec, name) == getattr(spec, name)
        for name in ("picture_format", "pixels", "save_student")
    )
    return sum(record["bytes"] for record in records) / rows if same else None


def _how_sure(calls: int) -> str:
    if not calls:
        return ""
    rough = "; that is few, so take the plan as rough" if calls < FEW_CALLS else ""
    return f", in {calls:,} call{'s' * (calls > 1)} of the teacher{rough}"


def _made_on(records: Sequence[Mapping[str, Any]]) -> str:
    """The devices whose times these are: on others a job takes another time."""
    kinds = {
        kind
        for record in records
        for pool in ("student", "teacher")
        for kind in record.get(DEVICES, {}).get(pool, ())
    }
    return f", on {' and '.join(sorted(kinds))}" if kinds else ""


def _fingerprint(
    folder: Path, settings: DiffusionSettings | OracleSettings, reader: FileReader
) -> str:
    if isinstance(settings, OracleSettings):
        return reader.fingerprint(folder)
    return reader.hash_files(loaded_files(folder, reader, settings.variant, replaced(settings)))


def _check_same_models(models: ModelSettings, before: dict[str, Any], folder: str) -> None:
    """Refuse records of other models. Raises SpecError."""
    reader = FileReader()
    for role, settings in models:
        new = without_places(settings.model_dump(mode="json", exclude=MAY_DIFFER))
        written = before["spec"]["models"][role]
        old = {**written, **without_places({name: written.get(name) for name in new})}
        # A setting that this job leaves to the model is a number in the job that ran.
        changed = [name for name in new if new[name] is not None and old.get(name) != new[name]]
        path = Path(settings.path).expanduser()
        if settings.path and path.is_dir():
            # Behind a "+" are hashes of a ControlNet, a LoRA, a denoiser: the settings name these.
            recorded = before["identity"]["model_files"][role].partition("+")[0]
            if _fingerprint(path.resolve(), settings, reader) != recorded:
                changed.append("path")
        elif settings.path != old["path"]:
            changed.append("path")
        if changed:
            raise SpecError(
                f"{str(folder)!r} was made with another {role} than this job's: "
                f"{', '.join(changed)} differ. Its records say nothing about these models."
            )

"""README.md of a published dataset: what the hub wants to know, and what a stranger does.

It shows no path of a machine: models by their hub ids or names, inputs by the names of their files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import yaml

from jobs.output.export.licences import ModelLicence, licences_of, public_name, strictest
from jobs.output.folder import OutputFolder
from jobs.output.pages.markdown import code, plain
from jobs.output.pages.totals import totals_of
from jobs.output.part_file import open_part
from jobs.output.records import describe_calibration
from jobs.output.score_columns import describe_scores, score_columns
from jobs.output.spending import describe_spending
from jobs.spec.job_spec import JobSpec
from jobs.spec.ladder import describe

SCORED_PARTS = 32
"""Parts whose scores are read for the card's means. Chosen: some ten thousand rows, in seconds."""

LOCAL_PATH = re.compile(r"/(home|Users|mnt|root|data|tmp)/|[A-Za-z]:\\")
"""The beginning of a path that says something of somebody's machine."""

MOST_FILES_SHOWN = 5
"""Names of input files in the card."""

SIZES = (
    (1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"),
    (1e7, "1M<n<10M"), (1e8, "10M<n<100M"), (1e9, "100M<n<1B"),
)  # fmt: skip
"""The hub's categories."""

TASKS = {"generate": "text-to-image", "edit": "image-to-image", "control": "text-to-image"}
"""The hub's names of our tasks."""


@dataclass(frozen=True, slots=True)
class PublicCard:
    """The card, and the licences that it was made of. `proposed`: the strictest of them."""

    text: str
    licences: Sequence[ModelLicence]
    proposed: ModelLicence
    licence: str


def public_card(
    folder: OutputFolder, records: Mapping[int, Mapping[str, Any]], licence: str | None = None
) -> PublicCard:
    """The card of a complete dataset. licence: the hub's name of one; by default the strictest."""
    job = folder.require_job()
    spec = JobSpec.model_validate(job["spec"])
    licences = licences_of(job["spec"]["models"])
    proposed = strictest(licences)
    chosen = licence or proposed.hub_name
    schema = _schema(folder, min(records))
    head: dict[str, Any] = {"license": chosen}
    if chosen == "other":
        head["license_name"] = _slug(proposed.licence)
    head |= {
        "pretty_name": spec.name,
        "task_categories": [TASKS[spec.task]],
        "size_categories": [_size(job["rows"])],
        "source_datasets": [_source(spec)],
        "tags": ["synthetic", "bottega", "diffusion", "adaptive-refinement"],
        "configs": [{"config_name": "default", "data_files": "data/**/*.parquet"}],
        "dataset_info": _info(schema, records),
    }
    written = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    body = _body(folder, job, spec, records, licences, proposed, chosen)
    return PublicCard(f"---\n{written}---\n{body}", licences, proposed, chosen)


def local_paths(folder: OutputFolder, index: int) -> list[str]:
    """The columns of text whose values in a part look like paths of somebody's machine."""
    found = []
    with open_part(folder, index) as parquet:
        names = [f.name for f in parquet.schema_arrow if pa.types.is_string(f.type)]
        for batch in parquet.iter_batches(100, columns=names):
            for name in batch.schema.names:
                values = [value for value in batch.column(name).to_pylist() if value]
                if any(map(LOCAL_PATH.match, values)):
                    found.append(name)
    return sorted(set(found))


def _schema(folder: OutputFolder, index: int) -> pa.Schema:
    with open_part(folder, index) as parquet:
        return parquet.schema_arrow


def _info(schema: pa.Schema, records: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    size = sum(record["bytes"] for record in records.values())
    rows = sum(record["rows"] for record in records.values())
    features = [_feature(field) for field in schema]
    known = [feature for feature in features if feature]
    return {
        # Of a type that has no name here the hub reads all of them from the files.
        **({"features": known} if len(known) == len(features) else {}),
        "splits": [{"name": "train", "num_bytes": size, "num_examples": rows}],
        "download_size": size,
        "dataset_size": size,
    }


def _feature(field: pa.Field) -> dict[str, str] | None:
    kind = field.type
    if pa.types.is_struct(kind) and {one.name for one in kind} == {"bytes", "path"}:
        return {"name": field.name, "dtype": "image"}
    plain = {"string": "string", "bool": "bool", "float": "float32", "double": "float64"}
    name = plain.get(str(kind), str(kind) if pa.types.is_integer(kind) else "")
    return {"name": field.name, "dtype": name} if name else None


def _size(rows: int) -> str:
    return next((name for most, name in SIZES if rows < most), "n>1B")


def _source(spec: JobSpec) -> str:
    """The hub's name of a dataset on the hub; what is elsewhere is original."""
    match = re.match(r"hf://datasets/([\w.-]+/[\w.-]+)", spec.input)
    return match[1] if match else "original"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def _body(
    folder: OutputFolder,
    job: Mapping[str, Any],
    spec: JobSpec,
    records: Mapping[int, Mapping[str, Any]],
    licences: Sequence[ModelLicence],
    proposed: ModelLicence,
    chosen: str,
) -> str:
    totals, how = totals_of(records.values()), job["refinement"]
    files = [one["name"] for one in job["identity"]["input_files"]]
    shown = ", ".join(code(name) for name in files[:MOST_FILES_SHOWN])
    more = len(files) - MOST_FILES_SHOWN
    models = [
        f"- {role}: {code(_model(job['spec']['models'][role], job['models'][role]))}, files "
        f"`{job['identity']['model_files'][role][:16]}`"
        for role in ("student", "oracle", "teacher")
    ]
    return "\n".join(
        [
            f"# {plain(spec.name)}",
            "",
            "![A grid of pictures](sheet.png)",
            "",
            _introduction(spec),
            "",
            "| | |",
            "|---|---|",
            f"| rows | {totals.rows:,} |",
            f"| pictures by the student | {totals.from_student:,} |",
            f"| pictures by the teacher | {totals.from_teacher:,} |",
            f"| rows that failed | {totals.failed:,} |",
            f"| network evaluations a picture, mean | {totals.mean_nfe:.2f} |",
            *[f"| {name} | {value} |" for name, value in _scores(folder, records)],
            "",
            "## How it was made",
            "",
            f"From {shown}{f' and {more:,} more files' if more > 0 else ''}, seed {spec.seed}.",
            f"Student: {spec.models.student.steps} steps, guidance "
            f"{spec.models.student.guidance_scale:g}{_drawings(spec)}.",
            _attempts(spec, how),
            f"Threshold: {describe_calibration(dict(job['calibration']), job['rows'])}.",
            f"Spent: {describe_spending(dict(job), records.values())}.",
            f"Pictures: {spec.picture_format.label}.",
            "",
            *models,
            "",
            "Versions: "
            + ", ".join(f"{name} {number}" for name, number in sorted(job["versions"].items()))
            + ".",
            "",
            "## Columns",
            "",
            "`image`; `seed`; `student_score` and `teacher_score` by the oracle; `source`, the "
            "model whose picture it is; `nfe`, network evaluations; `truncated`, whether the "
            "prompt was longer than the student reads; `status` and `error` of rows that failed; "
            "and the input's own.",
            "",
            *_extra_scores(spec, list(records.values()), totals.rows),
            "## Licence",
            "",
            code(chosen)
            + (
                f": proposed as the strictest of the models' licences, that of "
                f"{plain(proposed.model)} ({plain(proposed.licence)})."
                if chosen == proposed.hub_name
                else ", as chosen by the publisher."
            )
            + " The prompts may have another. The models' licences:",
            "",
            *[f"- {plain(one.model)}: {plain(one.licence)}" for one in licences],
            "",
        ]
    )


def _extra_scores(spec: JobSpec, records: list[Mapping[str, Any]], rows: int) -> list[str]:
    """Their columns; no path of the publisher's machine."""
    public = [
        replace(column, scorer=" ".join(filter(None, [extra.kind, public_name(extra.path)])))
        for column, extra in zip(
            score_columns(spec.models.oracle), spec.models.oracle.extras, strict=True
        )
    ]
    lines = [f"- {plain(line)}" for line in describe_scores(public, records, rows)]
    return ["Scores that decided nothing:", "", *lines, ""] if lines else []


def _model(settings: Mapping[str, Any], shown: str) -> str:
    return public_name(settings.get("path") or shown or "a stand-in")


def _scores(
    folder: OutputFolder, records: Mapping[int, Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """Means over some parts; none where there are no scores."""
    indices = sorted(records)
    some = indices[:: max(1, len(indices) // SCORED_PARTS)][:SCORED_PARTS]
    drawn: list[float] = []
    gains: list[float] = []
    for index in some:
        with open_part(folder, index) as parquet:
            table = parquet.read(columns=["student_score", "teacher_score"])
        for row in table.to_pylist():
            if row["student_score"] is not None:
                drawn.append(row["student_score"])
                if row["teacher_score"] is not None:
                    gains.append(row["teacher_score"] - row["student_score"])
    of = "" if len(some) == len(indices) else f" (of {len(some)} parts)"
    found = []
    if drawn:
        found.append((f"student's score, mean{of}", f"{sum(drawn) / len(drawn):.3f}"))
    if gains:
        found.append((f"gain by the teacher, mean{of}", f"{sum(gains) / len(gains):+.3f}"))
    return found


def _introduction(spec: JobSpec) -> str:
    paper = "[arXiv 2312.10835](https://arxiv.org/abs/2312.10835)"
    drawn = "Synthetic pictures: a distilled student model drew every row, an oracle scored each "
    if spec.ladder is not None:
        return (
            f"{drawn}picture, and those below a threshold were tried again up a ladder of attempts "
            f"(after {paper}, carried out by Bottega)."
        )
    return (
        f"{drawn}picture, and a teacher model improved those below a threshold (the method of "
        f"{paper}, carried out by Bottega)."
    )


def _drawings(spec: JobSpec) -> str:
    """Of each row; a ladder says it itself."""
    if spec.ladder is not None:
        return ""
    return f", {spec.draws} drawing{'s' if spec.draws > 1 else ''} of each row"


def _attempts(spec: JobSpec, how: dict[str, Any]) -> str:
    guidance = f"guidance {spec.models.teacher.guidance_scale:g}"
    if spec.ladder is not None:
        return f"Ladder of attempts: {describe(spec.ladder)}. Teacher: {guidance}."
    return (
        f"Teacher: {how['strategy']}, strength {how['strength']:.3g}, {how['steps']} steps, "
        f"{guidance}; a refined row keeps "
        f"{'the better' if spec.keep == 'best' else 'the teacher' + chr(39) + 's'} picture."
    )

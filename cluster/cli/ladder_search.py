"""`bottega calibrate --search`: the best ladders for a job's own prompts and models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.markup import escape
from rich.table import Table

from actors.errors import SpecError
from cluster.console import console, lines_of_log, print_json, say
from cluster.signals import stopping, stopping_at_once
from jobs import JobSpec
from jobs.output.status import SCHEMA
from jobs.spec.ladder import SHORT, describe
from jobs.spec.search import UNITS, Unit

if TYPE_CHECKING:
    from jobs import LadderSearch
    from jobs.spec.ladder_search import BestLadder

UNSAID = {*SHORT, "ladder", "search"}
"""Fields of the job in whose place the file has the ladder."""

MEANING = (
    "Each ladder was chosen on {} sampled rows, and its figures are of the {} others. The score "
    "is that of the oracle, which also chose the pictures, and which likes what it chose: a mean "
    "score says how much better the oracle finds the pictures, not how much better they are. Look "
    "at some, or have another oracle judge: --judge, with one of the job's extra_scores."
)

BY_A_JUDGE = (
    "Each ladder was chosen on {} sampled rows, by the mean of {}, and its figures are of the {} "
    "others. The oracle chose the pictures, and the judge did not: what it says of them is no "
    "praise of its own choice. Only the ladder is."
)

COSTS: dict[Unit, str] = {"nfe": "mean evaluations", "gpu_seconds": "mean actor-seconds"}
OPTIONS: dict[Unit, str] = {"nfe": "--nfe", "gpu_seconds": "--gpu-seconds"}


def search(
    spec: JobSpec,
    fields: dict[str, Any],
    given: tuple[Unit, float] | None,
    file: Path | None,
    *,
    judge: str | None,
    keep: bool,
    address: str | None,
    as_json: bool,
) -> None:
    """Search, print what is found, and write the job file.

    fields: of the job, as they are written. given: the budget that the file is for; by default the
    job's own. judge: the extra score by which to choose; by default the job's own, if it has one.
    keep: the sample's scores stay in the output.
    """
    from cluster.session import ray_session
    from cluster.views.progress import JobView
    from jobs import resolve, search_ladders
    from jobs.spec.ladder_search import every_attempt, paid_by

    paid = given or paid_by(spec.budget)
    unit, budget = paid or ("nfe", None)
    _check_budget(spec, budget if unit == "nfe" else None)
    _check_file(file, budget)
    with stopping() as stopped:
        with stopping_at_once():
            job = resolve(every_attempt(spec))
        with JobView(job.spec.name, console, lines_of_log()) as view:
            found = search_ladders(
                job,
                budgets=() if budget is None else (budget,),
                unit=unit,
                judge=judge or (spec.search.judge if spec.search else None),
                observers=[view],
                session=ray_session(address, say),
                should_stop=stopped,
                keep=keep,
            )
    best = [one for one in found.best if one.budget == budget]
    if file is not None:
        if not best:
            raise SpecError(
                f"{OPTIONS[unit]}: no ladder costs {budget:g} {UNITS[unit]} a picture: the "
                f"student's single drawing takes {found.sample.costs[0]:.3g} here. Raise it."
            )
        _write(file, fields, best[0], found)
    _show(found, file, as_json)


def _check_budget(spec: JobSpec, nfe: float | None) -> None:
    student = spec.models.student
    if nfe is not None and nfe < (once := student.steps * student.evaluations_per_step):
        raise SpecError(
            f"--nfe: no ladder costs {nfe:g} network evaluations a picture: the student's "
            f"single drawing takes {once}. Raise it."
        )


def _check_file(file: Path | None, budget: float | None) -> None:
    """Refuse a file that cannot be written, before anything is drawn. Raises SpecError."""
    if file is None:
        return
    if budget is None:
        raise SpecError(
            "--write: a job file has one ladder. Say for which budget: --nfe 4, the mean network "
            "evaluations of a picture, or --gpu-seconds."
        )
    if file.exists():
        raise SpecError(f"{str(file)!r} is there already. Give another name.")
    if not file.absolute().parent.is_dir():
        raise SpecError(f"cannot write {str(file)!r}: its folder is not there.")


def _show(found: LadderSearch, file: Path | None, as_json: bool) -> None:
    """Print what was found. file: the job file that was written."""
    chose, judged = found.rows
    if as_json:
        print_json(
            {
                "schema": SCHEMA,
                "name": found.job.spec.name,
                "sampled_rows": chose + judged,
                "judged_by_rows": judged,
                "student_nfe": found.job.rung_nfe[0],
                "unit": found.unit,
                "judge": found.judge,
                "job_file": None if file is None else str(file),
                "ladders": [_as_json(one, found.unit) for one in found.best],
            }
        )
        return
    title = f"{found.job.spec.name}: the best ladders by {chose + judged:,} sampled rows"
    shown = Table(title=escape(title), title_justify="left", show_lines=True)
    score = f"mean {escape(found.judge or 'score')} (95%)"
    for heading in ("at most", COSTS[found.unit], score, "above the student's"):
        shown.add_column(heading, justify="right")
    shown.add_column("ladder")
    for one in found.best:
        shown.add_row(
            f"{one.budget:.3g}",
            f"{one.cost.mean:.2f}" if found.unit == "nfe" else f"{one.cost.mean:.3g}",
            str(one.merit),
            f"{one.gain:+}",
            "\n".join(describe([rung]) for rung in one.ladder),
        )
    console.print(shown)
    if found.judge:
        console.print(BY_A_JUDGE.format(chose, escape(found.judge), judged))
    else:
        console.print(MEANING.format(chose, judged))
    if file is not None:
        say(f"{file}: `bottega run {file}` takes the scores of this sample")


def _write(file: Path, fields: dict[str, Any], best: BestLadder, found: LadderSearch) -> None:
    """Write the job file: the job's fields, with the ladder. Raises SpecError."""
    ladder = _as_written(best)
    by = f" --judge {found.judge}" if found.judge else ""
    lines = [
        f"# `bottega calibrate --search {OPTIONS[found.unit]} {best.budget:g}{by}` chose the "
        f"ladder. On {found.rows[1]} sampled rows that did not choose it:",
        f"# {best.cost.mean:.3g} {UNITS[found.unit]} a picture; the mean "
        f"{found.judge or 'score'} is {best.merit}, {best.gain:+} above the student's.",
        yaml.safe_dump(
            {name: value for name, value in fields.items() if name not in UNSAID}
            | {"ladder": ladder},
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=None,
            width=10_000,
        ),
    ]
    try:
        with file.open("x", encoding="utf-8") as written:
            written.write("\n".join(lines))
    except FileExistsError as error:
        raise SpecError(f"{str(file)!r} is there already. Give another name.") from error
    except OSError as error:
        raise SpecError(f"cannot write {str(file)!r}: {error.strerror}.") from error


def _as_written(best: BestLadder) -> list[dict[str, Any]]:
    """The ladder as a job file has it."""
    return [rung.model_dump(mode="json", exclude_none=True) for rung in best.ladder]


def _as_json(best: BestLadder, unit: Unit) -> dict[str, Any]:
    estimates = {unit: best.cost, "score": best.merit, "gain": best.gain}
    return {
        f"budget_{unit}": best.budget,
        **{name: asdict(one) for name, one in estimates.items()},
        "ladder": _as_written(best),
    }

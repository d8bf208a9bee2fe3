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

if TYPE_CHECKING:
    from jobs import LadderSearch
    from jobs.spec.ladder_search import BestLadder, Estimate

MEANING = (
    "Each ladder was chosen on {} sampled rows, and its figures are of the {} others. The score "
    "is that of the oracle, which also chose the pictures, and which likes what it chose: a mean "
    "score says how much better the oracle finds the pictures, not how much better they are. Look "
    "at some, or have another oracle score both."
)


def search(
    spec: JobSpec,
    fields: dict[str, Any],
    nfe: float | None,
    file: Path | None,
    *,
    keep: bool,
    address: str | None,
    as_json: bool,
) -> None:
    """Search, print what is found, and write the job file.

    fields: of the job, as they are written. nfe: the budget that the file is for; by default the
    job's own. keep: the sample's scores stay in the output.
    """
    from cluster.session import ray_session
    from cluster.views.progress import JobView
    from jobs import resolve, search_ladders
    from jobs.spec.ladder_search import every_attempt

    budget = spec.budget.nfe if nfe is None else nfe
    _check_budget(spec, budget)
    _check_file(file, budget)
    with stopping() as stopped:
        with stopping_at_once():
            job = resolve(every_attempt(spec))
        with JobView(job.spec.name, console, lines_of_log()) as view:
            found = search_ladders(
                job,
                budgets=() if budget is None else (budget,),
                observers=[view],
                session=ray_session(address, say),
                should_stop=stopped,
                keep=keep,
            )
    if file is not None:
        best = next(one for one in found.best if one.budget == budget)
        _write(file, fields, best, found.rows[1])
    _show(found, file, as_json)


def _check_budget(spec: JobSpec, budget: float | None) -> None:
    student = spec.models.student
    if budget is not None and budget < (once := student.steps * student.evaluations_per_step):
        raise SpecError(
            f"--nfe: no ladder costs {budget:g} network evaluations a picture: the student's "
            f"single drawing takes {once}. Raise it."
        )


def _check_file(file: Path | None, budget: float | None) -> None:
    """Refuse a file that cannot be written, before anything is drawn. Raises SpecError."""
    if file is None:
        return
    if budget is None:
        raise SpecError(
            "--write: a job file has one ladder. Say for which budget: --nfe 4, the mean network "
            "evaluations of a picture."
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
                "job_file": None if file is None else str(file),
                "ladders": [_as_json(one) for one in found.best],
            }
        )
        return
    title = f"{found.job.spec.name}: the best ladders by {chose + judged:,} sampled rows"
    shown = Table(title=escape(title), title_justify="left", show_lines=True)
    for heading in ("at most", "mean evaluations", "mean score (95%)", "above the student's"):
        shown.add_column(heading, justify="right")
    shown.add_column("ladder")
    for one in found.best:
        shown.add_row(
            f"{one.budget:g}",
            f"{one.nfe.mean:.2f}",
            _sure(one.merit),
            _sure(one.gain, "+"),
            "\n".join(describe([rung]) for rung in one.ladder),
        )
    console.print(shown)
    console.print(MEANING.format(chose, judged))
    if file is not None:
        say(f"{file}: `bottega run {file}` takes the scores of this sample")


def _write(file: Path, fields: dict[str, Any], best: BestLadder, judged: int) -> None:
    """Write the job file: the job's fields, with the ladder. Raises SpecError."""
    ladder = _as_written(best)
    lines = [
        f"# `bottega calibrate --search --nfe {best.budget:g}` chose the ladder. On {judged} "
        "sampled rows that did not choose it:",
        f"# {best.nfe.mean:.2f} network evaluations a picture; the mean score is "
        f"{_sure(best.merit)}, {_sure(best.gain, '+')} above the student's.",
        yaml.safe_dump(
            {name: value for name, value in fields.items() if name not in (*SHORT, "ladder")}
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


def _as_json(best: BestLadder) -> dict[str, Any]:
    estimates = {"nfe": best.nfe, "score": best.merit, "gain": best.gain}
    return {
        "budget_nfe": best.budget,
        **{name: asdict(one) for name, one in estimates.items()},
        "ladder": _as_written(best),
    }


def _sure(of: Estimate, sign: str = "") -> str:
    return f"{of.mean:{sign}.3g} ({of.low:{sign}.3g} to {of.high:{sign}.3g})"

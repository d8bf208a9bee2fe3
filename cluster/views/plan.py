"""The view of a plan: one page for people."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster import console as terminal
from cluster.views.progress import duration
from jobs import Forecast

MAX_MOMENTS = 12
"""Lines of the table of sizes; --json has every one. Chosen: with the other tables the page then
fits a terminal of 50 lines.
"""


def show(console: Console, found: Forecast) -> None:
    """Print the whole page."""
    question, plan, prices = found.question, found.plan, found.prices

    say = partial(terminal.say, to=console)

    say(
        f"{question.spec.name}: {plan.num_rows:,} rows on {_gpus(plan.gpus)}, "
        f"{plan.refined:.0%} of them {'tried by the teacher' if plan.rungs else 'refined'}"
    )
    if plan.rungs:
        each = ", ".join(f"{taken:.0%} attempt {n}" for n, taken in enumerate(plan.rungs, 1))
        say(f"rows by attempt: {each}; {plan.nfe:.2f} network evaluations a picture")
    if found.deadline_seconds is not None:
        say(f"the fewest GPUs that end within {duration(found.deadline_seconds)}")
    say(f"times: {question.times.source}{_loading(found)}")
    if plan.simulated_rows < plan.num_rows:
        say(f"simulated: {plan.simulated_rows:,} rows{_on_fewer(found)}; the others in proportion")
    if found.through:
        say(f"the teacher gets {found.through}")
    if found.truncated:
        say(f"prompts: {_truncated(*found.truncated)}")
    if found.search:
        say(_search(found))
    if found.refined_interval:
        low, high = found.refined_interval
        share = f"{low:.1%} to {high:.1%} of all rows"
        does = f"has {share} tried again" if plan.rungs else f"refines {share}"
        say(
            f"calibration: {found.sample_size:,} rows drawn before; the threshold of such a sample "
            f"{does} (95% interval)"
        )
    console.print(_comparison(found))
    say(
        f"of the wall time {duration(plan.ready_seconds)} pass before the first part begins; a "
        f"student or a teacher is at work in {plan.efficiency:.0%} of the GPUs' time"
    )
    # Less than 2 % more would be the same number on this page.
    if plan.alone_seconds > 1.02 * plan.wall_seconds:
        say(
            "student and teacher share a GPU, and each is taken to be as fast as if it were alone: "
            f"it may be up to {duration(plan.alone_seconds)}"
        )
    console.print(_sizes(found))
    if found.budgets:
        console.print(_budgets(found))
    say(_dataset(found))
    console.print(_formats(found))
    if prices.are_examples:
        say(
            f"PRICES ARE EXAMPLE VALUES: copy {prices.file}, put in your own, and give it with "
            "--prices."
        )


def _search(found: Forecast) -> str:
    search = found.search
    assert search is not None
    pictures = search.evaluations / found.plan.nfe
    return (
        f"search: before the first part {search.rows:,} rows are drawn {search.drawings} times, "
        f"and the teacher has about half of them, to {'; to '.join(search.ways)}. That is the work "
        f"of {pictures:,.0f} pictures more. The ladder that it finds is the best "
        f"within {search.asked}; this plan is of one drawing, and of the teacher for as many rows "
        "as that pays for"
    )


def _truncated(rows: int, cut: Mapping[str, int]) -> str:
    longer = [
        f"{count / rows:.0%} are longer than the {role} reads"
        for role, count in cut.items()
        if count
    ]
    shown = ", ".join(longer) or "all models read them to their ends"
    return f"of a sample of {rows:,} {shown}"


def _dataset(found: Forecast) -> str:
    size = found.dataset
    files = f"{size.files:,} file{'s' if size.files > 1 else ''}"
    each = size.stored / size.files
    source = "as measured" if size.measured else "if its pictures are like photographs"
    return (
        f"dataset: about {_bytes(size.stored)} in {files} of about {_bytes(each)}, {source}; "
        f"{size.part_rows:,} rows a file ({size.reason})"
    )


def _formats(found: Forecast) -> Table:
    size = found.dataset
    shown = _table("formats of pictures", "", "each", "dataset", "core-hours to encode")
    for number, price in enumerate(size.formats):
        name = f"{price.form.label}{' (this job)' if number == 0 else ''}"
        each = price.stored / max(1, size.pictures)
        shown.add_row(name, _bytes(each), _bytes(price.stored), _number(price.core_hours))
    return shown


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 1000 else f"{count:,.0f} TB"


def _on_fewer(found: Forecast) -> str:
    plan = found.plan
    if plan.simulated_gpus == sum(plan.gpus.values()):
        return ""
    return f" on {plan.simulated_gpus:,} GPUs that stand for all"


def _gpus(gpus: Mapping[str, int]) -> str:
    return " and ".join(
        f"{count:,} {'GPU' if gpu == 'any' else gpu}{'s' if gpu == 'any' and count > 1 else ''}"
        for gpu, count in gpus.items()
    )


def _loading(found: Forecast) -> str:
    pools = found.question.times.pools
    seconds = {name: timing.loading for name, timing in pools.items()}
    if len(set(seconds.values())) == 1:
        return f"; an actor loads for {next(iter(seconds.values())):g} s"
    each = ", ".join(f"{name} {value:g} s" for name, value in seconds.items())
    return f"; actors load for: {each}"


def _dollars(cost: float | None) -> str:
    if cost is None:
        return "no price"
    return f"${cost:,.2f}" if cost < 100 else f"${cost:,.0f}"


def _hours(hours: Mapping[str, float]) -> str:
    named = [f"{_number(value)} {gpu}" for gpu, value in hours.items()]
    return named[0].removesuffix(" any") if len(named) == 1 else ", ".join(named)


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _table(title: str, *headings: str) -> Table:
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("", "why") else "right")
    return table


def _comparison(found: Forecast) -> Table:
    shown = _table("", "", "wall time", "GPU-hours", "cost", "mean evaluations")
    for name, one in (("this job", found.plan), ("the teacher alone", found.teacher_only)):
        shown.add_row(
            name,
            duration(one.wall_seconds),
            _hours(one.gpu_hours),
            _dollars(found.prices.cost(one.gpu_hours)),
            f"{one.nfe:.1f}",
        )
    return shown


def _sizes(found: Forecast) -> Table:
    timeline = found.plan.timeline
    left_out = len(timeline) - MAX_MOMENTS
    title = "pool sizes" if left_out <= 0 else f"pool sizes ({left_out} changes more: --json)"
    shown = _table(title, "after", *("student", "oracle", "teacher"), "why")
    half = MAX_MOMENTS // 2
    moments = timeline if left_out <= 0 else (*timeline[:half], *timeline[-half:])
    for moment in moments:
        sizes = [str(size) for size in moment.sizes.values()]
        shown.add_row(duration(moment.seconds), *sizes, Text(moment.reason))
    return shown


def _budgets(found: Forecast) -> Table:
    alone = found.teacher_only.wall_seconds
    columns = ("refine", "mean evaluations", "wall time", "GPU-hours", "cost", "of teacher alone")
    shown = _table("other budgets", *columns)
    for tenth, plan in enumerate(found.budgets):
        shown.add_row(
            f"{tenth / 10:.0%}",
            f"{plan.nfe:.1f}",
            duration(plan.wall_seconds),
            _hours(plan.gpu_hours),
            _dollars(found.prices.cost(plan.gpu_hours)),
            f"{plan.wall_seconds / alone:.0%}" if alone else "-",
        )
    return shown

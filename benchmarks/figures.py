"""Writes the benchmarks' results into the pages of docs/: `python benchmarks/figures.py`.

A page has a place for each table, between a comment with its name and `<!-- end -->`. All figures
are from benchmarks/results/; a benchmark that has not run has no lines.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from timed_jobs import RESULTS

DOCS = Path(__file__).parent.parent / "docs"

CASES = ("sd-8", "sd-16", "sdxl-8", "sdxl-16", "moving")


def found(name: str) -> dict[str, Any] | None:
    """The results of a benchmark, if it has run."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def pools_on_gpus() -> list[str]:
    """Balanced pools and fixed splits, over the bound."""
    lines = [
        "| case | rows | bound s | balanced s | over the bound | best fixed split: s | balanced "
        "over it | teacher calls under half full | padding | changes of size | loading s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in CASES:
        if case := found(name):
            ours, fixed = case["balanced"], case["fixed"]
            best = min(fixed, key=lambda split: fixed[split]["seconds"], default=None)
            split = f"{best.removeprefix('fixed ')}: {fixed[best]['seconds']:.1f}" if best else "-"
            over = f"{case['over_best_fixed']:.3f}" if best else "-"
            lines.append(
                f"| {name} | {case['rows']:,} | {ours['bound_seconds']:.1f} | "
                f"{ours['seconds']:.1f} | {ours['ratio']:.3f} | {split} | {over} | "
                f"{ours['teacher_calls_under_half']:.1%} | {ours['teacher_padding']:.1%} | "
                f"{ours['changes_of_size']} | {ours['loading_seconds']:.1f} |"
            )
    return lines


def ray_data() -> list[str]:
    """Ray Data's settings, beside ours."""
    lines = ["| case | how | s | over the bound | Bottega is faster | calls under half full |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for name in ("ray_data_moving", "ray_data_sd-8", "ray_data_sweep"):
        if (case := found(name)) is None:
            continue
        label = f"{case['case']}, {case['rows']:,} rows"
        ours = case["bottega"]
        lines.append(
            f"| {label} | Bottega | {ours['seconds']:.1f} | {ours['ratio']:.3f} | | "
            f"{ours['teacher_calls_under_half']:.1%} |"
        )
        for run in sorted(case["runs"], key=lambda run: run.get("seconds", float("inf"))):
            if "error" in run:
                lines.append(f"| {label} | {_setting(run)} | failed: {run['error']} | | | |")
                continue
            faster = run["seconds"] / ours["seconds"]
            lines.append(
                f"| {label} | {_setting(run)} | {run['seconds']:.1f} | {run['ratio']:.3f} | "
                f"{faster:.2f} | {run['teacher_calls_under_half']:.1%} |"
            )
    return lines


def _setting(run: dict[str, Any]) -> str:
    shown = {k: v for k, v in run["setting"].items() if v not in (None, False)}
    sizes = "/".join(
        f"{size[0]}-{size[1]}" if isinstance(size, list) else str(size)
        for size in (shown.pop("students"), shown.pop("oracles"), shown.pop("teachers"))
    )
    shape = shown.pop("shape")
    return f"{shape} {sizes}; " + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in shown.items())


def object_store() -> list[str]:
    """Bytes through the store, and spilled bytes."""
    if (case := found("object_store")) is None:
        return []
    return [
        "| s | over the bound | store GiB | through it GiB | fullest GiB | spilled bytes |",
        "|---|---|---|---|---|---|",
        f"| {case['seconds']:.1f} | {case['ratio']:.3f} | {case['store_gib']:.2f} | "
        f"{case['created_gib']:.1f} | {case['fullest_gib']:.2f} | {case['spilled_bytes']:,} |",
    ]


def authors_way() -> list[str]:
    """The embedded models, one prompt at a time and in pools."""
    if (case := found("authors_way")) is None:
        return []
    ours, theirs = case["bottega"], case["authors"]
    return [
        "| | s | loading s |",
        "|---|---|---|",
        f"| authors' way, {theirs['threads']} threads | {theirs['seconds']:.1f} | "
        f"{theirs['loading_seconds']:.1f} |",
        f"| Bottega | {ours['seconds']:.1f} | {ours['loading_seconds']:.1f} |",
        f"| bound: the actors' own seconds over {case['cores']} cores | "
        f"{case['pool_seconds_over_cores']:.1f} | |",
        "",
        f"{case['rows']} prompts, {case['refined']} refined: {case['times_faster']:.2f} times as "
        f"fast, {case['times_faster_with_loading']:.2f} with the loading of both; "
        f"{case['differing_rows']} rows differ.",
    ]


def driver() -> list[str]:
    """Batches a second, by actors."""
    if (case := found("driver")) is None:
        return []
    pairs = list(case["gpu_seconds_per_batch"])
    lines = [
        "| actors | batches/s | driver ms a batch | "
        + " | ".join(f"GPUs, {p}" for p in pairs)
        + " |",
        "|---" * (3 + len(pairs)) + "|",
    ]
    for run in case["runs"]:
        gpus = " | ".join(f"{run['gpus_fed'][pair]:,}" for pair in pairs)
        lines.append(
            f"| {run['actors']} | {run['batches_per_second']:.1f} | "
            f"{run['driver_ms_per_batch']:.2f} | {gpus} |"
        )
    return lines


def driver_memory() -> list[str]:
    """The driver's memory, by rows."""
    if (case := found("driver_memory")) is None:
        return []
    heads = " | ".join(f"{rows:,}" for rows, _ in case["megabytes"])
    held = " | ".join(f"{megabytes:.0f}" for _, megabytes in case["megabytes"])
    lines = [f"| rows | {heads} |", "|---" * (1 + len(case["megabytes"])) + "|", f"| MB | {held} |"]
    return [*lines, "", f"{case['rows']:,} rows in {case['seconds']:.0f} s."]


def simulator() -> list[str]:
    """The virtual clock on a large cluster."""
    if (case := found("simulator")) is None:
        return []
    lines = ["| rows | s | MB | rows waiting |", "|---|---|---|---|"]
    for at in case["tenths"]:
        lines.append(
            f"| {at['rows']:,} | {at['seconds']:.0f} | {at['megabytes']:.0f} | {at['waiting']:,} |"
        )
    return [
        *lines,
        "",
        f"{case['rows']:,} rows on {case['gpus']:,} GPUs: {case['seconds']:.0f} s here "
        f"({case['core_seconds']:.0f} s of a core), {case['completions']:,} completions. Virtual "
        f"time {case['virtual_seconds']:,.0f} s, of which {case['loading_seconds']:.0f} s to load; "
        f"the bound is {case['bound_seconds']:,.0f} s. Efficiency {case['efficiency']:.3f}, "
        f"{case['efficiency_without_loading']:.3f} without the loading.",
    ]


def plan_check() -> list[str]:
    """Plans, and the real runs."""
    if (case := found("plan_check")) is None:
        return []
    lines = [
        "| case | planned s | real s | real over planned | an actor loads s | calls took, times |",
        "|---|---|---|---|---|---|",
    ]
    for name, run in case["cases"].items():
        lines.append(
            f"| {name} | {run['planned']:.1f} | {run['real']:.1f} | {run['ratio']:.3f} | "
            f"{run['load_seconds']:.1f} | {run['calls']:.3f} |"
        )
    return lines


def tasks() -> list[str]:
    """Editing, control and several drawings on the embedded set."""
    if (case := found("tasks")) is None:
        return []
    lines = [
        f"{case['rows']} rows.",
        "",
        "| task | how | right | in place | evaluations a row | actor-seconds a row |",
        "|---|---|---|---|---|---|",
    ]
    for task in ("edit", "control", "draws"):
        for way, one in case.get(task, {}).items():
            place = "" if one["in_place"] is None else f"{one['in_place']:.1%}"
            lines.append(
                f"| {task} | {way} | {one['right']:.1%} | {place} | {one['nfe']:.2f} | "
                f"{one['actor_seconds']:.3f} |"
            )
    return lines


TABLES = {
    "performance.md": {
        "pools_on_gpus": pools_on_gpus,
        "ray_data": ray_data,
        "object_store": object_store,
        "authors_way": authors_way,
        "driver": driver,
        "driver_memory": driver_memory,
        "simulator": simulator,
        "plan_check": plan_check,
    },
    "tasks.md": {"tasks": tasks},
}


def main() -> None:
    """Write the tables into the pages."""
    for file, tables in TABLES.items():
        page = (DOCS / file).read_text()
        for name, table in tables.items():
            before, mark, rest = page.partition(f"<!-- {name} -->\n")
            if not mark:
                raise SystemExit(f"{file} has no <!-- {name} -->")
            _, end, after = rest.partition("<!-- end -->")
            page = before + mark + "\n".join(["", *table(), ""]) + "\n" + end + after
        (DOCS / file).write_text(page)


if __name__ == "__main__":
    main()

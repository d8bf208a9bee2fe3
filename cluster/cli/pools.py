"""`bottega pools`: the actors that jobs left loaded on a cluster, for the next job."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.table import Table

from actors.errors import ClusterError
from cluster.cli.options import ClusterOption, JsonOption, ProfileOption
from cluster.console import console, errors, log_to_stderr, print_json, say
from cluster.printable import one_line
from cluster.profiles import cluster_address, load_profile
from cluster.submission.connect import Connect
from cluster.views.progress import duration

app = typer.Typer(
    help="The warm pools of a cluster: actors that `keep_warm` left loaded for the next job.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list")
def list_(
    address: ClusterOption = None, profile: ProfileOption = None, json_wanted: JsonOption = False
) -> None:
    """List the warm actors: what they have loaded, where they are, and how long they stay."""
    found = _of_cluster("list", address, profile)
    if json_wanted:
        print_json(found)
    elif found:
        console.print(_table(found))
        say("each gives way to any job that needs its place, and works for one with its model")
    else:
        say("no actor is warm: none was left by a job, or their time is over", errors)


@app.command()
def clear(
    address: ClusterOption = None, profile: ProfileOption = None, json_wanted: JsonOption = False
) -> None:
    """End the warm actors, and free what they hold. Actors that work for a job stay."""
    ended = _of_cluster("clear", address, profile)
    if json_wanted:
        print_json(ended)
    else:
        gpus = sum(actor["gpus"] for actor in ended)
        say(f"{len(ended)} warm actors are ended, which held {gpus:g} GPUs")


def _of_cluster(verb: str, address: str | None, profile: str | None) -> list[dict[str, Any]]:
    """Ask the cluster: attached to Ray at its own address, or by a command on the head."""
    log_to_stderr()
    at = cluster_address(address, load_profile(profile))
    if at is not None and "://" not in at:
        from cluster.session import ray_session
        from cluster.warm_pools import end_all, warm_actors

        with ray_session(at):
            return warm_actors() if verb == "list" else end_all()
    printed = Connect(at).cluster().run(f"exec bottega pools {verb} --json --address auto")
    return _array_in(printed)


def _array_in(text: str) -> list[dict[str, Any]]:
    """The array in what a command printed; Ray's own lines may be around it."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("["):
            try:
                found, _ = json.JSONDecoder().raw_decode("\n".join(lines[number:]))
            except ValueError:
                continue
            return list(found)
    raise ClusterError(f"the cluster did not say which actors are warm: {text.strip()[-500:]}")


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("role", "model", "left by", "host", "GPUs", "ends in", "settings"):
        table.add_column(name, overflow="fold")
    for actor in found:
        table.add_row(
            actor["role"],
            one_line(actor["model"]),
            one_line(actor["left_by"]),
            one_line(actor["host"]),
            f"{actor['gpus']:g}",
            duration(actor["seconds_left"]),
            actor["settings"],
        )
    return table

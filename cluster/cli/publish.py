"""`bottega publish`: a finished dataset, with its card, for others."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from actors.counted import counted
from cluster.cli.options import OutputFolderArgument
from cluster.console import errors, say


def publish(
    folder: OutputFolderArgument,
    place: Annotated[
        str, typer.Argument(help="hf://datasets/ORG/NAME, a bucket's URL, or a folder.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    public: Annotated[
        bool,
        typer.Option("--public", help="A repository that is made is public. Default: private."),
    ] = False,
    licence: Annotated[
        str | None,
        typer.Option("--licence", help="As the hub names it. Default: the strictest model's."),
    ] = None,
) -> None:
    """Publish a finished dataset with a card: to the Hugging Face hub, a bucket or a folder."""
    from jobs import open_output

    publication = open_output(folder).publication(licence)
    card = publication.card
    parts = len(publication.parts)
    say(f"{counted(parts, 'part')}, {publication.num_bytes / 1e6:,.1f} MB, to {place}")
    for model in card.licences:
        say(f"licence of {model.model}: {model.licence}")
    say(f"licence of the dataset: {card.licence}")
    for warning in publication.warnings:
        say(f"look: {warning}", errors, style="yellow")
    if not yes:
        if not sys.stdin.isatty():
            say("nothing was sent: nobody was asked. Add --yes.", errors)
            raise typer.Exit(1)
        typer.confirm("Publish it?", abort=True)
    with errors.status("looking at what is there") as status:
        sent = publication.send_to(place, public, status.update)
    say(f"published: {counted(sent, 'part')} sent, {parts - sent:,} there already")

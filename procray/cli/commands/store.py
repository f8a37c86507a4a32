"""`procray store`: what the store holds, whether it is sound, and what nobody needs."""

from __future__ import annotations

from typing import Annotated

import typer

from procray.cli.options import STORE, Json, StorePath, open_store
from procray.cli.terminal import answer, answer_json

kept = typer.Typer(help="Look after the store.", rich_markup_mode=None, no_args_is_help=True)


@kept.command("ls")
def store_ls(
    store: StorePath = STORE,
    phases: Annotated[bool, typer.Option("--phases", help="One line for every phase.")] = False,
    json: Json = False,
) -> None:
    """List sweeps, phases and corpora with the room they take."""
    from procray.cli.store_view import listing, listing_json
    from procray.store.contents import contents

    found = contents(open_store(store))
    if json:
        answer_json(listing_json(found))
    else:
        answer(listing(found, store, phases))


@kept.command("verify")
def store_verify(
    store: StorePath = STORE,
    discard: Annotated[
        bool, typer.Option("--discard", help="Remove what is damaged; the next sweep trains it again.")
    ] = False,
    json: Json = False,
) -> None:
    """Read every checkpoint, resume state, journal and corpus and compare it with its digest."""
    from procray.cli.store_view import verify

    raise typer.Exit(verify(open_store(store), discard=discard, json=json))


@kept.command("gc")
def store_gc(
    store: StorePath = STORE,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; without this it is only listed.")] = False,
    forget: Annotated[
        list[str] | None,
        typer.Option(
            "--forget",
            metavar="TITLE|DIGEST",
            help="A sweep, or a plan, not wanted any more; may be repeated.",
        ),
    ] = None,
    resume_states: Annotated[
        bool,
        typer.Option("--resume-states", help="Also what finished phases keep so that more tokens can be added later."),
    ] = False,
    json: Json = False,
) -> None:
    """Find what no sweep of the store names and nothing that stays was made from."""
    from procray.cli.store_view import collect

    opened = open_store(store)
    raise typer.Exit(collect(opened, delete=delete, forget=tuple(forget or ()), resume_states=resume_states, json=json))

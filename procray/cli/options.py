"""What several commands take: the options, written once, and the plan and the store that they name.

Like the commands themselves this file imports nothing heavy (torch, Ray, MLflow), so that `procray --help` is instant.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from procray.cli.terminal import say

if TYPE_CHECKING:
    from procray.planning import Plan
    from procray.selection.reading import Reading
    from procray.store.store import Store

STORE = "store"
File = Annotated[Path, typer.Argument(metavar="FILE", help="A sweep file, such as sweeps/substitutive.yaml.")]
Shown = Annotated[
    str,
    typer.Argument(
        metavar="FILE|PLAN",
        help="A sweep file, or a plan that was run: its digest, or the newest of a title such as substitutive@laptop.",
    ),
]
Scale = Annotated[str | None, typer.Option("--scale", help="A named overlay of the file; the first is the default.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value; may be repeated.")
]
StorePath = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="FOLDER|s3://BUCKET/PREFIX",
        envvar="PROCRAY_STORE",
        help="The place that holds checkpoints and results.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")]


def load(file: Path, scale: str | None, settings: list[str] | None, store: Store | None = None) -> Plan:
    """The plan of a sweep file; SpecError lists every problem.

    Args:
        store: of a sweep with `select:`, go on with what the search there has chosen; else only the search.
    """
    from procray.planning import load_sweep, plan
    from procray.selection import select

    spec = load_sweep(file, scale=scale, set=settings or [])
    return plan(spec) if store is None else select.staged(spec, store)


def read(what: str, scale: str | None, settings: list[str] | None, store: Store) -> Reading:
    """The plan whose results a command shows; says so where it is not the file's own."""
    from procray.selection import reading

    found = reading.read(what, scale, settings, store)
    if found.note:
        say(found.note)
    return found


def open_store(place: str) -> Store:
    from procray.store.store import Store

    return Store(place)

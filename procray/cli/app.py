"""The `procray` program: its commands, in the order in which `--help` lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from procray import __version__
from procray.cli.commands.checkpoints import analyze, export_phase, import_checkpoint, probe, transfer
from procray.cli.commands.cluster import cluster
from procray.cli.commands.data import data
from procray.cli.commands.doctor import doctor
from procray.cli.commands.store import kept
from procray.cli.commands.sweeps import lineage, plan, report, schema, status, sweep
from procray.cli.commands.tasks import tasks
from procray.cli.commands.tracking import sync, ui
from procray.cli.terminal import answer

app = typer.Typer(
    name="procray",
    help="Sweeps that measure what procedural pretraining saves.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def show_version(value: bool) -> None:
    if value:
        answer(__version__)
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Sweeps that measure what procedural pretraining saves."""


for command in (sweep, plan, status, report, lineage, analyze, probe, ui, sync, tasks, transfer):
    app.command()(command)
app.command("import")(import_checkpoint)
app.command("export")(export_phase)
app.command()(doctor)
app.command()(schema)
app.add_typer(data, name="data")
app.add_typer(cluster, name="cluster")
app.add_typer(kept, name="store")

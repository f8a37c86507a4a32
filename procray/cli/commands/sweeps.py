"""Commands on one sweep file: run it, look at it, report on it, and the language it is written in."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from procray.cli.options import STORE, File, Json, Scale, Settings, StorePath, load, open_store
from procray.cli.terminal import answer, answer_json, say, width

if TYPE_CHECKING:
    from procray.planning import Plan
    from procray.store.store import Store


def sweep(
    file: File,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    address: Annotated[
        str | None, typer.Option("--address", help="An existing Ray cluster; a local one is started without it.")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option("--max-concurrent", min=1, help="At most so many phases at once.")
    ] = None,
    max_hours: Annotated[
        float | None, typer.Option("--max-hours", min=0, help="Save and stop, resumable, after so many hours.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try phases again that failed before.")] = False,
    tracking: Annotated[bool, typer.Option("--tracking/--no-tracking", help="Write the runs to MLflow.")] = True,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="A:B", help="Trace the steps from A to B of whatever is trained.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a sweep, or continue it: the same command goes on wherever it was stopped."""
    from procray.cli.run_view import run_sweep
    from procray.training.trace import read_range

    steps = None if profile is None else read_range(profile)
    graph = load(file, scale, set)
    code = run_sweep(
        graph,
        open_store(store),
        file=str(file),
        address=address,
        max_concurrent=max_concurrent,
        max_hours=max_hours,
        retry_failed=retry_failed,
        tracking=tracking,
        profile=steps,
        json=json,
        again=same_command(file, scale, set, store),
        ui=same_command(file, scale, set, store, "ui"),
    )
    raise typer.Exit(code)


def plan(
    file: File,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    json: Json = False,
) -> None:
    """Show what a sweep would train, what is already there and how long it takes."""
    from procray.cli.plan_view import plan_json, plan_text

    opened = open_store(store)
    graph = load(file, scale, set, opened)
    if json:
        answer_json(plan_json(graph, opened))
        return
    answer(plan_text(graph, opened))


def status(
    file: File,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    json: Json = False,
    follow: Annotated[bool, typer.Option("--follow", help="Keep the table up to date until it is finished.")] = False,
) -> None:
    """Show every phase of a sweep, running or past."""
    import dataclasses
    import time

    from procray.cli import live

    opened = open_store(store)
    graph = load(file, scale, set, opened)
    watcher = live.Watcher(graph, opened)
    if json:
        answer_json([dataclasses.asdict(r) for r in watcher.rows()])
        return
    if follow:
        with live.watching(graph, opened) as shown:
            while graph.then or not all(r.state in ("done", "failed", "skipped") for r in watcher.rows()):
                time.sleep(1.0)
                if graph.then is not None:  # the search is on: look whether it has come to its end
                    graph = load(file, scale, set, opened)
                    watcher.follow(graph)
                    shown.follow(graph)
    rows = watcher.rows()
    for r in rows:
        answer(live.line(r))
    answer(live.counts(rows))


def report(
    file: File,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    json: Json = False,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Look inside one model of each variant too; seconds each, kept for later.")
    ] = False,
) -> None:
    """Write the report of a sweep, also while it runs: curves, tables, lineage, one HTML page."""
    from procray import report as room

    opened = open_store(store)
    paths = room.write_report(load(file, scale, set, opened), opened, file=str(file), analyze=analyze, say=say)
    if json:
        answer_json(room.results_json(paths.results))
    else:
        answer(room.answer(paths.results, paths.page, width=width()))


def lineage(
    what: Annotated[str, typer.Argument(metavar="FILE|PHASE", help="A sweep file, or the id of a phase.")],
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
) -> None:
    """Show which checkpoints every phase was made from."""
    from procray import report as room

    opened = open_store(store)
    if Path(what).suffix in (".yaml", ".yml") or Path(what).exists():
        answer(room.lineage_text(load(Path(what), scale, set, opened), opened))
        return
    graph = sweep_of(what, opened)
    answer(room.lineage_text(graph, opened, what))


def schema() -> None:
    """Print the JSON Schema of a sweep file, for completion in an editor."""
    from procray.spec import json_schema

    answer_json(json_schema())


def sweep_of(phase: str, store: Store) -> Plan:
    """The first sweep of a store that has a phase, named by its id or the beginning of it."""
    from procray.errors import StoreError
    from procray.planning.plan_json import read_plan

    for stored in store.plans():
        graph = read_plan(stored.path)
        if any(known.startswith(phase) for known in graph.phases):
            return graph
    raise StoreError(f"no sweep of the store {store} has a phase '{phase}', and there is no such file")


def same_command(file: Path, scale: str | None, settings: list[str] | None, store: str, command: str = "sweep") -> str:
    """The line that a user types to come back to this sweep."""
    typed = Path(sys.argv[0])  # `.venv/bin/procray` where the environment is not activated
    program = str(typed) if typed.name == "procray" and not shutil.which("procray") else "procray"
    words = [program, command, str(file)]
    if scale:
        words += ["--scale", scale]
    for setting in settings or []:
        words += ["--set", setting]
    if store != STORE and "PROCRAY_STORE" not in os.environ:
        words += ["--store", store]
    return shlex.join(words)

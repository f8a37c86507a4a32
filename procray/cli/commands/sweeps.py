"""Commands on one sweep file: run it, look at it, report on it, and the language it is written in."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from procray.cli.options import STORE, File, Json, Scale, Settings, Shown, StorePath, load, open_store, read
from procray.cli.terminal import answer, answer_json, say, width


def sweep(
    context: typer.Context,
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
        float | None,
        typer.Option(
            "--max-hours", min=0, help="Save and stop after so many hours; the same command goes on (exit code 4)."
        ),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try phases again that failed before.")] = False,
    tracking: Annotated[bool, typer.Option("--tracking/--no-tracking", help="Write the runs to MLflow.")] = True,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="A:B", help="Trace the steps from A to B of whatever is trained.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a sweep, or continue it: the same command goes on wherever it was stopped.

    Exit codes: 0 done, 1 some phases failed, 2 bad input, 3 environment, 4 out of time, 129, 130 and 143 interrupted by
    a closed terminal, Ctrl-C and SIGTERM.
    """
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
        again=same_command(context),
        ui=same_command(context, "ui", ("file", "scale", "set", "store")),
    )
    raise typer.Exit(code)


def plan(
    file: File,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    why: Annotated[
        bool, typer.Option("--why", help="Instead: why phases of known names would be trained again, key by key.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what a sweep would train, what is already there and how long it takes."""
    from procray.cli import why_view
    from procray.cli.plan_view import plan_json, plan_text
    from procray.store.plans import namesake

    opened = open_store(store)
    graph = load(file, scale, set, opened)
    if notice := namesake(graph, opened.newest(graph.title)):
        say(notice)
    reasons = why_view.reasons(graph, opened) if why else None
    if json:
        answer_json(plan_json(graph, opened) | ({"why": why_view.why_json(reasons)} if reasons else {}))
        return
    answer(why_view.why_text(graph, reasons) if reasons else plan_text(graph, opened))


def status(
    file: Shown,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    json: Json = False,
    follow: Annotated[bool, typer.Option("--follow", help="Keep the table up to date until it is finished.")] = False,
) -> None:
    """Show every phase of a sweep, running or past, and the beginning of its id."""
    import dataclasses
    import time

    from procray.cli import live
    from procray.selection import reading
    from procray.selection.naming import short_ids

    opened = open_store(store)
    graph = read(file, scale, set, opened).plan
    watcher = live.Watcher(graph, opened)
    if json:
        answer_json([dataclasses.asdict(r) for r in watcher.rows()])
        return
    if follow:
        with live.watching(graph, opened) as shown:
            while graph.then or not all(r.state in ("done", "failed", "skipped") for r in watcher.rows()):
                time.sleep(1.0)
                if graph.then is not None:  # the search is on: look whether it has come to its end
                    graph = reading.read(file, scale, set, opened).plan
                    watcher.follow(graph)
                    shown.follow(graph)
    rows = watcher.rows()
    ids = short_ids(r.id for r in rows)
    for r in rows:
        answer(f"{ids[r.id]}  {live.line(r)}")
    answer(live.counts(rows))


def report(
    file: Shown,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    json: Json = False,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Look inside one model of each variant too; seconds each, kept for later.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where to write it, in place of the store.")
    ] = None,
) -> None:
    """Write the report of a sweep, also while it runs: curves, tables, lineage, one HTML page."""
    from procray import report as room
    from procray import tracking

    opened = open_store(store)
    tracking.check_locations(opened, mend=False)  # whoever shows results of this store also shows its MLflow page
    found = read(file, scale, set, opened)
    paths = room.write_report(found.plan, opened, out, file=found.file or None, analyze=analyze, say=say)
    if json:
        answer_json(room.results_json(paths.results))
    else:
        answer(room.answer(paths.results, None if paths.problem and not paths.fresh else paths.page, width=width()))
    if paths.problem:
        say(f"report: {paths.problem}")


def lineage(
    what: Annotated[
        str, typer.Argument(metavar="FILE|PLAN|PHASE", help="A sweep file, a plan that was run, or one phase.")
    ],
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
) -> None:
    """Show which checkpoints every phase was made from."""
    from procray import report as room
    from procray.errors import StoreError
    from procray.planning.plan_json import read_plan
    from procray.selection import naming, reading

    opened = open_store(store)
    named = None if reading.is_file(what) or reading.is_plan(what, opened) else naming.find(what, opened)
    if named is None:
        answer(room.lineage_text(read(what, scale, set, opened).plan, opened))
    elif named.plan is None:
        raise StoreError(f"no plan of the store {store} has the phase {named.phase}: its lineage is not known")
    else:
        answer(room.lineage_text(read_plan(named.plan.path), opened, named.phase))


def schema() -> None:
    """Print the JSON Schema of a sweep file, for completion in an editor."""
    from procray.spec import json_schema

    answer_json(json_schema())


def same_command(context: typer.Context, command: str | None = None, only: Collection[str] | None = None) -> str:
    """The line that a user types, in any shell, to come back to this sweep: every option that was given is in it.

    Args:
        command: another one than this.
        only: the names of the parameters that the other one has too.
    """
    typed = Path(sys.argv[0])  # `.venv/bin/procray` where the environment is not activated
    program = [str(typed) if typed.name == "procray" and not shutil.which("procray") else "procray"]
    if typed.name == "__main__.py":
        program = [Path(sys.executable).name, "-m", "procray"]
    words = [*program, command or str(context.info_name)]
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        source = context.get_parameter_source(name)
        given = source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")
        if not given or (only is not None and name not in only):
            continue
        if parameter.param_type_name == "argument":
            words.append(str(value))
        elif isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        else:
            words += [
                word
                for one in (value if isinstance(value, list | tuple) else [value])
                for word in (parameter.opts[0], str(one))
            ]
    return shlex.join(words)

"""`procray cluster`: checks cluster files. What brings clusters up are Ray's own commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from procray.cli.options import Json, load
from procray.cli.terminal import answer, answer_json
from procray.errors import Problem, SpecError

cluster = typer.Typer(help="Check cluster files.", rich_markup_mode=None, no_args_is_help=True)


@cluster.callback()
def root() -> None:
    """Check cluster files. What brings a cluster up are Ray's own commands: `ray up`, `kubectl apply`, `sbatch`."""


@cluster.command()
def validate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file for `ray up`, a RayJob for KubeRay, or a Slurm script.")
    ],
    sweep: Annotated[
        Path | None, typer.Option("--sweep", metavar="SWEEP", help="A sweep file whose every phase must find a node.")
    ] = None,
    scale: Annotated[str | None, typer.Option("--scale", help="A named overlay of the sweep file.")] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the sweep file.")
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", help="The store that the sweep will use, in place of the file's own.")
    ] = None,
    ready: Annotated[
        bool,
        typer.Option(
            "--ready",
            help="Values that are still the shipped examples are problems; and S3 is asked about the store's bucket.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """List everything that is wrong with a cluster file, before it costs money; --ready asks S3 too."""
    from procray.execution import cluster_files
    from procray.selection.select import foreseen

    plan = None if sweep is None else foreseen(load(sweep, scale, set))
    found = cluster_files.check(file, plan, store)
    if ready:
        cluster_files.ask_bucket(found)
    problems = sorted({*found.problems, *(found.examples if ready else [])})
    if json:
        answer_json(
            {
                "file": found.file,
                "kind": found.kind,
                "problems": [_plain(problem) for problem in problems],
                "examples": [_plain(problem) for problem in found.examples],
                "unchecked": found.unchecked,
                "advice": found.advice,
            }
        )
    else:
        if found.examples and not ready:
            answer(f"{file} still has {len(found.examples)} of the shipped examples (--ready refuses them):")
            for problem in found.examples:
                answer(f"  line {problem.line}: {problem.message}")
        for what in found.unchecked:
            answer(f"not checked: {what}")
        for what in found.advice:
            answer(f"recommended: {what}")
    if problems and json:
        raise typer.Exit(2)
    if problems:
        raise SpecError(problems)
    if not json:
        answer(f"{file}: no problems ({found.kind})")


def _plain(problem: Problem) -> dict[str, str | int]:
    return {"line": problem.line, "column": problem.column, "message": problem.message}

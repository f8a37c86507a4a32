"""`procray doctor`: the machine, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from procray.cli.options import STORE, Json, Scale, Settings, StorePath, load, open_store
from procray.cli.terminal import answer, answer_json, say


def doctor(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A sweep whose phases are measured.")] = None,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    json: Json = False,
) -> None:
    """Check this machine, measure it, and store what `plan` needs for its predictions."""
    from procray.cli.doctor import examine
    from procray.redaction import redacted

    facts, problems = redacted(examine(open_store(store), load(file, scale, set) if file else None))
    if json:
        answer_json({"facts": facts, "problems": problems})
    else:
        for key, value in facts.items():
            answer(f"{key:22} {value}")
        for problem in problems:
            say(f"problem: {problem}")
    if problems:
        raise typer.Exit(3)

"""Commands about MLflow: open it on a sweep, and write to it what it lacks."""

from __future__ import annotations

from typing import Annotated

import typer

from procray.cli.options import STORE, Scale, Settings, Shown, StorePath, open_store, read
from procray.cli.terminal import answer, say


def ui(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE|PLAN]", help="The sweep to open, or a plan that was run.")
    ] = None,
    scale: Scale = None,
    set: Settings = None,
    store: StorePath = STORE,
    port: Annotated[int | None, typer.Option("--port", help="A port on 127.0.0.1; a free one without it.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Start MLflow on this machine's 127.0.0.1 and open it on the sweep's curves."""
    from procray import tracking

    opened = open_store(store)
    tracking.serve(
        opened, read(file, scale, set, opened).plan if file else None, port=port, open_browser=browser, say=answer
    )


def sync(file: Shown, scale: Scale = None, set: Settings = None, store: StorePath = STORE) -> None:
    """Write to MLflow whatever it does not have yet of a sweep."""
    from procray import tracking

    opened = open_store(store)
    if caution := tracking.caution(tracking.tracking_uri(opened.path)):
        say(caution)
    result = tracking.sync(read(file, scale, set, opened).plan, opened)
    answer(str(result))

"""`procray data`: prepares and describes the corpora of a sweep."""

from __future__ import annotations

import typer

from procray.cli.options import STORE, File, Json, Scale, Settings, StorePath, load, open_store
from procray.cli.terminal import answer, answer_json, say, short_count

data = typer.Typer(help="Prepare and inspect corpora.", rich_markup_mode=None, no_args_is_help=True)


@data.command("prepare")
def data_prepare(file: File, scale: Scale = None, set: Settings = None, store: StorePath = STORE) -> None:
    """Tokenise the corpora of a sweep into the store."""
    from procray.corpora import account
    from procray.execution import prepare_corpora
    from procray.selection.select import foreseen

    for prepared in prepare_corpora(foreseen(load(file, scale, set)), open_store(store), progress=say):
        answer(f"{prepared.digest}  {short_count(prepared.train_tokens)} training tokens")
        for line in account(prepared.manifest):
            say(f"  {line}")


@data.command("show")
def data_show(
    file: File, scale: Scale = None, set: Settings = None, store: StorePath = STORE, json: Json = False
) -> None:
    """Describe the prepared corpora of a sweep, with a decoded sample."""
    from procray import corpora
    from procray.execution import corpora_of
    from procray.selection.select import foreseen

    opened = open_store(store)
    recipes = corpora_of(foreseen(load(file, scale, set)))
    shown = [corpora.summary(corpora.load(recipe, opened.corpora)) for recipe in recipes]
    if json:
        answer_json(shown)
        return
    for facts in shown:
        for key, value in facts.items():
            answer(f"{key:18} {value}")
        answer("")

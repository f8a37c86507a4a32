"""Documents of a hub dataset, streamed: nothing is kept but the tokens.

The place in the stream is the dataset's own `state_dict`, so that a preparation goes on where its
last complete shard ended, without reading again what came before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from procray.corpora.documents import Documents
from procray.corpora.formats import without_surrogates
from procray.corpora.network import OFFLINE_CORPORA, reading_rows, resolve_revision, within
from procray.corpora.split import held_out
from procray.errors import CorpusError, EnvironmentProblem

ROWS = 256  # read and encoded at once
OPEN_SECONDS = 300.0  # listing the thousand files of C4 takes a while; more than this is a hang
_TITLE = re.compile(r" = (?!= ).* = \n?")


def revisions(corpus: dict[str, Any], known: dict[str, str]) -> dict[str, str]:
    """The commit of every dataset that the corpus names; those `known` from an earlier preparation stay."""
    wanted = {corpus["name"]: corpus["revision"]}
    if "name" in corpus["validation"]:
        wanted.setdefault(corpus["validation"]["name"], corpus["validation"]["revision"])
    return {
        name: known.get(name) or resolve_revision("dataset", name, revision, f"corpus '{name}'")
        for name, revision in wanted.items()
    }


def read(corpus: dict[str, Any], commits: dict[str, str], split: str, position: Any) -> Iterator[Documents]:
    """The documents of `split` ("train" or "validation") from `position` on.

    Without a validation split of its own the corpus gives documents by the hash of their text: those
    are never trained on, and the first of them are the validation split.

    Raises:
        CorpusError: an unknown configuration, split or field.
        EnvironmentProblem: the connection was lost; preparing again goes on from the last shard.
    """
    place = corpus["validation"] if split == "validation" else corpus
    own_split = "name" in place
    source = place if own_split else corpus
    fraction = corpus["validation"].get("fraction", 0.0)
    limit = place["documents"]
    taken = position["taken"] if position else 0
    for batch in _rows(source, corpus["field"], commits[source["name"]], corpus["articles"], position):
        texts = batch.texts
        if split == "validation" and not own_split:
            texts = [text for text in texts if held_out(text, fraction)]
        if limit is not None:
            texts = texts[: limit - taken]
        before = {**batch.position, "taken": taken}
        taken += len(texts)
        if split == "train" and fraction:
            texts = [text for text in texts if not held_out(text, fraction)]
        yield Documents(texts, before, batch.counts)
        if limit is not None and taken >= limit:
            return


def _rows(
    source: dict[str, Any], field: str, commit: str, articles: bool, position: dict[str, Any] | None
) -> Iterator[Documents]:
    """The texts in batches. `position` holds the dataset's state and the rows of an article not yet complete."""
    where = f"corpus '{source['name']}'"
    with reading_rows(where):
        stream = within(OPEN_SECONDS, lambda: open_stream(source["name"], source["config"], source["split"], commit))
        state = position["state"] if position else None
        pending: list[str] = list(position["pending"]) if position else []
        if state is not None:
            stream.load_state_dict(state)
        for rows in stream.iter(batch_size=ROWS):
            if field not in rows:
                raise CorpusError(f"{where}: no field '{field}' (it has: {', '.join(sorted(rows))}); set `field:`")
            texts = _texts(rows[field], field, where)
            null = len(rows[field]) - len(texts)
            before = {"state": state, "pending": pending}
            if articles:
                texts, pending = _joined(texts, pending)
            yield _without_empty(texts, before, null)
            state = stream.state_dict()
        if pending:
            yield _without_empty(["".join(pending)], {"state": state, "pending": pending})


def open_stream(name: str, config: str | None, split: str, commit: str) -> Any:
    """The dataset's split as a `datasets.IterableDataset`."""
    try:
        import datasets
    except ImportError as error:
        raise EnvironmentProblem(
            f"corpus '{name}' needs the package 'datasets': pip install datasets; {OFFLINE_CORPORA}"
        ) from error
    # Its default is 20 attempts of 5 s each; a preparation that stops can go on, so it need not wait so long.
    datasets.config.STREAMING_READ_MAX_RETRIES = 4
    return datasets.load_dataset(name, config, split=split, streaming=True, revision=commit)


def _texts(cells: list[Any], field: str, where: str) -> list[str]:
    """The cells that are text, without those that are nothing.

    Raises:
        CorpusError: one that is something else: a column of numbers is not the text, whatever it is called.
    """
    found = [cell for cell in cells if cell is not None]
    other = next((cell for cell in found if not isinstance(cell, str)), None)
    if other is not None:
        shown = f"{type(other).__name__} {str(other)[:40]}"
        raise CorpusError(f"{where}: field '{field}' holds {shown}, not text; set `field:`")
    return [without_surrogates(text) for text in found]


def _without_empty(texts: list[str], position: dict[str, Any], null: int = 0) -> Documents:
    kept = [text for text in texts if text.strip()]
    counts = {"empty": len(texts) - len(kept), "null": null}
    return Documents(kept, position, {name: count for name, count in counts.items() if count})


def _joined(rows: list[str], pending: list[str]) -> tuple[list[str], list[str]]:
    """WikiText's lines as whole articles: one begins at each ` = Title = `. Returns those complete, and the rest."""
    articles: list[str] = []
    for row in rows:
        if _TITLE.fullmatch(row) and any(line.strip() for line in pending):
            articles.append("".join(pending))
            pending = []
        pending = [*pending, row]
    return articles, pending

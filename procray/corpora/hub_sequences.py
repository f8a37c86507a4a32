"""Token sequences of a hub dataset, fetched once and kept on this host in one file.

A plan must know how long sequences are and which ids they hold. So they are fetched when a sweep file that names them
is first read, and on every other machine when it trains, at the commit that was found then. What is kept needs no
network.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from procray.corpora import hub
from procray.corpora.network import reading_rows, within
from procray.corpora.recipe import dataset_name
from procray.errors import CorpusError
from procray.files import cache_folder, digest, read_json, write_json
from procray.ragged import write_ragged

KIND = ".sequences"
MOST_TOKENS = 1 << 31
MOST_IDS = 1 << 24
_COMMIT = re.compile(r"[0-9a-f]{40}")


def origin_of(given: dict[str, Any], *, ask: bool = True) -> dict[str, Any] | None:
    """What a sweep file says of a dataset (`hf`, `config`, `split`, `revision`, `field`, `rows`), at its commit.

    A branch stands for the commit that it had on this host when it was first asked for, as of a corpus.

    Args:
        ask: else None, where that is not known without the network.

    Raises:
        CorpusError: no such dataset or revision.
        EnvironmentProblem: the hub cannot be reached.
    """
    name, revision = dataset_name(given["hf"]), given.get("revision", "main")
    commit = revision
    if not _COMMIT.fullmatch(revision):
        known = cache_folder() / "sequences" / "revisions" / f"{digest([name, revision], 16)}.json"
        try:
            commit = str(read_json(known)["commit"])
        except (OSError, ValueError, KeyError, TypeError):
            if not ask:
                return None
            commit = hub.resolve_revision("dataset", name, revision, _where(name))
            known.parent.mkdir(parents=True, exist_ok=True)
            write_json(known, {"name": name, "revision": revision, "commit": commit})
    return {
        "hf": name,
        "config": given.get("config"),
        "split": given.get("split", "train"),
        "commit": commit,
        "field": given.get("field", "input_ids"),
        "rows": given.get("rows"),
    }


def kept(origin: dict[str, Any]) -> Path:
    """Where this host keeps, or would keep, the sequences."""
    return cache_folder() / "sequences" / f"{digest(origin, 32)}{KIND}"


def bring(origin: dict[str, Any]) -> Path:
    """The file with the sequences, which is fetched where this host does not have it yet.

    Raises:
        CorpusError: what the dataset holds is no list of ids.
        EnvironmentProblem: the hub cannot be reached.
    """
    path = kept(origin)
    if not path.exists():
        hub.resolve_revision("dataset", origin["hf"], origin["commit"], _where(origin["hf"]))  # soon
        tokens_T, starts_N1 = _fetched(origin)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_ragged(path, tokens_T, starts_N1)
    return path


def here(task: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a task with what comes from the hub brought to this host.

    Raises:
        CorpusError, EnvironmentProblem: as `bring`.
    """
    if "shuffled" in task:
        return {**task, "shuffled": here(task["shuffled"])}
    if not task.get("origin"):
        return task
    path = bring(task["origin"])
    return {**task, "base": str(path.parent), "files": [path.name]}


def _where(name: str) -> str:
    return f"sequences_from: '{name}'"


def _fetched(origin: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    where, field, most = _where(origin["hf"]), origin["field"], origin["rows"]
    rows: list[np.ndarray] = []
    total = 0
    with reading_rows(where):
        stream = within(
            hub.OPEN_SECONDS,
            lambda: hub.open_stream(origin["hf"], origin["config"], origin["split"], origin["commit"]),
        )
        for batch in stream.iter(batch_size=hub.ROWS):
            if field not in batch:
                raise CorpusError(f"{where}: no field '{field}' (it has: {', '.join(sorted(batch))}); set `field:`")
            for cell in batch[field][: None if most is None else most - len(rows)]:
                rows.append(_ids(cell, f"{where}: row {len(rows)}: field '{field}'"))
                total += len(rows[-1])
            if total > MOST_TOKENS:
                raise CorpusError(f"{where} has more than {MOST_TOKENS:,} tokens; take some of its rows with `rows:`")
            if most is not None and len(rows) >= most:
                break
    starts_N1 = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
    return (np.concatenate(rows) if rows else np.zeros(0, np.uint32)), starts_N1


def _ids(cell: Any, what: str) -> np.ndarray:
    if not isinstance(cell, list) or not all(type(token) is int for token in cell):
        raise CorpusError(f"{what} holds {str(cell)[:40]}, not a list of whole numbers; set `field:`")
    strange = next((token for token in cell if not 0 <= token < MOST_IDS), None)
    if strange is not None:
        raise CorpusError(f"{what} holds the id {strange}; expected ids from 0 to {MOST_IDS - 1:,}")
    return np.array(cell, np.uint32)

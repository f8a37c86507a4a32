"""Where an MLflow database says that artifacts are: below the store's own folder, or nothing is opened.

A database that comes with a store was written by somebody else, and whoever opens it with MLflow reads and writes
wherever it says. So every location in a store's `mlflow.db` is looked at first. Those of a store that was moved, which
name its former place, are brought to where it is now.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from procray.errors import EnvironmentProblem, StoreError
from procray.redaction import redact
from procray.tracking import backend, owner
from procray.visible import on_one_line

if TYPE_CHECKING:
    from procray.store.store import Store

_LISTED = 20
# Columns that MLflow takes for places, by their names; a version may add tables.
_PLACES = re.compile(r"(artifact|storage|archival|archive)_(location|uri|root)")
TRACE_PLACES = ("mlflow.artifactLocation", "mlflow.trace.archiveLocation")
_BY_ID = ("models", "runs")  # resolved to the place of what has the id, which is then looked at
_NOT_A_PLACE = ("dummy-source", "prompt-template")  # what MLflow writes for a prompt, which has no files
_OWN_TRIGGERS = ("secrets",)  # tables on which MLflow's own schema has one


def is_own(store: Store, uri: str) -> bool:
    """Whether MLflow's data at `uri` are those that lie in the store."""
    file = backend.sqlite_file(uri)
    return file is not None and os.path.realpath(file) == os.path.realpath(store.path / backend.DATABASE)


def check(store: Store, *, mend: bool = True) -> None:
    """Looks at every location in the database that lies in a store; one elsewhere is its user's own choice.

    Args:
        mend: bring the locations of a store that was moved to its new place. Without it nothing is written.

    Raises:
        StoreError: names every experiment, run, model and trace whose location leads out of the store.
        EnvironmentProblem: it cannot be read, and `mend` says that it is to be opened.
    """
    file, artifacts = store.path / backend.DATABASE, store.path / backend.ARTIFACTS
    beside = [file.with_name(file.name + end) for end in ("", "-wal", "-shm", "-journal", ".lock", ".new")]
    for path in (*beside, artifacts):
        if path.is_symlink():
            raise StoreError(f"{path} is a link, which might lead out of the store; nothing is opened through it")
    if not file.exists():
        return
    strange = [f"file {link}: a link" for link in _links(artifacts)]
    with contextlib.ExitStack() as stack:
        try:
            if mend:
                stack.enter_context(backend.file_lock(file.with_name(f"{file.name}.lock")))
            database = stack.enter_context(_opened(file, mend))
            strange += _settle(database, artifacts, owner.store_id(store, make=False), mend)
        except sqlite3.DatabaseError as error:
            if mend:  # what cannot be looked at is not opened
                raise EnvironmentProblem(f"MLflow cannot use {file}: {error}") from error
    if strange:
        listed = [on_one_line(redact(line)) for line in strange[:_LISTED]]
        if len(strange) > _LISTED:
            listed.append(f"and {len(strange) - _LISTED} more")
        raise StoreError(
            f"{file} says that MLflow's files are outside of {artifacts}, or changes what it is told:\n  "
            + "\n  ".join(listed)
            + "\nMLflow would read and write there, so it is not opened. Remove it, and `procray sync FILE` makes "
            "another; if these places are yours, copy it out of the store and set MLFLOW_TRACKING_URI to the copy"
        )


def inside(location: str, roots: Iterable[str]) -> bool:
    """Whether a location that MLflow was given lies in one of `roots` (URIs), whatever links are on the way."""
    path = local_path(location)
    for root in roots:
        place = local_path(root)
        if place is not None:
            if path is not None and _below(path, place):
                return True
        elif path is None and _plain(location) and f"{location}/".startswith(root.rstrip("/") + "/"):
            return True
    return False


def local_path(location: str) -> Path | None:
    """The path that MLflow opens for a location; None for another scheme, another host or a path that is relative."""
    parts = urlsplit(location)
    if location.startswith("file:"):
        path = url2pathname(parts.path) if parts.netloc in ("", "localhost") else ""
    else:
        path = url2pathname(location) if location.startswith("/") else ""
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        return None
    return Path(path)


def _below(path: Path, root: Path) -> bool:
    return _real(path).is_relative_to(_real(root))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _plain(location: str) -> bool:
    """Whether a location elsewhere means what it says: nothing in it leads upwards."""
    return ".." not in url2pathname(location).split("/") and not urlsplit(location).query


def _links(folder: Path) -> Iterator[Path]:
    """What MLflow never makes: links among its files."""
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(where, name)
            if path.is_symlink():
                yield path


@contextlib.contextmanager
def _opened(file: Path, write: bool) -> Iterator[sqlite3.Connection]:
    """The database; where it is only looked at, no file appears beside it."""
    rest = any(file.with_name(file.name + end).exists() for end in ("-wal", "-journal"))
    mode = "rw" if write else "ro" if rest else "ro&immutable=1"
    with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, timeout=20)) as found:
        found.execute("PRAGMA trusted_schema=OFF")
        yield found


def _settle(database: sqlite3.Connection, artifacts: Path, own: str, mend: bool) -> list[str]:
    """What leads out, in words; what is left of a former place of the store is brought here, all of it or nothing."""
    strange = [
        f"{kind} {name}"
        for kind, name, table, text in database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
        if kind == "view"
        or (kind == "trigger" and table not in _OWN_TRIGGERS)
        or (kind == "table" and re.match(r"(?i)\s*create\s+virtual", text or ""))
    ]
    if strange:
        return strange
    artifacts = artifacts.absolute()
    former = _former_places(database, artifacts, own)
    moved: list[tuple[str, str, str, int]] = []
    for table, column, row, name, location in _locations(database):
        path = local_path(location)
        if path is not None and path.is_relative_to(artifacts):
            continue  # links below it were looked for
        if path is not None and (place := next((one for one in former if path.is_relative_to(one)), None)):
            moved.append((table, column, (artifacts / path.relative_to(place)).as_uri(), row))
        elif not (path is not None and _below(path, artifacts)) and not (served(location) or location in _NOT_A_PLACE):
            strange.append(f"{name}: {location}")
    if moved and mend and not strange:
        with database:
            for table, column, location, row in moved:
                database.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', (location, row))
    return strange


def served(location: str) -> bool:
    """Whether it names what the server that is asked keeps itself: by a path without a host, or by a thing's id."""
    parts = urlsplit(location)
    proxied = parts.scheme == "mlflow-artifacts" and not parts.netloc and _plain(location)
    return proxied or parts.scheme in _BY_ID


def _former_places(database: sqlite3.Connection, artifacts: Path, own: str) -> set[Path]:
    """Where the store's artifacts were: named by experiments of this store, and by those that name no store."""
    found: set[Path] = set()
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"experiments", "experiment_tags"} <= tables:
        return found
    asked = (
        "SELECT artifact_location, (SELECT value FROM experiment_tags WHERE key = ? AND "
        "experiment_tags.experiment_id = experiments.experiment_id) FROM experiments"
    )
    for location, tag in database.execute(asked, (owner.STORE,)):
        path = local_path(str(location))
        if path is not None and tag in (None, own) and backend.ARTIFACTS in path.parts:
            last = len(path.parts) - path.parts[::-1].index(backend.ARTIFACTS)
            found.add(Path(*path.parts[:last]))
    return found - {artifacts}


def _locations(database: sqlite3.Connection) -> Iterator[tuple[str, str, int, str, str]]:
    """Table, column, row, name and text of everything that MLflow takes for a place."""
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        quoted = table.replace('"', '""')
        columns = [about[1] for about in database.execute(f'PRAGMA table_info("{quoted}")')]
        named = next((one for one in ("name", "run_uuid", "request_id", "trace_id") if one in columns), None)
        shown = f'"{named}"' if named else "rowid"
        what = table.removesuffix("s").replace("_", " ")
        for column in columns:
            if _PLACES.fullmatch(column) or (table == "model_versions" and column == "source"):
                for row, name, text in database.execute(
                    f'SELECT rowid, {shown}, "{column}" FROM "{quoted}" WHERE "{column}" IS NOT NULL'
                ):
                    yield quoted, column, row, f"{what} '{name}'", str(text)
        if table.endswith("_tags") and {"key", "value"} <= set(columns):
            marks = ", ".join("?" * len(TRACE_PLACES))
            for row, name, text in database.execute(
                f'SELECT rowid, {shown}, value FROM "{quoted}" WHERE key IN ({marks})', TRACE_PLACES
            ):
                yield quoted, "value", row, f"{what} of '{name}'", str(text)

"""Where MLflow is, and a client for it.

mlflow is imported inside functions only: it costs seconds and 200 MB, and most commands never need it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from procray import links
from procray.errors import EnvironmentProblem, ProcrayError
from procray.redaction import redact, without_credentials
from procray.store.nearby import on_network

__all__ = [
    "ARTIFACTS", "DATABASE", "caution", "connect", "ensure_database", "explain", "file_lock", "is_server",
    "quiet_environment", "redact", "sqlite_address", "sqlite_file", "tracking_uri", "without_credentials",
]  # fmt: skip

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
_REQUEST_SECONDS = "15"  # MLflow waits 120 s for an answer and then asks 7 more times


def tracking_uri(store: Path, given: str | None = None) -> str:
    """The tracking server or database: what is given, else `MLFLOW_TRACKING_URI`, else a file in the store."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or sqlite_address(store / DATABASE)


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def sqlite_address(file: Path) -> str:
    """The address of an SQLite file, whatever its folders are called."""
    plain = str(file)
    quoted = plain.replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    # Where the address is not the path, `sqlite:///` would have MLflow make folders of the address.
    return f"sqlite:///{plain}" if quoted == plain else f"sqlite+pysqlite:///{quoted}"


def sqlite_file(uri: str) -> Path | None:
    """The file that SQLAlchemy opens for an SQLite address; None for any other address, and for none in memory."""
    scheme, _, rest = uri.partition("://")
    name = unquote(rest.removeprefix("/").partition("?")[0])
    if scheme.split("+")[0] != "sqlite" or name in ("", ":memory:"):
        return None
    return Path(name.removeprefix("file:"))


def is_here(uri: str) -> bool:
    """Whether a server is on this machine's loopback."""
    host = urlsplit(uri).hostname or ""
    return is_server(uri) and (host in ("localhost", "::1") or host.startswith("127."))


def quiet_environment(uri: str = "") -> dict[str, str]:
    """Settings under which MLflow neither reports home nor waits for minutes; the user's own win.

    A server at `uri` on this machine is reached without a proxy, which would look for it on its own.
    """
    wanted = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": _REQUEST_SECONDS,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    found = {name: os.environ.get(name, value) for name, value in wanted.items()}
    if is_here(uri):
        known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        hosts = ["127.0.0.1", "localhost", str(urlsplit(uri).hostname)]
        direct = ",".join(dict.fromkeys([*filter(None, known.split(",")), *hosts]))
        found |= {"no_proxy": direct, "NO_PROXY": direct}
    return found


def connect(uri: str) -> MlflowClient:
    """A client for `uri`. An SQLite file is made first, once, whoever else is about to do the same.

    Raises:
        EnvironmentProblem: MLflow refuses the address or the database.
    """
    os.environ.update(quiet_environment(uri))
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        file = sqlite_file(uri)
        if file is not None:
            ensure_database(file)
        return MlflowClient(tracking_uri=uri)
    except EnvironmentProblem:
        raise
    except Exception as error:  # MLflow lets SQLAlchemy's, alembic's and its own errors through
        raise EnvironmentProblem(f"MLflow cannot use {redact(uri)}: {explain(error)}") from error


def ensure_database(file: Path) -> None:
    """Creates an MLflow database at `file` unless there is one. Safe in several processes at once.

    It is built under another name and renamed, so nobody meets one that is half made: processes that
    open a fresh database together all fail in MLflow's own set-up.
    """
    links.refuse(file)  # SQLite opens it by itself
    links.make_folder(file.parent)
    with file_lock(file.with_name(f"{file.name}.lock")):
        if not file.exists():
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            building = file.with_name(f"{file.name}.new")
            links.remove(building)
            fresh = SqlAlchemyStore(sqlite_address(building), (file.parent / ARTIFACTS).as_uri())
            fresh.engine.dispose()
            os.replace(building, file)
        choose_journal(file)


def choose_journal(file: Path) -> None:
    """Sets how a database keeps its changes until they are whole; the choice stands in the file.

    On a disk: write-ahead, so that readers (the page) and the writer do not wait for each other. That needs memory
    which all of them share, and so one machine: on a network file system another one would read half of a change.
    There it is a rollback journal, under which whoever reads waits for whoever writes.

    Raises:
        EnvironmentProblem: a write-ahead database on a network file system that somebody has open.
    """
    network = on_network(file)
    # A rollback journal needs no entry in the file: anything but `wal` is one.
    if _is_write_ahead(file) != network:
        return
    with contextlib.closing(sqlite3.connect(file, timeout=1 if network else 20)) as database:
        try:
            if network:
                # Alone, without shared memory; refused while anybody on any machine has the database open.
                database.execute("PRAGMA locking_mode=EXCLUSIVE")
            mode = database.execute(f"PRAGMA journal_mode={'DELETE' if network else 'WAL'}").fetchone()[0]
        except sqlite3.OperationalError as error:
            if not network:
                raise
            mode = f"wal ({error})"
    if network and mode.startswith("wal"):
        raise EnvironmentProblem(
            f"{file} lies on a network file system and still has a write-ahead journal, which works on one machine "
            "only; it is changed when nobody has it open, so end `procray ui` and other MLflow processes that use it"
        )


def _is_write_ahead(file: Path) -> bool:
    """What bytes 18 and 19 of an SQLite file say. Asking SQLite would open its shared memory."""
    with open(file, "rb") as handle:
        return handle.read(20)[18:20] == b"\x02\x02"


def caution(uri: str) -> str:
    """What holds for MLflow's data where they lie; empty where there is nothing to say."""
    file = sqlite_file(uri)
    if file is None or not on_network(file):
        return ""
    return (
        f"MLflow's data are in a file on a network file system ({file}): whoever reads waits while somebody writes, "
        "and locks of that file system must work; where several machines write, set MLFLOW_TRACKING_URI to a server"
    )


class LockTaken(EnvironmentProblem):
    """Somebody else holds a lock for longer than was waited for it."""


@contextlib.contextmanager
def file_lock(path: Path, seconds: float | None = None) -> Iterator[None]:
    """Holds a lock that ends with the process, however it ends.

    Raises:
        EnvironmentProblem: somebody else held it for `seconds` (None waits for ever).
    """
    links.make_folder(path.parent)
    end = None if seconds is None else time.monotonic() + seconds
    with open(path, "a", encoding="utf-8", opener=links.open_file) as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX if end is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if end is not None and time.monotonic() > end:
                    raise LockTaken(f"another process has been writing to MLflow for {seconds:g} s") from None
                time.sleep(0.05)
            except OSError as error:  # a file system without locks
                raise EnvironmentProblem(
                    f"{path} cannot be locked: {error.strerror}; set MLFLOW_TRACKING_URI to a server or to a file "
                    "on a disk of this machine"
                ) from None
        yield


def may_heal(error: BaseException) -> bool:
    """Whether trying again may help: a server that is away may come back, one that refuses will refuse again."""
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    if isinstance(error, LockTaken):
        return True
    if isinstance(error, EnvironmentProblem):  # of ours: what its cause is, if it has one
        return error.__cause__ is not None and may_heal(error.__cause__)
    if isinstance(error, ProcrayError):  # of the store: it stays as it is
        return False
    if isinstance(error, MlflowException):
        text = str(error)
        if "Name or service not known" in text:  # nobody has this name; "temporary failure" would be another answer
            return False
        away = "HTTPConnection" in text or "HTTPSConnection" in text or error.get_http_status_code() in (408, 429)
        return away or error.get_http_status_code() >= 500
    if isinstance(error, sqlalchemy.exc.OperationalError):
        return not re.search("authentication failed|readonly database|unable to open database file", str(error))
    if isinstance(error, sqlalchemy.exc.ArgumentError):
        return False
    return not isinstance(error, ImportError | TypeError | KeyError | AttributeError | NameError | AssertionError)


def explain(error: BaseException) -> str:
    """The reason in one line, without credentials, tracebacks and retry chatter."""
    text = str(error) or type(error).__name__
    refused = re.search(r"\[Errno \d+\] ([\w ]+)|(Read timed out|timed out|Name or service not known)", text)
    if refused and "HTTPConnection" in text:
        text = refused[1] or refused[2]
    if "Invalid Host header" in text:
        text = "the server does not know this host name: start it with --allowed-hosts"
    line = redact(" ".join(text.split()))
    return line if len(line) <= 300 else line[:297] + "..."

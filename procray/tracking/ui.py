"""MLflow's page on this machine, opened on the charts of a sweep."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from procray import links
from procray.children import child_environment
from procray.errors import EnvironmentProblem
from procray.tracking import backend, locations, owner, views
from procray.tracking.gate import OPEN

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.store import Store

HOST = "127.0.0.1"
# Chromium refuses 5060, 5061 and others; these ranges hold none of them.
PORTS = (*range(5001, 5060), *range(8080, 8180))
LOG = "mlflow-server.log"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows this machine's own server
_PLAIN_SERVER = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ENABLE_WORKSPACES": "false"}
# Another server's, or what would take its protection away: of requests with another host's name, or from other pages.
_NOT_FOR_IT = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE",
    "_MLFLOW_STATIC_PREFIX",
    "prometheus_multiproc_dir",
)
_NOT_OURS = (
    "procray did not start this server: whoever reaches it can read and change what it holds, and choose where it "
    "keeps artifacts, unless it asks for a password itself"
)
_START_SECONDS = 300.0  # 5 s on a quiet machine; one that trains at the same time takes far longer


@dataclass(frozen=True)
class Page:
    """A server of MLflow on this machine.

    Attributes:
        address: answers only who has the secret.
        secret: of this start; programs send it as a bearer token (`MLFLOW_TRACKING_TOKEN`).
        folder: of this user alone, gone with the server.
    """

    address: str
    secret: str
    folder: Path

    def link(self, target: str) -> str:
        """The link that lets a browser in and leads on to `target`, a page of this server."""
        return f"{self.address}{OPEN}{self.secret}/{target.removeprefix(self.address).lstrip('/')}"


def serve(
    store: Store, plan: Plan | None = None, port: int | None = None, open_browser: bool = True, say: object = None
) -> str:
    """Shows MLflow until Ctrl-C (or SIGTERM); with a plan, opened on that sweep's charts.

    Where `MLFLOW_TRACKING_URI` names a server, that one is opened and nothing is started.

    Args:
        port: of the local server; by default the first free one that browsers accept.
        say: takes the lines for the user; `print` by default.

    Returns:
        The address that was opened.

    Raises:
        EnvironmentProblem: the port is taken, there is nothing to show, or the server does not start.
        StoreError: the store's MLflow data lead out of the store.
    """
    tell = say if callable(say) else print
    uri = backend.tracking_uri(store.path)
    if backend.is_server(uri):
        link = page(backend.without_credentials(uri), uri, store, plan)
        tell(_NOT_OURS)
        tell(link)
        if open_browser:
            webbrowser.open(link)
        return link
    if caution := backend.caution(uri):
        tell(caution)
    tell("Starting MLflow ...")
    with server(store, uri, port) as served:
        link = served.link(page(served.address, uri, store, plan))
        tell(f"MLflow is at {link}")
        tell("The link is a key: who has it can read and change what MLflow holds. Ctrl-C ends it.")
        if open_browser:
            _open(link, served.folder)
        _until_interrupted()
    return link


def page(address: str, uri: str, store: Store, plan: Plan | None) -> str:
    """The link to the charts of a store's sweep, or to the list of experiments when it is not there."""
    if plan is not None:
        found = owner.experiment(backend.connect(uri), plan.title, owner.store_id(store, make=False))
        if found is not None:
            return views.deep_link(address, found.experiment_id)
    return f"{address.rstrip('/')}/#/experiments"


@contextlib.contextmanager
def server(store: Store, uri: str, port: int | None = None) -> Iterator[Page]:
    """Runs MLflow's server on this machine's loopback for the length of a `with`.

    One process and no job execution: 5 s and 0.4 GB instead of 20 s and 2.3 GB.

    Raises:
        EnvironmentProblem: there is nothing to show, no port is free, or it does not start.
        StoreError: the store's MLflow data lead out of the store.
    """
    file = backend.sqlite_file(uri)
    if file is not None:
        if not file.exists():
            raise EnvironmentProblem(f"there is no MLflow data at {file} yet: run a sweep or `procray sync FILE`")
        if locations.is_own(store, uri):
            locations.check(store)
        backend.ensure_database(file)
        uri = backend.sqlite_address(file.resolve())  # the server runs in another folder
    artifacts = store.path.absolute() / backend.ARTIFACTS
    links.make_folder(artifacts)
    roots = [artifacts.as_uri(), *_chosen(store, uri)]
    environment = child_environment({**backend.quiet_environment(), **_PLAIN_SERVER})
    for name in _NOT_FOR_IT:
        environment.pop(name, None)
    log = store.path / LOG
    # The working folder of the server is nobody else's: not the store, in which others may have put anything.
    with listening(port) as own, tempfile.TemporaryDirectory(prefix="procray-ui-") as folder:
        served = Page(f"http://{HOST}:{own.getsockname()[1]}", secrets.token_urlsafe(32), Path(folder))
        orders = {"socket": own.fileno(), "secret": served.secret, "database": uri}
        with open(log, "w", encoding="utf-8", opener=links.open_file) as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "procray.tracking.page"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
                pass_fds=[own.fileno()],
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        try:
            _order(process, {**orders, "artifacts": artifacts.as_uri(), "roots": roots})
            own.close()  # it is the server's from here on
            _await_health(process, served.address, log, served.secret)
            yield served
        finally:
            _end(process)


def _chosen(store: Store, uri: str) -> list[str]:
    """Places of a database that the user named: whatever it says now is taken as meant. The store's own has none."""
    if locations.is_own(store, uri):
        return []
    from mlflow.entities import ViewType

    client, token = backend.connect(uri), None
    found: list[str] = []
    while True:
        asked = client.search_experiments(view_type=ViewType.ALL, max_results=1000, page_token=token)
        found += [one.artifact_location for one in asked if one.artifact_location]
        token = asked.token
        if not token:
            return found


def _order(process: subprocess.Popen[bytes], orders: dict[str, object]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # where it died at once, its log says why
        pipe.write(json.dumps(orders).encode() + b"\n")


def _open(link: str, folder: Path) -> None:
    """Opens a browser on a file of this user that leads to the link: every user can read a command line."""
    file = folder / "open.html"
    file.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={escape(link)}">'
        f'<a href="{escape(link)}">MLflow</a>\n',
        encoding="utf-8",
    )
    webbrowser.open(file.as_uri())


def listening(wanted: int | None = None) -> socket.socket:
    """A socket that listens at `wanted` if it is free, or at the first free one of PORTS.

    Raises:
        EnvironmentProblem: it is taken, or all are.
    """
    for port in [wanted] if wanted is not None else PORTS:
        own = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            own.bind((HOST, port))
            own.listen(128)
            return own
        except OSError:
            own.close()
    if wanted is not None:
        raise EnvironmentProblem(f"port {wanted} is in use; leave --port out and a free one is taken")
    raise EnvironmentProblem(f"no free port among {PORTS[0]}-5059 and 8080-{PORTS[-1]}")


def _await_health(process: subprocess.Popen[bytes], address: str, log: Path, secret: str) -> None:
    asked = urllib.request.Request(f"{address}/health", headers={"Authorization": f"Bearer {secret}"})
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with _DIRECT.open(asked, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
    raise EnvironmentProblem(f"the MLflow server did not start: {backend.redact(' / '.join(last))} (see {log})")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the server and its worker."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            if number == signal.SIGKILL or not _group_lives(process.pid):
                return


def _group_lives(group: int) -> bool:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True


def _die_with_parent() -> None:
    """In the child: SIGTERM when the command is gone, however it went."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _until_interrupted() -> None:
    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell starts background commands with it ignored.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""MLflow's page on this machine, opened on the charts of a sweep."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from procray import links
from procray.children import child_environment
from procray.errors import EnvironmentProblem
from procray.tracking import backend, owner, views

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.store import Store

HOST = "127.0.0.1"
# Chromium refuses 5060, 5061 and others; these ranges hold none of them.
PORTS = (*range(5001, 5060), *range(8080, 8180))
LOG = "mlflow-server.log"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows this machine's own server
_START_SECONDS = 300.0  # 5 s on a quiet machine; one that trains at the same time takes far longer


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
    """
    tell = say if callable(say) else print
    uri = backend.tracking_uri(store.path)
    if backend.is_server(uri):
        link = page(backend.without_credentials(uri), uri, store, plan)
        tell(link)
        if open_browser:
            webbrowser.open(link)
        return link
    if caution := backend.caution(uri):
        tell(caution)
    tell("Starting MLflow ...")
    with server(store, uri, port) as address:
        link = page(address, uri, store, plan)
        tell(f"MLflow is at {link}")
        tell("Ctrl-C ends it.")
        if open_browser:
            webbrowser.open(link)
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
def server(store: Store, uri: str, port: int | None = None) -> Iterator[str]:
    """Runs `mlflow server` on this machine's loopback for the length of a `with`; gives its address.

    One worker and no job execution: 5 s and 0.4 GB instead of 20 s and 2.3 GB.
    """
    file = backend.sqlite_file(uri)
    if file is not None:
        if not file.exists():
            raise EnvironmentProblem(f"there is no MLflow data at {file} yet: run a sweep or `procray sync FILE`")
        backend.ensure_database(file)
        uri = backend.sqlite_address(file.resolve())  # the server runs in another folder
    port = free_port(port)
    words = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    words += ["--default-artifact-root", (store.path / backend.ARTIFACTS).as_uri()]
    environment = child_environment(
        {
            **backend.quiet_environment(),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_BACKEND_STORE_URI": uri,  # may hold a password: not in the command line, which every user can read
        }
    )
    environment.pop("MLFLOW_TRACKING_URI", None)
    log = store.path / LOG
    # Its server imports from where it stands, and the store may be the user's folder.
    folder = store.path / backend.ARTIFACTS
    links.make_folder(folder)
    with open(log, "w", encoding="utf-8", opener=links.open_file) as output:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
    try:
        address = f"http://{HOST}:{port}"
        _await_health(process, address, log)
        yield address
    finally:
        _end(process)


def free_port(wanted: int | None = None) -> int:
    """`wanted` if it is free, or the first free one of PORTS.

    Raises:
        EnvironmentProblem: it is taken, or all are.
    """
    for port in [wanted] if wanted is not None else PORTS:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    if wanted is not None:
        raise EnvironmentProblem(f"port {wanted} is in use; leave --port out and a free one is taken")
    raise EnvironmentProblem(f"no free port among {PORTS[0]}-5059 and 8080-{PORTS[-1]}")


def _await_health(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with _DIRECT.open(f"{address}/health", timeout=2):
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

"""The process that keeps MLflow up to date while a sweep runs.

It reads the store and nothing else, so training never waits for it, and a server that is away costs
nothing but a later catch-up. It ends with the command that started it, even when that is killed: its
standard input, a pipe from the command, then closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray import links
from procray.children import child_environment
from procray.errors import EnvironmentProblem, ProcrayError
from procray.files import json_lines
from procray.tracking import backend
from procray.tracking.connect import open_session
from procray.tracking.session import Session, SyncResult
from procray.tracking.sync import write

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.store import Store

LOG = "tracking.log"
INTERVAL = 2.0  # seconds between two looks at the store
LONGEST_WAIT = 60.0  # between two attempts to reach a server
FINAL_SECONDS = 60.0
_GRACE = 10.0  # beyond the limit of the last sync: an unanswered request takes this long to give up
_LOG_BYTES = 1_000_000


class Follower:
    """Starts the process, tells it to finish, passes on what it says. Also a context manager.

    Nothing in here raises because of MLflow: a sweep must not fail because its record cannot be kept.
    """

    def __init__(self, plan: Plan, store: Store, tracking_uri: str | None = None, interval: float = INTERVAL):
        self._plan = plan
        self._store = store
        self._uri = backend.tracking_uri(store.path, tracking_uri)
        self._interval = interval
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._last: dict[str, Any] = {}
        self._handed: Path | None = None  # the plan on its way to the process

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def problem(self) -> str:
        """Why MLflow is behind at the moment, or the empty string."""
        return str(self._last.get("problem", ""))

    def start(self) -> Follower:
        """Starts the process and returns at once. The store's plans stay as they are: only what trains writes them."""
        log = self._store.title_folder(self._plan.title) / LOG
        links.make_folder(log.parent)
        handle, plan = tempfile.mkstemp(prefix="procray-plan-", suffix=".json")
        self._handed = Path(plan)
        with os.fdopen(handle, "wb") as file:
            file.writelines(json_lines(self._plan.to_json()))
        with contextlib.suppress(FileNotFoundError):
            if links.status(log).st_size > _LOG_BYTES:
                links.remove(log)
        words = [sys.executable, "-m", "procray.tracking", self._store.address, plan]
        # The address is not in the command line, which every user of the machine can read.
        environment = child_environment({**backend.quiet_environment(self._uri), "MLFLOW_TRACKING_URI": self._uri})
        with open(log, "a", encoding="utf-8", opener=links.open_file) as errors:
            self._process = subprocess.Popen(
                [*words, str(self._interval), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
                start_new_session=True,  # Ctrl-C is for the command, which then asks for the last sync
            )
        self._last = {}
        self._reader = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._reader.start()
        return self

    def stop(self, limit: float = FINAL_SECONDS) -> SyncResult:
        """Has the process sync once more, waits at most `limit` seconds and says how it went.

        A process that died on the way is started again for that.
        """
        if self._process is None or not self._finish(limit):
            self.start()
            self._finish(limit)
        if self._last.get("final"):
            return SyncResult(**self._last["result"])
        log = self._store.title_folder(self._plan.title) / LOG
        problem = self.problem or f"the process that writes to it did not come to an end in time (see {log})"
        return SyncResult(backend.redact(self._uri), "", complete=False, problem=problem)

    def _finish(self, limit: float) -> bool:
        """Asks the process for its last sync and waits for it; false when it died before it could."""
        process, reader = self._process, self._reader
        assert process is not None
        assert reader is not None
        assert process.stdin is not None
        self._process = None
        late = False
        with contextlib.suppress(OSError):
            process.stdin.write(f"{limit}\n")
            process.stdin.flush()
        try:
            process.wait(limit + _GRACE)
        except subprocess.TimeoutExpired:
            late = True
            process.kill()
            process.wait()
        reader.join(_GRACE)
        with contextlib.suppress(OSError):
            process.stdin.close()
        if self._handed is not None:
            self._handed.unlink(missing_ok=True)  # where the process died before it had read it
        return late or bool(self._last.get("final"))

    def __enter__(self) -> Follower:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                self._last = json.loads(line)


# -- inside the process ----------------------------------------------------------------------------------


def follow(plan: Plan, store: Store, uri: str, interval: float, orders: Orders) -> None:
    """Syncs until told to finish. What goes wrong is told and tried again, each time after a longer wait."""
    session: Session | None = None
    wait = interval
    said = ""
    total = SyncResult(backend.redact(uri), "")
    while True:
        limit = orders.wait(0.0)
        start = time.monotonic()
        try:
            if session is None:
                session = open_session(plan, store, uri)
            total = write(session, limit)
            wait = interval
            problem, heals = total.problem, False
            if total.repaired != said:
                said = total.repaired
                print(time.strftime("%Y-%m-%d %H:%M:%S"), said, file=sys.stderr, flush=True)
        except Exception as error:  # an outage, a locked database, a torn file: whatever it is, training goes on
            session = None  # it no longer knows what MLflow has: the next one asks
            wait = min(LONGEST_WAIT, 2 * wait)
            problem = str(error) if isinstance(error, ProcrayError) else backend.explain(error)
            total = SyncResult(backend.redact(uri), "", complete=False, problem=problem)
            heals = backend.may_heal(error)
            _log(problem, error)
        if limit is not None:
            left = limit - (time.monotonic() - start)
            if heals and left > interval:
                orders.repeat(left - interval)
                time.sleep(interval)
                continue
            _say({"final": True, "problem": problem, "result": vars(total)})
            return
        _say({"problem": problem})
        orders.wait(wait)


class Orders:
    """What the command says over the pipe: the seconds allowed for the last sync. Its end ends this process."""

    def __init__(self, parent: int):
        self._parent = parent
        self._limit: float | None = None
        self._given = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def wait(self, seconds: float) -> float | None:
        """Waits for an order; the limit in seconds once there is one."""
        self._given.wait(seconds)
        return self._limit if self._given.is_set() else None

    def repeat(self, limit: float) -> None:
        """The order stands, with what is left of its time."""
        self._limit = limit

    def _watch(self) -> None:
        # os.read, not readline: a buffered reader would hide from select what it has read already.
        text = b""
        while True:
            ready, _, _ = select.select([0], [], [], 0.5)
            if os.getppid() != self._parent:
                os._exit(0)  # in the middle of a request if need be: the next sync finds out what arrived
            if ready:
                part = os.read(0, 100)
                if not part:
                    os._exit(0)
                text += part
                if b"\n" in text and not self._given.is_set():
                    self._limit = float(text.split(b"\n")[0])
                    self._given.set()


def _say(message: Mapping[str, Any]) -> None:
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:
        os._exit(0)


def _log(problem: str, error: Exception) -> None:
    """A line for what is known to happen, a traceback for the rest; both into the log file."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), problem, file=sys.stderr, flush=True)
    if not isinstance(error, EnvironmentProblem) and not type(error).__module__.startswith(("mlflow", "sqlalchemy")):
        import traceback

        print(backend.redact("".join(traceback.format_exception(error))), file=sys.stderr, flush=True)


def main(arguments: list[str]) -> None:
    """`python -m procray.tracking STORE PLAN INTERVAL PARENT`: started by Follower, of no use by hand."""
    from procray.planning.plan_json import read_plan
    from procray.store.store import Store

    store, plan, interval, parent = arguments
    orders = Orders(int(parent))
    with contextlib.suppress(OSError):
        os.nice(10)  # training goes first
    known = read_plan(Path(plan))
    Path(plan).unlink()
    follow(known, Store(store), os.environ["MLFLOW_TRACKING_URI"], float(interval), orders)

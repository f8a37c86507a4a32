"""Brings MLflow to what the store says: the one code path of the running follower and of `procray sync`.

MLflow is a copy; the store is the truth. A session remembers what it wrote, a small file in the sweep's
folder says which phases are wholly written (the watermark), and for every other phase MLflow itself is
asked which rows it has. So the process may be killed between any two requests, an answer may be lost, and
the watermark may be lost too: what is there already is not written again, and points keep the times at
which they were measured.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from procray.errors import EnvironmentProblem, ProcrayError
from procray.selection.standing import Standing
from procray.tracking import backend, overview
from procray.tracking.connect import open_session, read_back, save_watermark, turn
from procray.tracking.glance import glance
from procray.tracking.phase_run import write_phase
from procray.tracking.session import LATER, OutOfTime, Session, SyncResult
from procray.tracking.sweep_run import write_sweep

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.store import Store

Result = TypeVar("Result")
_YOUNG = 50_000  # objects, some 10 MB


def sync(plan: Plan, store: Store, tracking_uri: str | None = None, limit: float | None = None) -> SyncResult:
    """Writes to MLflow what it does not have yet of a sweep, finished or running.

    Args:
        tracking_uri: server or database; by default `MLFLOW_TRACKING_URI`, else the store's own SQLite file.
        limit: seconds after which to stop with what was done by then.

    Raises:
        EnvironmentProblem: MLflow cannot be reached or refuses the work. Nothing is lost.
        StoreError: the store's MLflow data lead out of the store.
    """
    uri = backend.tracking_uri(store.path, tracking_uri)
    try:
        session = open_session(plan, store, uri)
        return write(session, limit)
    except ProcrayError:
        raise
    except Exception as error:  # MLflow lets requests', SQLAlchemy's and its own errors through
        _raise_own(error)
        raise EnvironmentProblem(f"MLflow at {backend.redact(uri)}: {backend.explain(error)}. {LATER}") from error


def _raise_own(error: Exception) -> None:
    """Lets mistakes of this program through as they are."""
    if isinstance(error, TypeError | KeyError | AttributeError | NameError | AssertionError):
        raise error


def write(session: Session, limit: float | None = None) -> SyncResult:
    """One pass over the plan: writes what is new in the store since the last one."""
    session.end = None if limit is None else time.monotonic() + limit
    before, session.refused = session.refused, {}
    _read_results(session)
    try:
        with turn(session) as changed, _collected_seldom():
            if changed or session.stale:
                read_back(session)
            try:
                session.store.refresh(session.plan.phases, all=False)
                points = session.new_points
                _write_phases(session)
                wrote = session.new_points > points
                _attempt(session, "the sweep's own run", partial(write_sweep, session, wrote))
            finally:
                # What was refused may be gone, deleted by somebody: what is there is then asked for anew, once.
                session.stale = session.refused != before and bool(session.refused)
                save_watermark(session)
    except OutOfTime:
        return session.result(f"the {limit:g} s allowed for it are over")
    return session.result()


@contextlib.contextmanager
def _collected_seldom() -> Iterator[None]:
    """Lets what is made for many phases grow before Python looks for circles in it.

    Almost all of it stays for as long as the session, or goes by itself; at Python's own rate looking takes a fifth of
    the time.
    """
    before = gc.get_threshold()
    if before[0]:  # 0: whoever runs us has turned it off
        gc.set_threshold(max(before[0], _YOUNG), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _write_phases(session: Session) -> None:
    """Reads the phases that may have changed, and writes what is new of them."""
    plan, rest = session.plan, session.rest
    standing = Standing(plan, session.store)
    moved: set[str] = set()
    for phase, planned in plan.phases.items():  # parents before children
        session.check_time()
        now = glance(session.place(phase))
        if rest.holds(phase, now) and not any(parent.phase in moved for parent in planned.parents):
            continue
        before = session.states.get(phase), session.seen.get(phase)
        settled = _attempt(session, planned.label, partial(write_phase, session, standing, phase))
        rest.note(phase, now, bool(settled))
        if before != (session.states.get(phase), session.seen.get(phase)):
            moved.add(phase)


def _read_results(session: Session) -> None:
    """What the report found, where it was written since the last pass."""
    now = overview.date_of(session.plan_folder / overview.RESULTS)
    if session.reported != (now,):
        session.results = overview.results(session.plan_folder)
        session.rest.clear()
        session.reported = (now,)


def _attempt(session: Session, what: str, work: Callable[[], Result]) -> Result | None:
    """Runs `work`; what the server answers with a refusal concerns this run alone, all else ends the pass."""
    from mlflow.exceptions import MlflowException

    try:
        return work()
    except MlflowException as error:
        code = error.get_http_status_code()
        if not 400 <= code < 500 or code in (408, 429) or not error.error_code or "HTTPConnection" in str(error):
            raise
        session.refused[what] = backend.explain(error)
        session.known.clear()
        return None

"""Brings MLflow to what the store says: the one code path of the running follower and of `procray sync`.

MLflow is a copy; the store is the truth. A session remembers what it wrote, a small file in the sweep's
folder says which phases are wholly written (the watermark), and for every other phase MLflow itself is
asked which rows it has. So the process may be killed between any two requests, an answer may be lost, and
the watermark may be lost too: what is there already is not written again, and points keep the times at
which they were measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from procray.errors import EnvironmentProblem
from procray.tracking import backend, overview
from procray.tracking.connect import open_session, read_back, save_watermark, turn
from procray.tracking.phase_run import write_phase
from procray.tracking.session import LATER, OutOfTime, Session, SyncResult
from procray.tracking.sweep_run import write_sweep

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.store import Store


def sync(plan: Plan, store: Store, tracking_uri: str | None = None, limit: float | None = None) -> SyncResult:
    """Writes to MLflow what it does not have yet of a sweep, finished or running.

    Args:
        tracking_uri: server or database; by default `MLFLOW_TRACKING_URI`, else the store's own SQLite file.
        limit: seconds after which to stop with what was done by then.

    Raises:
        EnvironmentProblem: MLflow cannot be reached or refuses the work. Nothing is lost.
    """
    uri = backend.tracking_uri(store.path, tracking_uri)
    try:
        session = open_session(plan, store, uri)
        return write(session, limit)
    except EnvironmentProblem:
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
    session.refused = {}
    session.results = overview.results(session.plan_folder)
    try:
        with turn(session) as changed:
            if changed:
                read_back(session)
            try:
                session.store.refresh(session.plan.phases, all=False)
                for phase in session.plan.phases:  # parents before children
                    session.check_time()
                    _attempt(session, session.plan.phases[phase].label, partial(write_phase, session, phase))
                _attempt(session, "the sweep's own run", partial(write_sweep, session))
            finally:
                save_watermark(session)
    except OutOfTime:
        return session.result(f"the {limit:g} s allowed for it are over")
    return session.result()


def _attempt(session: Session, what: str, work: Callable[[], None]) -> None:
    """Runs `work`; what the server answers with a refusal concerns this run alone, all else ends the pass."""
    from mlflow.exceptions import MlflowException

    try:
        work()
    except MlflowException as error:
        code = error.get_http_status_code()
        if not 400 <= code < 500 or code in (408, 429) or not error.error_code or "HTTPConnection" in str(error):
            raise
        session.refused[what] = backend.explain(error)
        session.known.clear()

"""Opens a session: the experiment, the runs and models that it has, and the watermark of earlier passes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from procray.errors import EnvironmentProblem
from procray.files import digest, read_json, write_json
from procray.tracking import backend, lineage, views
from procray.tracking.session import PHASE, ROLE, SWEEP, Session

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.store import Store

WATERMARK = "tracking.json"
_FORMAT = 1  # raised when the same store should give other runs: every phase is then looked at again
_LOCK_SECONDS = 60.0
_PAGE = 1000


def open_session(plan: Plan, store: Store, uri: str) -> Session:
    """Connects, makes the experiment when there is none and learns which runs and models it has.

    Raises:
        EnvironmentProblem: the address is unusable, or the experiment was deleted in MLflow.
    """
    client = backend.connect(uri)
    session = Session(plan, store, uri, client, "", digest([_FORMAT, plan.to_json()], 16))
    with turn(session):
        session.experiment = _experiment(session)
        read_back(session)
    return session


@contextlib.contextmanager
def turn(session: Session) -> Iterator[bool]:
    """Holds the right to write to MLflow for this sweep; gives whether somebody else had it since the last time.

    The lock's file names the last to have it, so that this shows even when that one was killed.
    """
    lock = session.folder / "tracking.lock"
    with backend.file_lock(lock, _LOCK_SECONDS):
        changed = lock.read_text(encoding="utf-8") != session.token
        if changed:
            lock.write_text(session.token, encoding="utf-8")
        yield changed


def _experiment(session: Session) -> str:
    """The experiment's id, made when missing."""
    from mlflow.exceptions import MlflowException

    name = session.plan.title
    found = session.client.get_experiment_by_name(name)
    if found is None:
        # A server keeps artifacts where it was told to; for a database MLflow's default is the working folder.
        local = session.store.path / backend.ARTIFACTS / name.replace("/", "-")
        location = None if backend.is_server(session.uri) else local.as_uri()
        try:
            return session.client.create_experiment(name, artifact_location=location)
        except MlflowException:  # another store's sweep of this name was quicker
            found = session.client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise EnvironmentProblem(
            f"the MLflow experiment '{name}' was deleted: bring it back with "
            f"`mlflow experiments restore -x {found.experiment_id}`, or remove it for good with `mlflow gc`"
        )
    return found.experiment_id


def read_back(session: Session) -> None:
    """Finds the runs and models of earlier passes, and the watermark if it belongs to them."""
    for remembered in (session.runs, session.models, session.measured, session.known, session.seen, session.files):
        remembered.clear()
    rivals: dict[str, list[Any]] = {}
    for run in _pages(
        lambda token: session.client.search_runs([session.experiment], max_results=_PAGE, page_token=token)
    ):
        if PHASE in run.data.tags:
            rivals.setdefault(run.data.tags[PHASE], []).append(run)
    session.former = {
        phase: runs[0].info.run_id
        for phase, runs in rivals.items()
        if phase not in {*session.plan.phases, SWEEP} and runs[0].data.tags.get(ROLE) != "former"
    }
    for phase, runs in rivals.items():
        # Two, when the answer to "create" was lost and it was asked again: keep the one with points.
        runs.sort(key=lambda run: (-len(run.data.metrics), run.info.start_time, run.info.run_id))
        session.runs[phase] = runs[0].info.run_id
        for spare in runs[1:]:
            if not spare.data.metrics:
                session.client.delete_run(spare.info.run_id)
    for model in _pages(
        lambda token: session.client.search_logged_models([session.experiment], max_results=100, page_token=token)
    ):
        if lineage.MARK in model.tags:
            session.models.setdefault(model.tags[lineage.MARK], model)
            session.measured.update((model.model_id, m.run_id, m.key, m.value) for m in model.metrics or [])
    try:
        saved = read_json(session.folder / WATERMARK)
        if saved["uri"] == backend.redact(session.uri) and saved["plan"] == session.plan_digest:
            for phase, (run, seen) in saved["phases"].items():
                if session.runs.get(phase) == run:
                    session.seen[phase] = seen
            if session.runs.get(SWEEP) == saved["sweep"]:
                session.files = dict(saved["files"])
            session.extents = {phase: views.Extent(*ends) for phase, ends in saved["extents"].items()}
            session.saved = saved
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # lost or damaged: MLflow is asked instead


def _pages(ask: Callable[[str | None], Any]) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return


def save_watermark(session: Session) -> None:
    content = {
        "uri": backend.redact(session.uri),
        "experiment": session.experiment,
        "plan": session.plan_digest,
        "sweep": session.runs.get(SWEEP),
        "files": session.files,
        "extents": {phase: list(ends) for phase, ends in session.extents.items()},
        "phases": {phase: [session.runs[phase], seen] for phase, seen in session.seen.items() if phase in session.runs},
    }
    if content != session.saved:
        write_json(session.folder / WATERMARK, content)
        session.saved = content

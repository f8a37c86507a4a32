"""Opens a session: the experiment, the runs and models that it has, and the watermark of earlier passes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray import links
from procray.errors import EnvironmentProblem
from procray.files import read_bytes, read_json, write_json
from procray.planning.plan_text import plan_lines
from procray.tracking import backend, lineage, locations, owner, views
from procray.tracking.session import PHASE, ROLE, SWEEP, Session

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.store import Store

WATERMARK = "tracking.json"
_FORMAT = 2  # raised when the same store should give other runs: every phase is then looked at again
_LOCK_SECONDS = 60.0
_PAGE = 1000
_MODELS_BY = [{"field_name": "creation_timestamp", "ascending": True}]


def open_session(plan: Plan, store: Store, uri: str) -> Session:
    """Connects, makes the experiment when there is none and learns which runs and models it has.

    Raises:
        EnvironmentProblem: the address is unusable, or the experiment was deleted in MLflow.
        StoreError: the store's own database leads out of the store.
    """
    if locations.is_own(store, uri):
        locations.check(store)
    client = backend.connect(uri)
    session = Session(plan, store, uri, client, "", _digest_of(plan), owner.store_id(store))
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
        changed = _text(lock) != session.token
        if changed:
            with open(lock, "w", encoding="utf-8", opener=links.open_file) as file:
                file.write(session.token)
        yield changed


def _text(lock: Path) -> str:
    """What the last one to have the lock has written; empty for what none of us writes."""
    try:
        return read_bytes(lock, 1 << 10).decode("utf-8", "replace")
    except ValueError:
        return ""


def _digest_of(plan: Plan) -> str:
    """Of everything that a plan says: what it trains and how it is told."""
    found = hashlib.sha256(f"{_FORMAT}".encode())
    for part in plan_lines(plan):
        found.update(part)
    return found.hexdigest()[:16]


def _experiment(session: Session) -> str:
    """The experiment's id, made when missing; one that another store's sweep of this name has is left to it."""
    from mlflow.exceptions import MlflowException

    client, title, own = session.client, session.plan.title, session.owner
    for last in (False, False, True):
        found = owner.experiment(client, title, own)
        if found is None:
            first, apart = owner.names(title, own)
            name = first if client.get_experiment_by_name(first) is None else apart
            # A server keeps artifacts where it was told to; for a database MLflow's default is the working folder.
            local = session.store.path / backend.ARTIFACTS / name.replace("/", "-")
            location = None if backend.is_server(session.uri) else local.as_uri()
            try:
                made = client.create_experiment(name, artifact_location=location, tags={owner.STORE: own})
            except MlflowException:  # somebody was quicker: another process of this store, or another store
                if last:
                    raise
                continue
            if name == apart:
                session.repaired.append(f"'{first}' is the experiment of another store, so that of this is '{apart}'")
            return made
        if found.lifecycle_stage != "active":
            raise EnvironmentProblem(
                f"the MLflow experiment '{found.name}' was deleted: bring it back with "
                f"`mlflow experiments restore -x {found.experiment_id}`, or remove it for good with `mlflow gc`"
            )
        if owner.STORE not in found.tags:
            client.set_experiment_tag(found.experiment_id, owner.STORE, own)
            if client.get_experiment(found.experiment_id).tags.get(owner.STORE) != own:
                continue  # another store asked at the same time
        return found.experiment_id
    raise EnvironmentProblem(f"another store makes the MLflow experiment '{title}' its own at this moment")


def read_back(session: Session) -> None:
    """Finds the runs and models of earlier passes, and the watermark if it belongs to them."""
    for remembered in (session.runs, session.models, session.measured, session.known, session.seen, session.files):
        remembered.clear()
    session.former.clear()
    session.rest.clear()
    session.page = None
    saved = _saved(session)
    rivals: dict[str, list[Any]] = {}
    for run in _all(
        lambda token: session.client.search_runs(
            [session.experiment], max_results=_PAGE, order_by=["attributes.start_time ASC"], page_token=token
        ),
        lambda run: run.info.run_id,
    ):
        tags = run.data.tags
        if PHASE not in tags:
            continue
        ours = tags.get(owner.STORE, session.owner) == session.owner
        if ours and (tags[PHASE] in session.plan.phases or tags[PHASE] == SWEEP):
            rivals.setdefault(tags[PHASE], []).append(run)
        elif tags.get(ROLE) != "former":
            session.former.append(run.info.run_id)
    for phase, runs in rivals.items():
        session.runs[phase] = _only(session, phase, runs, saved)
    for model in _all(
        lambda token: session.client.search_logged_models(
            [session.experiment], max_results=100, order_by=_MODELS_BY, page_token=token
        ),
        lambda model: model.model_id,
    ):
        if lineage.MARK in model.tags:
            session.models.setdefault(model.tags[lineage.MARK], model)
            session.measured.update((model.model_id, m.run_id, m.key, m.value) for m in model.metrics or [])
    _recall(session, saved)


def _only(session: Session, phase: str, runs: list[Any], saved: dict[str, Any]) -> str:
    """The run to keep of those that a phase has: the one with points, that we remember. The others are deleted.

    There are several when the answer to "create" was lost and it was asked again, and when somebody brings back what
    was deleted: restoring an experiment restores every run in it.
    """
    remembered = saved.get("sweep") if phase == SWEEP else saved.get("phases", {}).get(phase, [None])[0]

    def rank(run: Any) -> tuple[Any, ...]:
        return -len(run.data.metrics), run.info.run_id != remembered, run.info.start_time, run.info.run_id

    kept, *spares = (run.info.run_id for run in sorted(runs, key=rank))
    deleted = 0
    for spare in spares:
        # A search may be out of date by now. What is deleted is so by what stands there at this moment.
        now = [session.client.get_run(run) for run in (kept, spare)]
        if all(run.info.lifecycle_stage == "active" and run.data.tags.get(PHASE) == phase for run in now):
            session.client.delete_run(spare)
            deleted += bool(now[1].data.metrics)
    if deleted:
        label = session.plan.phases[phase].label if phase in session.plan.phases else f"the {SWEEP}"
        session.repaired.append(f"{label} had {deleted + 1} active runs: kept {kept}, deleted the rest")
    return kept


def _saved(session: Session) -> dict[str, Any]:
    """The watermark, if it was written for this place in MLflow; empty else."""
    try:
        saved = read_json(session.folder / WATERMARK)
        if saved["uri"] == backend.redact(session.uri) and saved["experiment"] == session.experiment:
            return dict(saved)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # lost or damaged: MLflow is asked instead
    return {}


def _recall(session: Session, saved: dict[str, Any]) -> None:
    """What is wholly written by the watermark, of the runs that are still there."""
    if saved.get("plan") != session.plan_digest:
        return
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        for phase, (run, seen) in saved["phases"].items():
            if session.runs.get(phase) == run:
                session.seen[phase] = seen
        if session.runs.get(SWEEP) == saved["sweep"]:
            session.files = dict(saved["files"])
        session.extents = {phase: views.Extent(*ends) for phase, ends in saved["extents"].items()}
        session.saved = saved


def _all(ask: Callable[[str | None], Any], name: Callable[[Any], str]) -> Iterator[Any]:
    """What a search finds, each once.

    Its pages are offsets: what comes meanwhile is met twice, and what goes hides another. So where there are several
    pages, they are read until nothing new is found.
    """
    found: dict[str, Any] = {}
    pages, before = 2, -1
    while pages > 1 and len(found) > before:
        token: str | None = None
        pages, before = 0, len(found)
        while pages == 0 or token:
            page = ask(token)
            found.update((name(one), one) for one in page)
            pages, token = pages + 1, page.token
    yield from found.values()


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

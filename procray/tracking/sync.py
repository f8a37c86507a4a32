"""Brings MLflow to what the store says: the one code path of the running follower and of `procray sync`.

MLflow is a copy; the store is the truth. A session remembers what it wrote, a small file in the sweep's
folder says which phases are wholly written (the watermark), and for every other phase MLflow itself is
asked which rows it has. So the process may be killed between any two requests, an answer may be lost, and
the watermark may be lost too: what is there already is not written again, and points keep the times at
which they were measured.
"""

from __future__ import annotations

import contextlib
import getpass
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.errors import EnvironmentProblem
from procray.files import digest, read_json, write_json
from procray.tracking import backend, facts, lineage, overview, views
from procray.tracking.facts import Point

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

    from procray.planning.plan import Plan
    from procray.store.phase import PhaseFolder
    from procray.store.store import Store

PHASE = "procray.phase"  # tag of a run: the phase's id, or SWEEP
SWEEP = "sweep"
ROLE = "procray.role"
WATERMARK = "tracking.json"
LATER = "Training and results are not affected; run `procray sync FILE` later."
_FORMAT = 1  # raised when the same store should give other runs: every phase is then looked at again
_BATCH = 900  # metrics in one request; MLflow takes 1000
_LOCK_SECONDS = 60.0
_PAGE = 1000


@dataclass(frozen=True)
class SyncResult:
    """What one `sync` did. `complete` is false when time ran out or MLflow refused something."""

    uri: str  # without credentials
    experiment: str  # MLflow's id of it
    runs: int = 0  # new ones
    points: int = 0
    models: int = 0
    complete: bool = True
    problem: str = ""

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """One line for the user."""
        if self.problem:
            return f"MLflow at {self.uri} is not complete: {self.problem}. {LATER}"
        return f"MLflow at {self.uri} is up to date ({self.points} points, {self.runs} runs, {self.models} models new)"


class OutOfTime(Exception):
    """The time given to a sync is over; what is left stands in the journals."""


@dataclass
class Known:
    """What MLflow holds of one run."""

    id: str
    status: str = "RUNNING"
    name: str = ""
    steps: set[int] = field(default_factory=set)  # rows, by their tokens
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    datasets: set[tuple[str, str]] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)  # models that went in
    results: set[str] = field(default_factory=set)  # models that came out


@dataclass
class Session:
    """A connection with what has been learnt over it. Dropped after any error and opened afresh."""

    plan: Plan
    store: Store
    uri: str
    client: MlflowClient
    experiment: str
    plan_digest: str
    runs: dict[str, str] = field(default_factory=dict)  # phase (or SWEEP) -> run
    former: dict[str, str] = field(default_factory=dict)  # runs of phases that the sweep's file no longer asks for
    models: dict[str, LoggedModel] = field(default_factory=dict)  # "<phase>/<step>" -> model
    measured: set[tuple[str, str, str, float]] = field(
        default_factory=set
    )  # (model, run, metric, value) that a model's page shows
    known: dict[str, Known] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)  # phase -> digest of what was wholly written
    files: dict[str, str] = field(default_factory=dict)  # artifacts of the sweep's run -> digest
    saved: dict[str, Any] = field(default_factory=dict)
    results: dict[str, dict[str, float]] = field(default_factory=dict)  # what the report found, by phase
    new_runs: int = 0
    new_points: int = 0
    new_models: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    extents: dict[str, views.Extent] = field(default_factory=dict)
    end: float | None = None  # time.monotonic() at which to stop
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def folder(self) -> Path:
        return self.store.sweep_folder(self.plan.name, self.plan.scale)

    def check_time(self) -> None:
        if self.end is not None and time.monotonic() > self.end:
            raise OutOfTime

    def result(self, problem: str = "") -> SyncResult:
        problem = problem or "; ".join(f"{name}: {reason}" for name, reason in self.refused.items())
        uri = backend.redact(self.uri)
        return SyncResult(uri, self.experiment, self.new_runs, self.new_points, self.new_models, not problem, problem)


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


def open_session(plan: Plan, store: Store, uri: str) -> Session:
    """Connects, makes the experiment when there is none and learns which runs and models it has.

    Raises:
        EnvironmentProblem: the address is unusable, or the experiment was deleted in MLflow.
    """
    client = backend.connect(uri)
    session = Session(plan, store, uri, client, "", digest([_FORMAT, plan.to_json()], 16))
    with _turn(session):
        session.experiment = _experiment(session)
        _read_back(session)
    return session


@contextlib.contextmanager
def _turn(session: Session) -> Iterator[bool]:
    """Holds the right to write to MLflow for this sweep; gives whether somebody else had it since the last time.

    The lock's file names the last to have it, so that this shows even when that one was killed.
    """
    lock = session.folder / "tracking.lock"
    with backend.file_lock(lock, _LOCK_SECONDS):
        changed = lock.read_text(encoding="utf-8") != session.token
        if changed:
            lock.write_text(session.token, encoding="utf-8")
        yield changed


def write(session: Session, limit: float | None = None) -> SyncResult:
    """One pass over the plan: writes what is new in the store since the last one."""
    session.end = None if limit is None else time.monotonic() + limit
    session.refused = {}
    session.results = overview.results(session.folder)
    try:
        with _turn(session) as changed:
            if changed:
                _read_back(session)
            try:
                session.store.refresh(session.plan.phases, all=False)
                for phase in session.plan.phases:  # parents before children
                    session.check_time()
                    _attempt(session, session.plan.phases[phase].label, partial(_write_phase, session, phase))
                _attempt(session, "the sweep's own run", partial(_write_sweep, session))
            finally:
                _save_watermark(session)
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


# -- the experiment and what it holds --------------------------------------------------------------------


def _experiment(session: Session) -> str:
    """The experiment's id, made when missing."""
    from mlflow.exceptions import MlflowException

    name = overview.experiment_name(session.plan)
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


def _read_back(session: Session) -> None:
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


def _save_watermark(session: Session) -> None:
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


# -- one phase -------------------------------------------------------------------------------------------


def _write_phase(session: Session, phase: str) -> None:
    """Brings the run of a phase up to what its folder holds."""
    plan, folder = session.plan, session.store.phase(phase)
    planned = plan.phases[phase]
    steps = [step for step in planned.marks if folder.exists_mark(step)]
    status = folder.status()
    found = session.results.get(phase, {})
    look = digest([session.plan_digest, _journal_sizes(folder), status, steps, found], 16)
    if session.seen.get(phase) == look:
        return
    rows = facts.wanted_rows(planned, folder.curve())
    state = facts.state(planned, status["state"], rows)
    if phase not in session.runs and not rows and state not in ("running", "failed"):
        return  # nothing has happened yet

    ends = views.extent(rows) if facts.role(plan, phase) == "compared" else None
    if ends:
        session.extents[phase] = ends
    run = _run(session, phase, planned.label, facts.milliseconds(rows[0]) if rows else int(time.time() * 1000))
    sources = _sources(session, phase)
    judged_on = _write_inputs(session, run, phase, (folder.description() or {}).get("data_digest"), sources)
    kept = _write_marks(session, run, phase, folder, steps)

    names, before = facts.curve_names(plan, phase), facts.tokens_before(plan, phase)
    groups = [
        facts.points(names, row, before, kept.get(row["step"])) for row in rows if int(row["tokens"]) not in run.steps
    ]
    numbers = facts.opening(plan, phase, rows)
    if state == "done":
        numbers += facts.closing(plan, phase, rows, found)
    groups += _news(session, run, numbers, sources) + _late(session, run, names["loss"], rows, kept)
    reason = str(status.get("reason") or "") if state == "failed" else ""
    _send(session, run, facts.parameters(plan, phase), _tags(session, phase, state, reason), groups, judged_on)
    _write_transfer(session, run, folder, steps)
    _set_status(session, run, facts.run_status(state), facts.milliseconds(rows[-1]) if rows else None)
    if len(sources) == len(planned.recipe.init.parents()):
        session.seen[phase] = look


def _tags(session: Session, phase: str, state: str, reason: str) -> dict[str, str]:
    """What may change while the sweep runs or its file grows."""
    plan = session.plan
    model_ids = {mark: model.model_id for mark, model in session.models.items()}
    tags = {
        **_common_tags(session),
        PHASE: phase,
        "procray.kind": plan.phases[phase].kind,
        ROLE: facts.role(plan, phase),
        "variant": plan.phases[phase].variant,
        "procray.state": state,
        "mlflow.runName": plan.phases[phase].label,
        "mlflow.note.content": lineage.note(plan, phase, session.experiment, session.runs, model_ids, reason),
    }
    colour = facts.colour(plan, phase)
    return {**tags, "mlflow.runColor": colour} if colour else tags


def _journal_sizes(folder: PhaseFolder) -> list[list[Any]]:
    """Changes whenever an evaluation is added."""
    return sorted([file.name, file.stat().st_size] for file in folder.journals())


def _common_tags(session: Session) -> dict[str, str]:
    name = overview.experiment_name(session.plan)
    tags = {"procray.sweep": name, "mlflow.source.name": f"procray sweep {name}", "mlflow.source.type": "LOCAL"}
    try:
        return {**tags, "mlflow.user": getpass.getuser()}
    except (KeyError, OSError):  # a container without a user name
        return tags


def _run(session: Session, phase: str, name: str, start: int) -> Known:
    """What MLflow holds of the run of `phase`; the run is made when there is none."""
    if phase in session.known:
        return session.known[phase]
    if phase not in session.runs:
        # The tag comes with the run in one request, so a kill right after it leaves a run that is found again.
        tags = {**_common_tags(session), PHASE: phase}
        made = session.client.create_run(session.experiment, start_time=start, run_name=name, tags=tags)
        session.runs[phase] = made.info.run_id
        session.new_runs += 1
        known = Known(made.info.run_id, name=name, tags=tags)
    else:
        found = session.client.get_run(session.runs[phase])
        history = session.client.get_metric_history(found.info.run_id, facts.TOTAL)
        inputs, outputs = found.inputs, found.outputs
        known = Known(
            found.info.run_id,
            found.info.status,
            found.info.run_name,
            {point.step for point in history},
            dict(found.data.params),
            dict(found.data.tags),
            dict(found.data.metrics),
            {(item.dataset.name, item.dataset.digest) for item in (inputs.dataset_inputs if inputs else [])},
            {item.model_id for item in (inputs.model_inputs or [] if inputs else [])},
            {item.model_id for item in (outputs.model_outputs or [] if outputs else [])},
        )
    session.known[phase] = known
    return known


def _send(
    session: Session,
    run: Known,
    params: dict[str, str],
    tags: dict[str, str],
    groups: list[list[Point]],
    judged_on: tuple[str, str] | None = None,
) -> None:
    """Writes parameters, tags and groups of points. A group goes in one request: MLflow has all of it or nothing."""
    from mlflow.entities import Metric, Param, RunTag

    new_params = [Param(name, value) for name, value in params.items() if name not in run.params]
    new_tags = [RunTag(name, value) for name, value in tags.items() if run.tags.get(name) != value]
    while new_params or new_tags or groups:
        session.check_time()
        batch: list[Point] = []
        places: set[tuple[str, int, int]] = set()
        taken = 0
        while taken < len(groups) and len(batch) + len(groups[taken]) <= _BATCH:
            here = {(point.name, point.time, point.step) for point in groups[taken]}
            if places & here:
                break  # the same point for another model's page
            batch += groups[taken]
            places |= here
            taken += 1
        metrics = [
            Metric(point.name, point.value, point.time, point.step, point.model, *(judged_on or ()))
            if point.model
            else Metric(point.name, point.value, point.time, point.step)
            for point in batch
        ]
        session.client.log_batch(run.id, metrics=metrics, params=new_params, tags=new_tags)
        run.params.update({param.key: param.value for param in new_params})
        run.tags.update({tag.key: tag.value for tag in new_tags})
        run.steps.update(point.step for point in batch if point.name == facts.TOTAL)
        run.metrics.update({point.name: point.value for point in batch if point.step == 0})
        session.measured.update((point.model, run.id, point.name, point.value) for point in batch if point.model)
        session.new_points += len(batch)
        groups, new_params, new_tags = groups[taken:], [], []


def _sources(session: Session, phase: str) -> list[str]:
    """The models that a phase starts from, as far as MLflow has them by now."""
    plan, marks = session.plan, []
    for parent in plan.phases[phase].recipe.init.parents():
        marks.append(f"{parent.phase}/{parent.step}")
        folder = session.store.phase(parent.phase)
        if parent.phase in plan.outside and marks[-1] not in session.models and folder.exists_mark(0):
            outside = plan.outside[parent.phase]
            session.models[marks[-1]] = lineage.write_outside(session.client, session.experiment, outside, folder)
            session.new_models += 1
    return [session.models[mark].model_id for mark in marks if mark in session.models]


def _write_inputs(
    session: Session, run: Known, phase: str, data_digest: str | None, sources: list[str]
) -> tuple[str, str] | None:
    """The data and the checkpoints that went in. Gives name and digest of the held-out data, once they are known."""
    from mlflow.entities import LoggedModelInput

    # Before a corpus is prepared only the digest of its recipe is known: wait for the lasting one.
    lasting = data_digest or "task" in session.plan.phases[phase].recipe.data
    inputs = lineage.datasets(session.plan, phase, data_digest) if lasting else []
    names = [(item.dataset.name, item.dataset.digest) for item in inputs]
    new = [item for item, name in zip(inputs, names, strict=True) if name not in run.datasets]
    models = [model for model in sources if model not in run.sources]
    if new or models:
        session.client.log_inputs(run.id, datasets=new, models=[LoggedModelInput(model) for model in models])
        run.datasets.update(names)
        run.sources.update(models)
    return names[-1] if names else None


def _write_marks(session: Session, run: Known, phase: str, folder: PhaseFolder, steps: list[int]) -> dict[int, str]:
    """The checkpoints as models and as what the run gave out: `{step: model}`."""
    from mlflow.entities import LoggedModelOutput

    kept: dict[int, str] = {}
    for step in steps:
        session.check_time()
        key = f"{phase}/{step}"
        known = session.models.get(key)
        model = lineage.write_model(
            session.client, session.experiment, run.id, session.plan, phase, folder, step, known
        )
        session.models[key] = model
        session.new_models += known is None
        kept[step] = model.model_id
    nominal = session.plan.phases[phase].nominal
    new = [LoggedModelOutput(model, nominal[step]) for step, model in kept.items() if model not in run.results]
    if new:
        session.client.log_outputs(run.id, new)
        run.results.update(output.model_id for output in new)
    return kept


def _late(
    session: Session, run: Known, name: str, rows: list[dict[str, Any]], kept: dict[int, str]
) -> list[list[Point]]:
    """The losses of checkpoints that came after their rows had been written.

    Each is the same point as in the curve, so the curve gains nothing and the model's page gains its loss.
    """
    found = []
    for row in rows:
        if row["step"] in kept and int(row["tokens"]) in run.steps and facts.finite(row.get("loss")):
            model = kept[row["step"]]
            if (model, run.id, name, float(row["loss"])) not in session.measured:
                found.append([Point(name, float(row["loss"]), facts.milliseconds(row), int(row["tokens"]), model)])
    return found


def _news(session: Session, run: Known, numbers: list[Point], sources: list[str]) -> list[list[Point]]:
    """What MLflow lacks of the numbers of the whole run, each also for the checkpoints that the run started from.

    One group for each checkpoint: two of them in one request would be one point written twice.
    """
    groups: list[list[Point]] = []
    for point in numbers:
        before = run.metrics.get(point.name)
        # The latest counts: a number that changed since (a larger budget) is told with the time of now.
        changed = before is not None and before != point.value
        moment = int(time.time() * 1000) if changed else point.time
        for place, model in enumerate(sources or [None]):
            shown = (
                before == point.value if model is None else (model, run.id, point.name, point.value) in session.measured
            )
            if not shown:
                groups += [[] for _ in range(place + 1 - len(groups))]
                groups[place].append(point._replace(time=moment, model=model))
    return [group for group in groups if group]


def _write_transfer(session: Session, run: Known, folder: PhaseFolder, steps: list[int]) -> None:
    """What was copied and what drawn anew, as an artifact; a tag says that it is there."""
    if "procray.transfer" in run.tags:
        return
    file = lineage.transfer_manifest(folder, steps)
    if file is not None:
        session.client.log_artifact(run.id, str(file))
        session.client.set_tag(run.id, "procray.transfer", file.name)
        run.tags["procray.transfer"] = file.name


def _set_status(session: Session, run: Known, status: str, end: int | None) -> None:
    if run.status == status:
        return
    if status in ("FINISHED", "FAILED", "KILLED"):
        session.client.set_terminated(run.id, status, end)
    else:
        session.client.update_run(run.id, status)
    run.status = status


# -- the sweep's own run ---------------------------------------------------------------------------------


def _write_sweep(session: Session) -> None:
    """The run of the sweep with its file, plan and report, the page's text and the saved views."""
    while session.former:  # kept, but no longer among what the views show
        phase, former = session.former.popitem()
        session.client.set_tag(former, ROLE, "former")
        session.known.pop(phase, None)
    plan = session.plan
    found = overview.states(plan, session.store)
    state = overview.overall(found)
    name = overview.experiment_name(plan)
    run = _run(session, SWEEP, f"sweep {name}", int(time.time() * 1000))
    tags = {
        **_common_tags(session),
        PHASE: SWEEP,
        "procray.kind": SWEEP,
        ROLE: SWEEP,
        "procray.state": state,
        "mlflow.note.content": overview.sweep_note(plan, found, session.experiment, session.runs),
    }
    _send(session, run, overview.sweep_parameters(plan), tags, [])
    for path, content in overview.artifacts(plan, session.folder):
        stat = None if isinstance(content, str) else content.stat()
        print_of_file = digest([stat.st_size, stat.st_mtime_ns] if stat else content, 16)
        if session.files.get(path) == print_of_file:
            continue
        session.check_time()
        if isinstance(content, str):
            session.client.log_text(run.id, content, path)
        else:
            session.client.log_artifact(run.id, str(content), str(Path(path).parent))
        session.files[path] = print_of_file
    _write_page(session)
    _set_status(session, run, facts.run_status(state), int(time.time() * 1000))


def _write_page(session: Session) -> None:
    """The experiment's text and saved views, where they changed."""
    plan_file = session.folder / "plan.json"
    created = int(plan_file.stat().st_mtime * 1000) if plan_file.exists() else 0
    wanted = overview.experiment_tags(session.plan, session.extents, created)
    now = digest(wanted, 16)
    if session.files.get("(page)") == now:
        return
    for name, value in wanted.items():
        session.client.set_experiment_tag(session.experiment, name, value)
    session.files["(page)"] = now

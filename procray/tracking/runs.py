"""One run in MLflow: found or made, and what is written to it."""

from __future__ import annotations

import getpass
from functools import cache

from procray.files import digest
from procray.tracking import facts
from procray.tracking.facts import Point
from procray.tracking.owner import STORE
from procray.tracking.session import PHASE, Known, Session

CURVES = "procray.curves"  # tag of a run: under which names its curves are written
_BATCH = 900  # metrics in one request; MLflow takes 1000


def run_of(session: Session, phase: str, name: str, start: int, **more: str) -> Known:
    """What MLflow holds of the run of `phase`; the run is made when there is none, with `more` among its tags."""
    if phase in session.known:
        return session.known[phase]
    if phase not in session.runs:
        # The tag comes with the run in one request, so a kill right after it leaves a run that is found again.
        tags = {**common_tags(session), PHASE: phase, **more}
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
            found.info.end_time,
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


def common_tags(session: Session) -> dict[str, str]:
    name = session.plan.title
    tags = {
        "procray.sweep": name,
        STORE: session.owner,
        "mlflow.source.name": f"procray sweep {name}",
        "mlflow.source.type": "LOCAL",
    }
    user = _user()
    return {**tags, "mlflow.user": user} if user else tags


@cache
def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user name
        return ""


def send(
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
            if not places.isdisjoint(here):
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


def names_of(curves: dict[str, str]) -> dict[str, str]:
    """The tag that says under which names a run's curves are written."""
    return {CURVES: digest(sorted(curves.values()), 8)}


def renamed(session: Session, run: Known, curves: dict[str, str], named: dict[str, str]) -> dict[str, set[int]]:
    """Where the names of a run's curves have changed since they were written: `{name: steps that MLflow has}`.

    A second target in the sweep's file changes them (`accuracy/val` becomes `a/accuracy/val`).

    Args:
        named: `names_of(curves)`.
    """
    if not run.steps or run.tags.get(CURVES) == named[CURVES]:
        return {}
    return {
        name: {point.step for point in session.client.get_metric_history(run.id, name)}
        if name in run.metrics
        else set()
        for name in curves.values()
    }


def latest(session: Session, run: Known, name: str) -> int:
    """The latest time of a metric's points, in milliseconds since 1970; 0 without any."""
    return max((point.timestamp for point in session.client.get_metric_history(run.id, name)), default=0)


def set_status(session: Session, run: Known, status: str, end: int | None) -> None:
    """Ends or reopens a run where MLflow says otherwise.

    Args:
        end: milliseconds since 1970; None leaves what stands there, or stands for now where the run ends just now.
    """
    ends = status in ("FINISHED", "FAILED", "KILLED")
    if run.status == status and (not ends or end is None or end == run.end):
        return
    if ends:
        session.client.set_terminated(run.id, status, end)
        run.end = end
    else:
        session.client.update_run(run.id, status)
    run.status = status

"""What MLflow holds of a sweep, in a form to compare with what it should hold."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from procray.planning.plan import Plan
from procray.tracking import backend, facts
from procray.tracking.index import Index
from tests.tracking import synthetic


def client(store: Any) -> Any:
    return backend.connect(backend.tracking_uri(store.path))


def experiment(mlflow: Any, plan: Plan) -> str:
    return mlflow.get_experiment_by_name(f"{plan.name}@{plan.scale}").experiment_id


def runs(mlflow: Any, plan: Plan) -> dict[str, Any]:
    """Every run of the sweep by its phase; fails when a phase has two."""
    found: dict[str, Any] = {}
    for run in mlflow.search_runs([experiment(mlflow, plan)], max_results=1000):
        phase = run.data.tags["procray.phase"]
        assert phase not in found, f"two runs of {phase}"
        found[phase] = run
    return found


def assert_complete(mlflow: Any, plan: Plan) -> None:
    """Every row of every phase stands in MLflow exactly once, and every mark is one model."""
    found = runs(mlflow, plan)
    assert set(found) == {*plan.phases, "sweep"}
    for phase, planned in plan.phases.items():
        history = mlflow.get_metric_history(found[phase].info.run_id, facts.metric(Index(plan), phase, "loss/val"))
        assert len(history) == len({point.step for point in history}), f"double points in {planned.label}"
        assert {point.step: point.value for point in history} == synthetic.expected_rows(plan, phase)
        assert found[phase].info.status == "FINISHED"
        outputs = mlflow.get_run(found[phase].info.run_id).outputs.model_outputs
        assert sorted(output.step for output in outputs) == sorted(planned.nominal.values())
    models = mlflow.search_logged_models([experiment(mlflow, plan)], max_results=100)
    marks = [model.tags["procray.mark"] for model in models]
    assert sorted(marks) == sorted(f"{p.id}/{step}" for p in plan.phases.values() for step in p.marks)
    assert all(str(model.status) == "READY" for model in models)


def points(file: Path) -> int:
    """All points in an MLflow database, counted behind MLflow's back."""
    with sqlite3.connect(file) as database:
        number: int = database.execute("select count(*) from metrics").fetchone()[0]
    return number


def double_points(file: Path) -> list[Any]:
    """Places (run, metric, step) where a curve has more than one point."""
    query = "select run_uuid, key, step, count(*) from metrics group by run_uuid, key, step having count(*) > 1"
    with sqlite3.connect(file) as database:
        return database.execute(query).fetchall()

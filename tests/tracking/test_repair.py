"""What people, clocks and other processes do in MLflow, and what a sync makes of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from procray.planning.plan import Plan
from procray.store.store import Store
from procray.tracking import backend, connect, facts, sync
from procray.tracking.index import Index
from tests.tracking import mirror, synthetic


def finished(store: Store, *targets: str) -> Plan:
    plan = synthetic.build(seeds=(0,), targets=targets or ("code",))
    synthetic.finish_all(store, plan)
    return plan


def test_one_run_a_phase_after_an_experiment_was_restored(store: Store) -> None:
    """Restoring an experiment brings back every run in it, deleted before or not."""
    plan = finished(store)
    sync(plan, store)
    mlflow = mirror.client(store)
    before = mirror.runs(mlflow, plan)
    phase = plan.cells[0].compared
    mlflow.delete_run(before[phase].info.run_id)
    sync(plan, store)  # makes another one
    kept = mirror.runs(mlflow, plan)[phase].info.run_id
    experiment = mirror.experiment(mlflow, plan)
    mlflow.delete_experiment(experiment)
    mlflow.restore_experiment(experiment)
    result = sync(plan, store)
    mirror.assert_complete(mlflow, plan)
    assert mirror.runs(mlflow, plan)[phase].info.run_id == kept
    assert mlflow.get_run(before[phase].info.run_id).info.lifecycle_stage == "deleted"
    assert f"{plan.phases[phase].label} had 2 active runs: kept {kept}" in result.message
    assert sync(plan, store).repaired == ""


def test_a_run_made_between_two_pages_costs_no_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are offsets: a new run moves those behind it, so that the last of a page is the first of the next."""
    plan = finished(store)
    sync(plan, store)
    mlflow = mirror.client(store)
    before = {phase: run.info.run_id for phase, run in mirror.runs(mlflow, plan).items()}
    experiment = mirror.experiment(mlflow, plan)
    real, deleted = type(mlflow).search_runs, []
    monkeypatch.setattr(connect, "_PAGE", 2)

    def search(self: Any, *given: Any, **named: Any) -> Any:
        page = real(self, *given, **named)
        if page.token and len(made) < 3:
            made.append(self.create_run(experiment, start_time=1))  # the oldest: it comes first
        return page

    made: list[Any] = []
    monkeypatch.setattr(type(mlflow), "search_runs", search)
    monkeypatch.setattr(type(mlflow), "delete_run", lambda self, run: deleted.append(run))
    store.title_folder(plan.title).joinpath(connect.WATERMARK).unlink()
    assert sync(plan, store).runs == 0
    monkeypatch.undo()
    assert len(made) == 3
    assert deleted == []
    for run in made:
        mlflow.delete_run(run.info.run_id)
    assert {phase: run.info.run_id for phase, run in mirror.runs(mlflow, plan).items()} == before


def test_a_run_deleted_between_two_pages_hides_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = finished(store)
    sync(plan, store)
    mlflow = mirror.client(store)
    experiment = mirror.experiment(mlflow, plan)
    strange = [mlflow.create_run(experiment, start_time=1).info.run_id]  # comes first
    before = len(mlflow.search_runs([experiment]))
    real = type(mlflow).search_runs
    monkeypatch.setattr(connect, "_PAGE", 2)

    def search(self: Any, *given: Any, **named: Any) -> Any:
        page = real(self, *given, **named)
        if strange:
            self.delete_run(strange.pop())
        return page

    monkeypatch.setattr(type(mlflow), "search_runs", search)
    assert sync(plan, store).runs == 0
    monkeypatch.undo()
    assert len(mlflow.search_runs([experiment])) == before - 1


def ahead(store: Store, phase: str, seconds: float) -> None:
    """As if the machine that has written a phase's evaluations had a clock that is ahead by so much."""
    for file in store.phase(phase).journals():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for number, row in enumerate(rows):
            row["time"] = time.time() + seconds + number
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_clock_that_is_ahead_does_not_hide_later_values(store: Store) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    warm = next(iter(plan.phases.values()))
    warm.marks, warm.nominal = [50], {50: 50_000}
    store.write_plan(plan)
    synthetic.write_rows(store, plan, warm.id, 100)
    ahead(store, warm.id, 3600.0)
    synthetic.write_mark(store, plan, warm.id, 50)
    sync(plan, store)
    mlflow = mirror.client(store)
    first = mirror.runs(mlflow, plan)[warm.id]
    assert first.data.metrics["procedural/final_loss"] == synthetic.row(plan, warm.id, 50)["loss"]
    warm.marks, warm.nominal = [50, 100], {50: 50_000, 100: 100_000}
    synthetic.write_mark(store, plan, warm.id, 100)
    sync(plan, store)
    run = mirror.runs(mlflow, plan)[warm.id]
    assert run.data.metrics["procedural/final_loss"] == synthetic.row(plan, warm.id, 100)["loss"]
    # It went further while nobody looked, from finished to finished: the end is the later one.
    assert run.info.end_time > first.info.end_time
    assert run.info.end_time == int(store.phase(warm.id).curve()[-1]["time"] * 1000)
    assert sync(plan, store).points == 0


def test_curves_come_under_the_names_that_a_second_target_gives(store: Store) -> None:
    one = finished(store, "haystack")
    sync(one, store)
    mlflow = mirror.client(store)
    baseline = one.cells[0].compared
    run = mirror.runs(mlflow, one)[baseline]
    assert "accuracy/val" in run.data.metrics
    two = finished(store, "haystack", "code")
    assert baseline in two.phases
    # A sync that was killed has left some of it.
    row = next(row for row in store.phase(baseline).curve() if row["step"] == 50)
    mlflow.log_metric(
        run.info.run_id, "haystack/accuracy/val", row["accuracy"], timestamp=facts.milliseconds(row), step=row["tokens"]
    )
    assert sync(two, store).complete
    for name, entry in (("accuracy/val", "accuracy"), ("loss/val", "loss")):
        new = facts.metric(Index(two), baseline, name)
        assert new == f"haystack/{name}"
        history = mlflow.get_metric_history(run.info.run_id, new)
        rows = store.phase(baseline).curve()
        assert sorted((point.step, point.value, point.timestamp) for point in history) == [
            (row["tokens"], row[entry], facts.milliseconds(row)) for row in rows
        ]
    assert mirror.double_points(store.path / backend.DATABASE) == []
    assert sync(two, store).points == 0
    # With the file of before, what it names is there already.
    assert sync(one, store).points == 0


def test_a_run_that_somebody_deletes_while_it_is_followed_is_made_anew(store: Store) -> None:
    plan = finished(store)
    session = connect.open_session(plan, store, backend.tracking_uri(store.path))
    from procray.tracking.sync import write

    write(session)
    mlflow = mirror.client(store)
    phase = plan.cells[0].compared
    mlflow.delete_run(mirror.runs(mlflow, plan)[phase].info.run_id)
    folder = synthetic.write_report(store, plan)
    assert Path(folder).is_dir()
    assert not write(session).complete  # the report's numbers for it are refused
    assert write(session).complete
    mirror.assert_complete(mlflow, plan)

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from procray.errors import EnvironmentProblem
from procray.store.store import Store
from procray.tracking import SyncResult, backend, facts, sync
from procray.tracking.connect import WATERMARK, open_session
from procray.tracking.index import Index
from procray.tracking.sync import write
from tests.tracking import mirror, synthetic

ROOT = Path(__file__).resolve().parents[2]


def watermark(store: Store, plan: Any) -> Path:
    return store.title_folder(plan.title) / WATERMARK


def test_import_is_light() -> None:
    script = "import sys, procray.tracking; assert 'mlflow' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_whole_sweep_then_nothing_new(store: Store) -> None:
    plan = synthetic.build(seeds=(0,))
    synthetic.finish_all(store, plan)
    first = sync(plan, store)
    assert first.complete
    assert "up to date" in str(first)
    assert first.runs == len(plan.phases) + 1
    mlflow = mirror.client(store)
    mirror.assert_complete(mlflow, plan)
    file = store.path / backend.DATABASE
    assert mirror.double_points(file) == []
    before = mirror.points(file)

    assert sync(plan, store) == SyncResult(first.uri, first.experiment)
    watermark(store, plan).unlink()  # and without what it remembered
    again = sync(plan, store)
    assert (again.points, again.runs, again.models) == (0, 0, 0)
    watermark(store, plan).write_text("{torn")
    assert sync(plan, store).points == 0
    assert mirror.points(file) == before


def test_run_says_what_it_is(store: Store) -> None:
    plan = synthetic.build(seeds=(0,))
    synthetic.finish_all(store, plan)
    synthetic.write_report(store, plan)
    sync(plan, store)
    mlflow = mirror.client(store)
    found = mirror.runs(mlflow, plan)
    cell = next(c for c in plan.cells if c.variant == "code/identity/full" and c.fraction is None)
    run = mlflow.get_run(found[cell.compared].info.run_id)
    wanted = {
        "phase": "semantic", "variant": "code/identity/full", "task": "identity", "transfer": "full", "seed": "0",
        "length": "2-24", "layers": "2", "lr": "0.001", "warmup_tokens": "100000", "tokens": "200000",
        "setting": "substitutive", "scale": "laptop", "target": "code",
    }  # fmt: skip
    assert wanted.items() <= run.data.params.items()
    assert run.data.tags["mlflow.runColor"] == facts.colour(Index(plan), cell.compared)
    assert run.data.tags["procray.role"] == "compared"
    last = synthetic.row(plan, cell.compared, 200)
    assert run.data.metrics["code/final_loss"] == last["loss"]
    assert run.data.metrics["code/data_fraction"] == 0.75
    assert run.data.metrics["tokens/total"] == 300_000
    assert "code/accuracy/val" not in run.data.metrics  # a diagnostic's business
    summary = mlflow.get_metric_history(run.info.run_id, "code/final_loss")
    assert [point.step for point in summary] == [0]  # MLflow draws bars for step 0 only

    warm = found[cell.warmups[0].phase]
    assert "procedural/loss/val" in warm.data.metrics
    assert not any(name.startswith(("loss/", "code/", "haystack/", "summary/")) for name in warm.data.metrics)
    assert warm.data.tags["procray.role"] == "warm-up"
    half = next(c for c in plan.cells if c.fraction == 0.5)
    assert found[half.compared].data.tags["procray.role"] == "matched"


def test_one_target_has_plain_names(store: Store) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    sync(plan, store)
    compared = mirror.runs(mirror.client(store), plan)[plan.cells[0].compared]
    assert {"loss/val", "loss/train", "tokens/total", "perf/tokens_per_s", "perf/mfu", "optim/lr"} <= set(
        compared.data.metrics
    )
    assert {"summary/final_loss", "summary/start_loss"} <= set(compared.data.metrics)
    assert len(compared.data.metrics) <= 9


def test_growing_journals(store: Store) -> None:
    """A running sweep, looked at again and again by one session and by fresh ones."""
    plan = synthetic.build(seeds=(0,), targets=("code",))
    store.write_plan(plan)
    uri = backend.tracking_uri(store.path)
    session = open_session(plan, store, uri)
    assert write(session).runs == 1  # of the sweep: nothing has begun
    warm, *others = plan.phases
    synthetic.write_rows(store, plan, warm, 30)
    assert write(session).runs == 2
    mlflow = mirror.client(store)
    run = mirror.runs(mlflow, plan)[warm]
    assert len(mlflow.get_metric_history(run.info.run_id, "procedural/loss/val")) == 4
    assert run.info.status == "SCHEDULED"

    journal = store.phase(warm).path / "journal" / "1.jsonl"
    with open(journal, "a") as file:
        file.write(json.dumps(synthetic.row(plan, warm, 40))[:50])  # killed in the middle of a line
    write(session)
    synthetic.write_rows(store, plan, warm, 100, attempt=2, first=30)  # the next attempt repeats an evaluation
    sync(plan, store)
    assert len(mlflow.get_metric_history(run.info.run_id, "procedural/loss/val")) == 11
    synthetic.finish(store, plan, warm)
    write(session)
    for phase in others:
        synthetic.finish(store, plan, phase)
        write(session)
    mirror.assert_complete(mlflow, plan)
    assert mirror.double_points(store.path / backend.DATABASE) == []


def test_mark_after_its_row(store: Store) -> None:
    """The weights may become visible after the evaluation did: the model gains its loss, the curve nothing."""
    plan = synthetic.build(seeds=(0,), targets=("code",))
    store.write_plan(plan)
    warm = next(iter(plan.phases))
    synthetic.write_rows(store, plan, warm, 60)
    sync(plan, store)
    synthetic.write_mark(store, plan, warm, 50)
    sync(plan, store)
    mlflow = mirror.client(store)
    (model,) = mlflow.search_logged_models([mirror.experiment(mlflow, plan)])
    assert [metric.value for metric in model.metrics] == [synthetic.row(plan, warm, 50)["loss"]]
    assert mirror.double_points(store.path / backend.DATABASE) == []


def test_failed_phase_and_gaps(store: Store) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    store.write_plan(plan)
    warm, bare, *rest = plan.phases
    synthetic.finish(store, plan, bare)
    folder = store.phase(warm).path / "journal"
    folder.mkdir(parents=True)
    rows = [synthetic.row(plan, warm, 0), {**synthetic.row(plan, warm, 10), "loss": None, "train_loss": None}]
    (folder / "1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store.phase(warm).set_status("failed", reason="loss is NaN at step 11", step=10)
    for phase in rest:
        store.phase(phase).set_status("skipped", reason="its parent failed")
    assert sync(plan, store).complete
    mlflow = mirror.client(store)
    found = mirror.runs(mlflow, plan)
    assert set(found) == {warm, bare, "sweep"}
    assert found[warm].info.status == "FAILED"
    assert "NaN at step 11" in found[warm].data.tags["mlflow.note.content"]
    run_id = found[warm].info.run_id
    assert [point.step for point in mlflow.get_metric_history(run_id, "procedural/loss/val")] == [0]
    assert [point.step for point in mlflow.get_metric_history(run_id, "tokens/total")] == [0, 10_000]
    assert "procedural/loss/train" not in found[warm].data.metrics
    assert found["sweep"].info.status == "FAILED"
    assert "skipped" in found["sweep"].data.tags["mlflow.note.content"]


def test_larger_budget_extends_the_run(store: Store) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    warm = next(iter(plan.phases.values()))
    warm.marks, warm.nominal = [50], {50: 50_000}
    store.write_plan(plan)
    synthetic.write_rows(store, plan, warm.id, 100)  # another sweep went further
    synthetic.write_mark(store, plan, warm.id, 50)
    sync(plan, store)
    mlflow = mirror.client(store)
    run = mirror.runs(mlflow, plan)[warm.id]
    assert run.data.metrics["tokens/total"] == 50_000
    assert run.info.status == "FINISHED"
    warm.marks, warm.nominal = [50, 100], {50: 50_000, 100: 100_000}
    synthetic.write_mark(store, plan, warm.id, 100)
    sync(plan, store)
    run = mirror.runs(mlflow, plan)[warm.id]
    assert run.data.metrics["tokens/total"] == 100_000
    assert run.data.metrics["procedural/final_loss"] == synthetic.row(plan, warm.id, 100)["loss"]


def test_shared_phase_has_a_run_in_each_experiment(store: Store) -> None:
    one, two = (synthetic.build(name, seeds=(0,), targets=("code",)) for name in ("one", "two"))
    synthetic.finish_all(store, one)
    store.write_plan(two)
    sync(one, store)
    sync(two, store)
    mlflow = mirror.client(store)
    for plan in (one, two):
        mirror.assert_complete(mlflow, plan)


def test_renamed_variant_is_followed(store: Store) -> None:
    """A grid that grows gives longer names: the tag and the run's name change, the points stay."""
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    sync(plan, store)
    cell = plan.cells[1]
    plan.phases[cell.compared].variant = cell.variant = "identity/2M/attention"
    plan.phases[cell.compared].label = "identity/2M/attention s0"
    result = sync(plan, store)
    assert (result.points, result.runs, result.complete) == (0, 0, True)
    run = mirror.runs(mirror.client(store), plan)[cell.compared]
    assert run.data.tags["variant"] == "identity/2M/attention"
    assert run.info.run_name == "identity/2M/attention s0"


def test_what_the_file_no_longer_asks_for_leaves_the_views(store: Store) -> None:
    """Another learning rate gives other phases; the earlier runs stay, and come back with the earlier file."""
    plan = synthetic.build(seeds=(0, 1), targets=("code",))
    synthetic.finish_all(store, plan)
    sync(plan, store)
    less = synthetic.build(seeds=(0,), targets=("code",))
    sync(less, store)
    mlflow = mirror.client(store)
    roles = {phase: run.data.tags["procray.role"] for phase, run in mirror.runs(mlflow, plan).items()}
    assert {phase for phase, role in roles.items() if role == "former"} == set(plan.phases) - set(less.phases)
    assert sync(plan, store).points == 0
    assert not [run for run in mirror.runs(mlflow, plan).values() if run.data.tags["procray.role"] == "former"]


def test_sweep_run_holds_file_plan_and_report(store: Store) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    synthetic.write_report(store, plan)
    sync(plan, store)
    mlflow = mirror.client(store)
    run_id = mirror.runs(mlflow, plan)["sweep"].info.run_id
    assert {item.path for item in mlflow.list_artifacts(run_id)} == {"sweep.yaml", "plan.json", "report"}
    report = store.plan_folder(plan.title, plan.digest) / "report" / "report.html"
    assert Path(mlflow.download_artifacts(run_id, "report/report.html")).read_text() == report.read_text()
    report.write_text("<html>a newer report</html>")
    sync(plan, store)
    assert "newer" in Path(mlflow.download_artifacts(run_id, "report/report.html")).read_text()
    assert str(store.path) in mlflow.get_run(run_id).info.artifact_uri  # not in the working folder


def test_no_credentials_in_mlflow(store: Store) -> None:
    plan = synthetic.build(seeds=(0,))
    synthetic.finish_all(store, plan)
    sync(plan, store)
    assert b"hunter2" not in (store.path / backend.DATABASE).read_bytes()
    for file in (store.path / backend.ARTIFACTS).rglob("*"):
        assert not file.is_file() or b"hunter2" not in file.read_bytes(), file


def test_time_limit_keeps_what_was_done(store: Store) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    result = sync(plan, store, limit=0.0)
    assert not result.complete
    assert "0 s" in result.problem
    assert sync(plan, store, limit=100.0).complete
    mirror.assert_complete(mirror.client(store), plan)


def test_unreachable_server_is_an_environment_problem(store: Store) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    with pytest.raises(EnvironmentProblem, match="procray sync") as caught:
        sync(plan, store, "http://ann:hunter2@127.0.0.1:9")
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)


def test_deleted_experiment_is_explained(store: Store) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    store.write_plan(plan)
    sync(plan, store)
    mlflow = mirror.client(store)
    mlflow.delete_experiment(mirror.experiment(mlflow, plan))
    with pytest.raises(EnvironmentProblem, match="mlflow experiments restore"):
        sync(plan, store)


def test_lost_database_is_written_again(store: Store, fresh_database: Path) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    first = sync(plan, store)
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore._engine_map.pop(first.uri).dispose()  # as a new process has none open
    for file in store.path.glob("mlflow.db*"):
        file.unlink()
    (store.path / backend.DATABASE).write_bytes(fresh_database.read_bytes())
    assert sync(plan, store).points == first.points
    mirror.assert_complete(mirror.client(store), plan)


# Requests after which the process is killed, by the number of the request: they cover making the experiment,
# a run, a model, its artifacts, points, inputs, outputs, tags and the end of a run.
_KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from tests.tracking import synthetic
from procray.store.store import Store
from procray.tracking import backend, sync
import mlflow.store.tracking.sqlalchemy_store as target
for after in sys.argv[2:]:  # each in a process of its own, all of which are imported once
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
count = int(after)
def guard(name):
    real = getattr(target.SqlAlchemyStore, name)
    def wrapped(*a, **k):
        global count
        value = real(*a, **k)
        count -= 1
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return value
    setattr(target.SqlAlchemyStore, name, wrapped)
for name in ("create_experiment", "create_run", "_log_metrics", "_log_model_metrics", "_set_tags", "_log_params",
             "log_inputs", "log_outputs", "create_logged_model", "finalize_logged_model", "update_run_info",
             "set_experiment_tag"):
    guard(name)
sync(synthetic.build(seeds=(0,), targets=("code",)), Store(sys.argv[1]))
"""


def killed_syncs(store: Store, *after: int) -> list[int]:
    """Kills one sync after another, each after so many requests; how each ended."""
    script = [sys.executable, "-c", _KILLED.format(root=str(ROOT)), str(store.path), *map(str, after)]
    return [int(code) for code in subprocess.run(script, check=True, stdout=subprocess.PIPE).stdout.split()]


def test_killed_between_requests(store: Store) -> None:
    """Each kill comes a little further on, in what the one before left behind."""
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    assert killed_syncs(store, 3, 12) == [-signal.SIGKILL] * 2
    assert sync(plan, store).complete
    mirror.assert_complete(mirror.client(store), plan)
    assert mirror.double_points(store.path / backend.DATABASE) == []


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2, 4, 6, 9, 15, 22, 30, 40])
def test_killed_anywhere(store: Store, after: int) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    killed_syncs(store, after)
    assert sync(plan, store).complete
    mirror.assert_complete(mirror.client(store), plan)
    assert mirror.double_points(store.path / backend.DATABASE) == []


def test_two_at_once(store: Store) -> None:
    """A `procray sync` beside the follower of a running sweep."""
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    other = open_session(plan, store, backend.tracking_uri(store.path))  # knows of no runs yet
    sync(plan, store)
    assert write(other).complete
    mirror.assert_complete(mirror.client(store), plan)
    assert mirror.double_points(store.path / backend.DATABASE) == []

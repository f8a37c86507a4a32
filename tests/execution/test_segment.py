"""One segment in this process: resuming, stopping, failing, extending. No Ray."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal

import pytest
from small_plans import phase, plan

from procray.errors import EnvironmentProblem, PhaseFailed, StoreError
from procray.execution import run_segment
from procray.execution import segment as room
from procray.planning.load import load_text
from procray.planning.planner import plan as make_plan
from procray.store.failure import failed_before
from procray.store.processes import process_start, this_process
from procray.training.recipe import Solved


def job(store, small, until=None, marks=None, **more):
    wanted = marks or [until or small.marks[-1]]
    return {
        "store": str(store.path),
        "phase": small.id,
        "recipe": small.recipe.to_json(),
        "label": small.label,
        "until": wanted[-1],
        "marks": wanted,
        "keep": wanted,
        **more,
    }


class StopAfter:
    def __init__(self, steps: int):
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_interrupted_often_gives_the_same_bits(store, reference, same_numbers):
    small = phase("warm", [7, 20], decaying=True, task="set")
    states = []
    for _ in range(10):
        result = run_segment(job(store, small, marks=[7, 20]), StopAfter(3))
        states.append(result["state"])
        if result["state"] == "done":
            break
        assert store.phase(small.id).status()["state"] == "paused"
    assert states == ["paused"] * 6 + ["done"]
    same_numbers(plan(small), store, reference(plan(small)))
    assert store.phase(small.id).status()["state"] == "done"
    assert store.phase(small.id).resumes() == []  # a decaying schedule that ended


def test_a_constant_schedule_is_extended_and_replayed(store, reference, same_numbers):
    small = phase("warm", [10, 15, 20, 30])
    for step in (10, 30, 20, 15):  # later ones first: 20 and 15 replay from the state at 10
        assert run_segment(job(store, small, step), lambda: False)["state"] == "done"
    same_numbers(small_plan := plan(small), store, reference(small_plan))
    assert set(store.phase(small.id).resumes()) == {10, 15, 20, 30}


def test_a_solved_phase_supplies_every_later_mark_without_training(store, monkeypatch):
    small = phase("warm", [10, 20, 60, 90], solved=Solved(accuracy=0.0, evaluations=3))  # at once: steps 10, 20, 30
    folder = store.phase(small.id)
    assert run_segment(job(store, small, marks=[10]), lambda: False)["state"] == "done"
    assert run_segment(job(store, small, marks=[20, 60]), StopAfter(15))["state"] == "paused"
    assert run_segment(job(store, small, marks=[20, 60]), lambda: False)["state"] == "done"
    with monkeypatch.context() as patch:
        patch.setattr("procray.training.loop.Run.update", lambda self: pytest.fail("trained on"))
        assert run_segment(job(store, small, marks=[90]), lambda: False)["state"] == "done"
    assert folder.marks() == [10, 20, 60, 90]
    assert [folder.manifest(step).get("solved_at") for step in folder.marks()] == [None, None, 30, 30]
    digests = [folder.manifest(step)["files"]["model.safetensors"]["sha256"] for step in folder.marks()]
    assert digests[2] == digests[3] != digests[1]
    assert [row["step"] for row in folder.curve()] == [0, 10, 20, 30]
    # A mark before it is asked for later: replayed from the state before, and still solved.
    assert run_segment(job(store, small, marks=[15]), lambda: False)["state"] == "done"
    assert "solved_at" not in folder.manifest(15)


def test_a_finished_segment_trains_nothing(store, monkeypatch):
    small = phase("warm", [5])
    run_segment(job(store, small), lambda: False)
    monkeypatch.setattr("procray.training.loop.train", lambda *a, **k: pytest.fail("trained again"))
    assert run_segment(job(store, small), lambda: False) == {
        "state": "done",
        "step": 5,
        "seconds": pytest.approx(0, abs=5),
    }


def test_a_phase_that_somebody_holds_is_left_alone(store):
    small = phase("warm", [5])
    held = store.phase(small.id).acquire()
    assert run_segment(job(store, small), lambda: False)["state"] == "leased"
    held.release()
    assert run_segment(job(store, small), lambda: False)["state"] == "done"


def test_nan_fails_for_good_and_says_where(store):
    small = phase("bad", [20], lr=1e30)
    result = run_segment(job(store, small), lambda: False)
    assert result["state"] == "failed"
    assert "learning rate 1e+30" in result["reason"]
    status = store.phase(small.id).status()
    assert (status["state"], status["final"]) == ("failed", True)
    assert status["reason"] == result["reason"]
    assert "PhaseFailed" in status["traceback"]
    assert store.phase(small.id).acquire() is not None


def test_a_mark_before_the_step_where_a_phase_broke_is_made(store, monkeypatch):
    from procray.training import loop

    monkeypatch.setattr(loop, "lr_at", lambda step, optimizer, steps: optimizer.lr if step < 30 else 1e30)
    small, folder = phase("bad", [60], every=10), store.phase(phase("bad", [60], every=10).id)
    assert run_segment(job(store, small), lambda: False)["state"] == "failed"
    broken = folder.status()["step"]
    assert 30 < broken < 60
    assert f"at step {broken} " in folder.status()["reason"]
    assert run_segment(job(store, small, until=12), StopAfter(5))["state"] == "paused"
    assert run_segment(job(store, small, until=12), lambda: False)["state"] == "done"
    assert folder.marks() == [12]
    status = folder.status()
    assert (status["state"], status["step"]) == ("done", 12)
    assert failed_before(status, broken - 1) is None
    assert failed_before(status, broken).reason.startswith("the loss is")
    monkeypatch.undo()
    assert run_segment(job(store, small), lambda: False)["state"] == "done"
    assert failed_before(folder.status(), 10_000) is None


def test_numbers_of_an_earlier_attempt_do_not_say_where_this_one_failed(store, monkeypatch):
    def fail(*args, **options):
        raise ValueError("bad")

    small = phase("warm", [5])
    monkeypatch.setattr("procray.training.loop.train", fail)
    folder = store.phase(small.id)
    folder.path.mkdir(parents=True)
    folder.write_progress({"step": 900, "tokens": 1, "attempt": 0})
    run_segment(job(store, small), lambda: False)
    assert folder.status()["step"] is None
    assert failed_before(folder.status(), 0) is not None


@pytest.mark.parametrize(
    ("error", "hopeless", "final"),
    [
        (PhaseFailed("NaN"), True, True),
        (ValueError("bad"), True, True),
        (KeyError("x"), True, True),
        (EnvironmentProblem("no GPU here"), True, False),
        (StoreError("the mark is damaged"), True, False),
        (RuntimeError("CUDA out of memory"), False, False),
        (OSError("file server away"), False, False),
        (MemoryError(), False, False),
    ],
)
def test_what_a_retry_may_cure_is_raised(store, monkeypatch, error, hopeless, final):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr("procray.training.loop.train", fail)
    small = phase("warm", [5])
    status = store.phase(small.id).status
    if hopeless:
        assert run_segment(job(store, small), lambda: False)["state"] == "failed"
        assert status()["state"] == "failed"
        assert status()["final"] is final
    else:
        with pytest.raises(type(error)):
            run_segment(job(store, small), lambda: False)
        assert status()["state"] == "paused"
        assert type(error).__name__ in status()["reason"] or str(error) in status()["reason"]


def test_a_runner_that_lost_its_lease_changes_nothing(store):
    small = phase("warm", [50])

    def taken_over() -> bool:
        claim = store.phase(small.id).path / "leases/2.json"
        claim.write_text("{}")
        store.phase(small.id).set_status("running", attempt=2)
        return False

    assert run_segment(job(store, small), taken_over)["state"] == "leased"
    assert store.phase(small.id).marks() == []
    assert store.phase(small.id).path.joinpath("status.json").read_text().count('"attempt": 2') == 1


def test_the_stop_flag_reads_the_control_file(tmp_path):
    control = tmp_path / "control"
    asked = room.stop_flag(str(control), every=0.0)
    assert not asked()
    control.write_text(room.GO)
    assert not asked()
    control.write_text(room.STOP)
    assert asked()
    control.unlink()
    assert asked()
    assert not room.stop_flag(None)()


def _worker(driver, ready) -> None:
    room.die_with(driver, every=0.05)
    ready.put(os.getpid())
    signal.pause()


def test_a_worker_ends_with_the_command_that_started_it():
    fork = multiprocessing.get_context("fork")
    driver = fork.Process(target=signal.pause)
    driver.start()
    who = {**this_process(), "pid": driver.pid, "started": process_start(driver.pid)}
    ready = fork.Queue()
    worker = fork.Process(target=_worker, args=(who, ready))
    worker.start()
    ready.get(timeout=600)
    assert worker.is_alive()
    os.kill(driver.pid, signal.SIGKILL)
    worker.join(timeout=600)
    assert worker.exitcode == 1
    driver.join()


CURRICULUM = """\
name: curriculum
model: {layers: 1, heads: 1, width: 8}
chain:
  - {name: a, procedural: {task: set, length: 4, vocab: 20, batch: 4, tokens: 200, optimizer: {lr: 1e-3}}}
  - {name: b, procedural: {task: union, length: 8, vocab: 20, batch: 4, tokens: 400, optimizer: {lr: 1e-3}}}
  - name: probe
    diagnostic: {task: addition, digits: 2, batch: 4, tokens: 200, optimizer: {lr: 1e-3}}
"""


def test_a_curriculum_trains_on_from_link_to_link(reference):
    graph = make_plan(load_text(CURRICULUM, "f.yaml"))
    done = reference(graph)
    label = {phase.recipe.data["task"]["name"]: phase for phase in graph.phases.values() if phase.parents}
    for child, parts in (("union", {"embeddings"}), ("addition", set())):
        (parent,) = label[child].parents
        start = done.phase(label[child].id).mark(label[child].end) / "transfer.json"
        taken = json.loads(start.read_text())
        assert parent.phase in json.dumps(taken)
        assert parts <= set(label[child].recipe.init.components)
    row = done.phase(label["addition"].id).curve()[-1]
    assert {"official_accuracy", "corrected_accuracy", "first_accuracy", "stop_accuracy", "exact_match"} <= row.keys()

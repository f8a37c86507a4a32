"""Small sweeps on a real Ray: order, failures, killed workers, worker groups."""

from __future__ import annotations

import os
import re
import signal
from types import SimpleNamespace

import psutil
import pytest
from small_plans import phase, plan

from procray.errors import EnvironmentProblem
from procray.execution import RunOptions
from procray.execution import cluster as cluster_room
from procray.execution import run as run_function


def family():
    """A shared warm-up with two budgets, its descendants, a failing phase and its descendants."""
    warm = phase("warm", [20, 40])
    early = phase("early", [30], parent=(warm, 20), task="reverse", decaying=True)
    late = phase("late", [30], parent=(warm, 40), task="reverse", decaying=True)
    base = phase("baseline", [30], task="reverse", decaying=True)
    bad = phase("bad", [20], lr=1e30)
    child = phase("child", [10], parent=(bad, 20))
    grandchild = phase("grandchild", [10], parent=(child, 10))
    return warm, early, late, base, bad, child, grandchild


def test_a_sweep_ends_with_what_a_plain_loop_gives(local_ray, store, listen, reference, same_numbers, monkeypatch):
    warm, early, late, base, bad, child, grandchild = family()
    result, heard = listen(plan(warm, early, late, base, bad, child, grandchild), store)
    assert sorted(result.done) == ["baseline", "early", "late", "warm"]
    assert list(result.failed) == ["bad"]
    assert "learning rate 1e+30" in result.failed["bad"]
    assert sorted(result.skipped) == ["child", "grandchild"]
    assert result.skipped["child"].startswith("bad failed: ")
    assert (result.interrupted, result.out_of_time, result.unfinished, result.trained) == (False, False, [], 5)
    assert heard.labels("retry") == []
    started = heard.labels("start")
    assert started.index("warm") < started.index("early") < started.index("late")
    good = plan(warm, early, late, base)
    same_numbers(good, store, reference(good))
    assert all(store.phase(p.id).status()["state"] == "done" for p in (warm, early, late, base))
    assert not list((store.path / "sweeps").glob("*/.run-*"))

    def refuse(*args, **options):
        raise AssertionError("Ray was started")

    monkeypatch.setattr("procray.execution.on_ray.cluster", refuse)
    again, heard = listen(good, store)
    assert again.trained == 0
    assert sorted(again.done) == sorted(result.done)
    assert again.seconds < 5
    assert [event["event"] for event in heard.events] == ["plan"]


def test_time_runs_out_and_the_next_run_goes_on(local_ray, store, listen, reference, same_numbers):
    slow = phase("slow", [50, 200], decaying=True, width=32, layers=2, batch=16)
    later = phase("later", [10], parent=(slow, 200), width=32, layers=2)
    small = plan(slow, later)
    result, heard = listen(small, store, max_hours=0.5 / 3600)
    assert result.out_of_time
    assert not result.interrupted
    assert result.unfinished == ["slow", "later"]
    assert result.failed == {}
    assert "stopping" in [event["event"] for event in heard.events]
    result, _ = listen(small, store)
    assert result.done == ["slow", "later"]
    same_numbers(small, store, reference(small))


def test_a_local_ray_has_no_daemon_that_serves_nobody(local_ray):
    below = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert any("gcs_server" in command for command in below)
    assert not [command for command in below if re.search(r"dashboard\.py|monitor\.py", command)]


def test_a_segment_is_offered_when_there_is_room_for_it(local_ray, store):
    from procray.execution.agenda import Agenda, Item
    from procray.execution.room import Nodes, Room
    from procray.execution.searcher import SegmentSearcher

    def wanting(name, weight, workers):
        return Item(name, name, 10, (10,), (), weight, {"workers": workers, "cpu": 1.0, "gpu": 0.0})

    def done(trial, name):
        folder = store.phase(name)
        held = folder.acquire()
        folder.write_mark(held, 10, lambda path: {}, {})
        held.release()
        searcher.on_trial_complete(trial, {"outcome": '{"state": "done"}'})

    agenda = Agenda([wanting("pair", 3.0, 2), wanting("four", 2.0, 4), wanting("one", 1.0, 1)], store)
    searcher = SegmentSearcher(agenda, lambda trial: "", Room(lambda: Nodes(({"CPU": 4.0},))), lambda: None)
    assert searcher.suggest("t1")["key"] == "pair@10"
    assert searcher.suggest("t2") is None, "four workers do not fit beside two, and room is kept for them"
    done("t1", "pair")
    assert searcher.suggest("t2")["key"] == "four@10"
    assert searcher.suggest("t3") is None
    done("t2", "four")
    assert searcher.suggest("t3")["key"] == "one@10"


def test_groups_of_ended_trials_are_removed(local_ray):
    import ray
    from ray.util.placement_group import placement_group, placement_group_table

    from procray.execution.reaper import Reaper, start_register

    register = start_register("sweep")  # stands for the trials' actor, too
    actor = register._actor_id.hex()

    def trial(name):
        return SimpleNamespace(trial_id=name, temporary_state=SimpleNamespace(ray_actor=register))

    groups = {owner: placement_group([{"CPU": 0.5}], name=f"sweep/{owner}/0") for owner in ("killed", "alive", actor)}
    ray.get([group.ready() for group in groups.values()], timeout=600)
    ray.get([register.add.remote(owner, f"sweep/{owner}/0") for owner in groups])

    def left():
        return [owner for owner, group in groups.items() if placement_group_table(group)["state"] == "CREATED"]

    reaper = Reaper(register)
    reaper.on_trial_complete(1, [], trial("elsewhere"))
    reaper.on_trial_error(1, [], trial("killed"))
    assert left() == ["alive", actor]
    reaper.on_trial_start(1, [], trial("alive"))
    reaper.on_trial_complete(1, [], trial("alive"))
    assert left() == [actor], "a warm group outlives the trials that go well"
    reaper.on_trial_start(1, [], trial("last"))
    reaper.on_trial_error(1, [], trial("last"))
    assert left() == []
    ray.kill(register)


@pytest.mark.slow
def test_a_killed_group_frees_its_processors(local_ray, store, listen):
    """Both workers and then the trial die; the second phase needs every processor again."""
    first = phase("first", [20, 1500], decaying=True, batch=8, workers=2, executor="train")
    second = phase("second", [10], batch=8, workers=2, seed=1, executor="train")
    killed = []

    def kill_once(event):
        folder = store.phase(first.id)
        if event["event"] == "progress" and not killed and folder.exists_mark(20):
            killed.append(folder.holder().process["pid"])
            os.kill(killed[0], signal.SIGKILL)

    result, heard = listen(plan(first, second), store, kill_once)
    assert killed
    assert sorted(result.done) == ["first", "second"], heard.events
    assert heard.labels("retry") == ["first"]


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"cpu": 999}, r"phase 'big' wants 1 worker with 999 processors each, 999 in all, but this machine has \d+"),
        ({"workers": 999}, r"phase 'big' wants 999 workers with 1 processors each, 999 in all"),
        ({"gpu": 99.0}, r"phase 'big' wants 1 worker with 99 GPUs each, 99 in all, but this machine has \d"),
    ],
)
def test_what_can_never_start_is_refused_first(store, wanted, text):
    small = plan(phase("big", [10], **wanted))
    with pytest.raises(EnvironmentProblem, match=text):
        run_function(small, store)
    assert store.phases() == []


def test_no_cluster_at_the_address_is_an_environment_problem(store, monkeypatch):
    def nobody(**options):
        raise ConnectionError("nobody answers")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", nobody)
    monkeypatch.setattr("ray.shutdown", lambda: None)  # of this process's own Ray, which other tests go on with
    with pytest.raises(EnvironmentProblem, match="no Ray cluster at 'somewhere'"):
        run_function(plan(phase("small", [10])), store, RunOptions(address="somewhere"))


def test_a_local_ray_gets_more_than_one_chance_to_start(monkeypatch):
    """On a machine that does much else its 30 s are soon over; what is broken is not tried for minutes."""
    import ray

    tries = []

    def start(slow: int, error: Exception):
        def init(**options):
            tries.append(options)
            if len(tries) <= slow:
                raise error

        tries.clear()
        monkeypatch.setattr(ray, "init", init)
        cluster_room._start(None, {"num_cpus": 1})

    late, broken = Exception("The current node timed out during startup."), AttributeError("nothing")
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    start(4, late)
    assert [(one["address"], one["num_cpus"]) for one in tries] == [("local", 1)] * 5
    start(1, broken)
    for slow, error, most in ((5, late, 5), (2, broken, 2)):
        with pytest.raises(EnvironmentProblem, match=f"Ray does not start on this machine: .*{error}"):
            start(slow, error)
        assert len(tries) == most

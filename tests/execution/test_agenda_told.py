"""What an agenda tells, counts and writes down. No Ray."""

from __future__ import annotations

import pytest
from agendas import Watched, item, make

from procray.execution.agenda import Agenda, Item, State, complete
from procray.store.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("procray.execution.agenda.time.monotonic", lambda: now[0])
    return now


def test_what_is_told_of_a_segment_from_its_start_to_its_end(store):
    agenda = Watched([item("a", 20), item("b", needs=[("a", 20)])], store, retries=1)
    a = {"phase": "a", "label": "A"}
    agenda.next()
    agenda.report("a@20", {"state": "paused", "step": 4})
    agenda.next()
    agenda.report("a@20", {"state": "paused", "step": 8, "reason": "its node goes away"})
    agenda.next()
    agenda.crash("a@20", "its worker died")
    agenda.next()
    agenda.succeed(store, "a@20")
    agenda.next()
    agenda.report("b@10", {"state": "failed"})
    start = {"event": "start", **a, "until": 20}
    assert agenda.events == [
        start,
        {"event": "paused", **a, "step": 4},
        start,
        {"event": "paused", **a, "step": 8, "reason": "its node goes away"},
        start,
        {"event": "retry", **a, "reason": "its worker died", "attempt": 1, "of": 1},
        start,
        {"event": "done", **a, "step": 20, "whole": True},
        {"event": "start", "phase": "b", "label": "B", "until": 10},
        {"event": "failed", "phase": "b", "label": "B", "reason": "failed"},
    ]
    assert store.phase("b").status() is None or store.phase("b").status().get("state") != "failed", "its runner does"


def test_jobs_are_made_when_asked_for_and_carry_the_facts_apart(store):
    made = []
    one = Item("a", "A", 10, (10,), (), 1.0, make_job=lambda: made.append(1) or {"phase": "a"})
    agenda = Watched([one], store)
    assert (agenda.next().key, made) == ("a@10", [])
    assert one.job == {"phase": "a"}
    agenda.tell_runners(level=1)
    agenda.tell_runners(more=2)
    assert agenda.facts == {"level": 1, "more": 2}


def test_a_segment_is_complete_with_all_of_its_marks(store):
    make(store, "a", 5)
    assert not complete(item("a", 10, marks=[5, 10]), store)
    assert Watched([item("a", 10, marks=[5, 10])], store).next().key == "a@10"
    make(store, "a", 10)
    assert complete(item("a", 10, marks=[5, 10]), store)


def test_what_another_sweep_made_before_it_was_started_is_done(store):
    agenda = Watched([item("a", weight=9), item("b"), item("child", needs=[("a", 10)])], store)
    make(store, "a", 10)
    assert {agenda.next().key, agenda.next().key} == {"b@10", "child@10"}
    assert agenda.told("done") == ["a"]
    assert sorted(agenda.told("start")) == ["b", "child"]


def test_a_full_disk_pauses_and_is_told(store):
    full = []
    agenda = Watched([item("a"), item("b")], store, on_full=full.append)
    agenda.next()
    agenda.report("a@10", {"state": "full", "reason": "no room on the disk"})
    assert full == ["no room on the disk"]
    assert agenda.state("a@10") is State.PAUSED
    assert agenda.events[-1] == {"event": "paused", "phase": "a", "label": "A", "reason": "no room on the disk"}
    assert agenda.failed == {}
    assert [one.key for one in agenda.open()] == ["a@10", "b@10"]


def test_all_segments_after_a_failure_get_their_state_and_each_phase_is_told_once(store):
    agenda = Watched(
        [
            *[item("bad", 10), item("bad", 20), item("child", 10, [("bad", 10)]), item("child", 20)],
            *[item("late", needs=[("child", 20)]), item("good")],
        ],
        store,
    )
    agenda.next()
    agenda.report("bad@10", {"state": "failed", "reason": "NaN"})
    states = {key: agenda.state(key) for key in agenda.items}
    assert {key for key, state in states.items() if state is State.FAILED} == {"bad@10", "bad@20"}
    assert {key for key, state in states.items() if state is State.SKIPPED} == {"child@10", "child@20", "late@10"}
    assert agenda.told("skipped") == ["child", "late"]
    assert [one.key for one in agenda.open()] == ["good@10"]
    assert agenda.unfinished() == ["good"]


def test_what_another_sweep_trains_at_the_moment_is_not_written_down_as_skipped(store):
    held = store.phase("child").acquire()
    agenda = Watched([item("bad"), item("child", needs=[("bad", 10)]), item("orphan", needs=[("bad", 10)])], store)
    agenda.next()
    agenda.report("bad@10", {"state": "failed", "reason": "NaN"})
    assert sorted(agenda.skipped) == ["child", "orphan"]
    assert store.phase("orphan").status()["state"] == "skipped"
    assert (store.phase("child").status() or {}).get("state") != "skipped"
    held.release()


def test_a_failure_of_an_earlier_run_or_another_sweep_is_left_as_it_was_written(store):
    for phase in ("a", "b"):
        store.phase(phase).set_status("failed", reason="NaN", final=True)
    agenda = Watched([item("a")], store)
    assert agenda.failed == {"a": "NaN (in an earlier run)"}
    assert (store.phase("a").status()["reason"], store.phase("a").status()["final"]) == ("NaN", True)
    store.phase("c").set_status("failed", reason="its worker died", final=False)
    held = store.phase("c").acquire()
    agenda = Watched([item("c")], store)
    assert agenda.next() is None
    held.release()
    assert agenda.next().key == "c@10", "what may pass is tried again"


def test_who_trains_a_phase_elsewhere_is_told(store):
    held = store.phase("a").acquire()
    agenda = Watched([item("a")], store)
    agenda.next()
    (event,) = agenda.events
    process = store.phase("a").holder().process
    assert event["event"] == "elsewhere"
    assert (event["host"], event["pid"]) == (process["host"].split("/")[0], process["pid"])
    held.release()


def test_what_runs_elsewhere_is_looked_at_again_when_its_time_has_come(store, clock):
    held = store.phase("a").acquire()
    agenda = Agenda([item("a")], store)
    assert agenda.next() is None
    clock[0] += 1.1
    assert agenda.next() is None, "it was looked at, and is still trained elsewhere"
    held.release()
    clock[0] += 0.9
    assert agenda.next() is None
    clock[0] += 0.2
    assert agenda.next().key == "a@10", "once a second, where nobody says"


def test_waiting_for_room_is_told_where_something_could_start_and_nothing_runs(store, clock):
    agenda = Watched([item("a"), item("b", needs=[("a", 10)])], store)
    agenda.no_room()
    for seconds, times in ((59.5, 1), (0.6, 2), (30.0, 2)):
        clock[0] += seconds
        agenda.no_room()
        assert agenda.told("waiting") == ["a"] * times
    clock[0] += 100
    agenda.next()
    agenda.no_room()
    agenda.stop("time")
    agenda.report("a@10", {"state": "paused"})
    agenda.no_room()
    stopped = Watched([item("a")], store)
    stopped.stop("time")
    stopped.no_room()
    done = Watched([], store)
    done.no_room()
    assert (len(agenda.told("waiting")), stopped.events, done.events) == (2, [], [])


# How often something may die


def test_two_retries_where_nobody_says(store):
    agenda = Agenda([item("a")], store)
    tries = 0
    while agenda.next() is not None:
        tries += 1
        agenda.crash("a@10", "died")
    assert tries == 3


@pytest.mark.parametrize(("before", "guilty"), [(30.0, True), (30.5, False)])
def test_a_node_that_went_up_to_half_a_minute_before_is_to_blame(store, clock, before, guilty):
    agenda = Watched([item("a")], store, retries=0)
    agenda.next()
    agenda.crash("a@10", "gone", node=None)
    assert agenda.running(), "it would be the end: that waits"
    agenda.settle(lost=1000.0 - before)
    assert bool(agenda.running()) is not guilty
    clock[0] += 29.5
    agenda.settle(lost=1000.0 - before)
    assert agenda.failed == {}
    clock[0] += 1.0
    agenda.settle(lost=1000.0 - before)
    assert agenda.failed == ({} if guilty else {"a": "gone"})
    assert agenda.told("retry") == (["a"] if guilty else [])


def test_a_death_with_its_node_is_taken_off_the_count_and_put_on_the_other(store, clock, monkeypatch):
    monkeypatch.setattr("procray.execution.agenda.NODES_LOST", 3)
    agenda = Watched([item("a")], store, retries=1)
    for _ in range(2):
        agenda.next()
        agenda.crash("a@10", "gone", node=None)
        agenda.settle(lost=clock[0])
        clock[0] += 100
        agenda.settle(lost=clock[0] - 100)
    agenda.next()
    agenda.crash("a@10", "its node is gone", node=True)
    assert agenda.failed == {}, "that were three"
    agenda.next()
    agenda.crash("a@10", "killed")
    assert agenda.failed == {}, "the first that counts"
    assert [(event["attempt"], event["of"]) for event in agenda.events if event["event"] == "retry"][-2:] == [
        *[(3, 3), (1, 1)],
    ]
    agenda.next()
    agenda.crash("a@10", "its node is gone", node=True)
    assert agenda.failed == {"a": "its node is gone"}


def test_a_retry_that_runs_is_not_ended_by_the_doubt_about_the_death_before_it(store, clock):
    """The last retry starts at once; half a minute later it is clear that no node was lost at the death before."""
    agenda = Watched([item("a")], store, retries=1)
    agenda.next()
    agenda.crash("a@10", "gone", node=None)
    assert agenda.next().key == "a@10"
    clock[0] += 31
    agenda.settle(lost=0.0)
    assert [one.key for one in agenda.running()] == ["a@10"]
    assert agenda.failed == {}
    agenda.succeed(store, "a@10")
    assert agenda.finished()


def test_a_death_in_doubt_is_forgotten_when_ray_dies_too(store, clock):
    agenda = Watched([item("a")], store, retries=0)
    agenda.next()
    agenda.crash("a@10", "gone", node=None)
    agenda.again()
    assert agenda.next().key == "a@10"
    clock[0] += 31
    agenda.settle(lost=0.0)
    assert [one.key for one in agenda.running()] == ["a@10"]
    agenda.succeed(store, "a@10")
    assert agenda.finished()


def test_when_ray_dies_what_is_complete_is_done_and_what_is_to_stop_pauses(store):
    agenda = Watched([item("a"), item("b")], store)
    agenda.next()
    agenda.next()
    make(store, "a", 10)
    agenda.stop("signal")
    agenda.again()
    assert (agenda.state("a@10"), agenda.state("b@10")) == (State.DONE, State.PAUSED)
    assert agenda.told("done") == ["a"]
    assert agenda.finished()


def test_what_is_taken_back_is_told_why(store):
    agenda = Watched([item("a"), item("b")], store)
    agenda.next()
    agenda.next()
    agenda.stop("time")
    assert not agenda.give_up_waiting({"b@10"})
    assert agenda.give_up_waiting({"c@10"}) is True
    assert [event["reason"] for event in agenda.events if event["event"] == "paused"] == [
        "no room was found for it"
    ] * 2
    assert agenda.give_up_waiting(set()) is False

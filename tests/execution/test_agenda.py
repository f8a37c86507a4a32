"""Which segment starts when: order, dependencies, failures, other sweeps. No Ray."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from agendas import Watched, everything, item, make

from procray.errors import StoreError
from procray.execution.agenda import NODES_LOST, State
from procray.store.phase import PhaseFolder
from procray.store.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_longest_remaining_chain_first(store):
    agenda = Watched(
        [
            item("short", weight=5),
            item("head", weight=1),
            item("middle", needs=[("head", 10)], weight=1),
            item("tail", needs=[("middle", 10)], weight=9),
            item("alone", weight=6),
        ],
        store,
    )
    assert everything(agenda, store) == ["head@10", "middle@10", "tail@10", "alone@10", "short@10"]
    assert agenda.told("done") == ["head", "middle", "tail", "alone", "short"]


def test_of_several_chains_behind_a_segment_the_longest_counts(store):
    children = [item("long", needs=[("head", 10)], weight=9), item("short", needs=[("head", 10)], weight=1)]
    agenda = Watched([item("alone", weight=5), item("head"), *children], store)
    assert everything(agenda, store) == ["head@10", "long@10", "alone@10", "short@10"]


def test_a_child_starts_at_the_mark_it_needs(store):
    """The second budget of a warm-up does not hold up what starts from the first."""
    agenda = Watched(
        [item("warm", 10), item("warm", 20), item("tail", 50, [("warm", 10)], weight=99)],
        store,
    )
    assert agenda.next().key == "warm@10"
    assert agenda.next() is None
    assert not agenda.finished()
    agenda.succeed(store, "warm@10")
    assert {agenda.next().key, agenda.next().key} == {"tail@50", "warm@20"}
    assert [e["whole"] for e in agenda.events if e["event"] == "done"] == [False]
    agenda.succeed(store, "warm@20")
    assert [e["whole"] for e in agenda.events if e["event"] == "done"] == [False, True]


def test_segments_of_one_phase_follow_each_other(store):
    agenda = Watched([item("warm", 20), item("warm", 10)], store)
    assert everything(agenda, store) == ["warm@10", "warm@20"]


def test_what_the_store_holds_is_not_offered(store):
    make(store, "a", 10)
    agenda = Watched([item("a"), item("b", needs=[("a", 10)])], store)
    assert everything(agenda, store) == ["b@10"]
    assert Watched([item("a"), item("b", needs=[("a", 10)])], store).finished()


def test_a_need_may_be_met_by_the_store_alone(store):
    make(store, "outside", 7)
    agenda = Watched([item("b", needs=[("outside", 7)])], store)
    assert agenda.next().key == "b@10"
    with pytest.raises(StoreError, match="B starts from step 8 of phase outside, which nothing makes"):
        Watched([item("b", needs=[("outside", 8)])], store)


def test_a_failure_skips_its_descendants_and_nothing_else(store):
    agenda = Watched(
        [
            item("bad", 10),
            item("bad", 20),
            item("child", needs=[("bad", 20)]),
            item("grandchild", needs=[("child", 10), ("good", 10)]),
            item("good"),
            item("friend", needs=[("good", 10)]),
        ],
        store,
    )
    assert agenda.next().phase == "bad"
    agenda.report("bad@10", {"state": "failed", "reason": "the loss is nan at step 3"})
    assert agenda.failed == {"bad": "the loss is nan at step 3"}
    assert agenda.skipped == dict.fromkeys(["child", "grandchild"], "BAD failed: the loss is nan at step 3")
    assert store.phase("child").status()["state"] == "skipped"
    assert store.phase("grandchild").status()["parent"] == "bad"
    assert everything(agenda, store) == ["good@10", "friend@10"]
    assert agenda.told("failed") == ["bad"]
    assert sorted(agenda.told("skipped")) == ["child", "grandchild"]
    assert agenda.unfinished() == []


def test_a_done_child_of_a_failed_parent_stays_done(store):
    make(store, "child", 10)
    agenda = Watched([item("bad"), item("child", needs=[("bad", 10)])], store)
    agenda.next()
    agenda.report("bad@10", {"state": "failed", "reason": "no"})
    assert agenda.skipped == {}
    assert agenda.state("child@10") is State.DONE


def test_recorded_failures_are_believed_until_asked_otherwise(store):
    items = [item("bad"), item("child", needs=[("bad", 10)])]
    store.phase("bad").set_status("failed", reason="NaN", final=True)
    agenda = Watched(items, store)
    assert agenda.finished()
    assert agenda.next() is None
    assert agenda.failed == {"bad": "NaN (in an earlier run)"}
    assert list(agenda.skipped) == ["child"]
    assert everything(Watched(items, store, retry_failed=True), store) == ["bad@10", "child@10"]


def test_a_failure_that_may_pass_is_tried_again_in_the_next_run(store):
    store.phase("a").set_status("failed", reason="its worker died", final=False)
    assert Watched([item("a")], store).next().key == "a@10"


def test_a_mark_beyond_which_a_phase_failed_still_counts(store):
    make(store, "a", 10)
    store.phase("a").set_status("failed", reason="NaN at step 15", final=True)
    agenda = Watched([item("a", 10), item("a", 20), item("child", needs=[("a", 10)])], store)
    assert everything(agenda, store) == ["child@10"]
    assert list(agenda.failed) == ["a"]
    assert agenda.skipped == {}


def test_dead_workers_are_tried_again_a_few_times(store):
    agenda = Watched([item("a"), item("child", needs=[("a", 10)])], store, retries=2)
    for _ in range(3):
        assert agenda.next().key == "a@10"
        agenda.crash("a@10", "its worker process died")
    assert agenda.finished()
    assert agenda.failed == {"a": "its worker process died"}
    assert [e["attempt"] for e in agenda.events if e["event"] == "retry"] == [1, 2]
    status = store.phase("a").status()
    assert (status["state"], status["final"]) == ("failed", False)
    assert list(agenda.skipped) == ["child"]


def test_a_lost_node_is_not_the_phases_fault(store, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("procray.execution.agenda.time.monotonic", lambda: clock[0])
    agenda = Watched([item("a")], store, retries=1)
    for _ in range(3):
        assert agenda.next().key == "a@10"
        agenda.crash("a@10", "gone", node=None)
        clock[0] += 10
        agenda.settle(lost=clock[0])  # the news that a node is gone come later than the death of what ran there
        clock[0] += 100
    assert agenda.next().key == "a@10"
    agenda.crash("a@10", "gone", node=None)
    clock[0] += 40
    agenda.settle(lost=clock[0] - 100)
    assert agenda.next().key == "a@10"
    agenda.crash("a@10", "killed", node=None)
    agenda.settle(lost=clock[0] - 100)
    assert not agenda.finished(), "its last try is not given up before it is clear whether a node is gone"
    clock[0] += 40
    agenda.settle(lost=clock[0] - 100)
    assert agenda.failed == {"a": "killed"}


def test_a_phase_that_takes_its_node_down_ends(store):
    agenda = Watched([item("a")], store)
    while agenda.next() is not None:
        agenda.crash("a@10", "its node is gone", node=True)
    assert agenda.failed == {"a": "its node is gone"}
    assert len(agenda.told("retry")) == NODES_LOST


def test_when_ray_dies_everything_that_runs_is_offered_again(store):
    agenda = Watched([item("a"), item("b"), item("c")], store, retries=0)
    for _ in range(3):
        agenda.next()
    make(store, "b", 10)
    agenda.again()
    assert agenda.running() == []
    assert everything(agenda, store) == ["a@10", "c@10"]


def test_a_worker_that_dies_after_its_last_mark_is_done(store):
    agenda = Watched([item("a")], store)
    agenda.next()
    make(store, "a", 10)
    agenda.crash("a@10", "killed")
    assert agenda.finished()
    assert agenda.failed == {}


def test_success_without_marks_is_not_believed(store):
    agenda = Watched([item("a")], store, retries=0)
    agenda.next()
    agenda.report("a@10", {"state": "done"})
    assert "its marks are not in the store" in agenda.failed["a"]


def test_a_worker_that_ends_otherwise_is_tried_again_for_its_reason_if_it_gave_one(store):
    agenda = Watched([item("a")], store)
    for result in ({}, {"state": "killed", "reason": "killed by the memory monitor"}):
        agenda.next()
        agenda.report("a@10", result)
    reasons = [event["reason"] for event in agenda.events if event["event"] == "retry"]
    assert reasons == ["its worker ended without a result", "killed by the memory monitor"]


def test_the_store_is_asked_once_and_only_about_phases_of_the_sweep_that_it_holds(store, monkeypatch):
    """In a bucket each costs requests, and other sweeps may have left thousands."""
    for phase in ("a", "foreign"):
        make(store, phase, 10)
    asked = []
    monkeypatch.setattr(store, "refresh", lambda phases: asked.append(sorted(phases)))
    assert everything(Watched([item("a"), item("b")], store), store) == ["b@10"]
    assert asked[0] == ["a"]
    assert asked[1:] == [["b"]], "and again about what has just run"


def test_a_phase_that_another_sweep_trains_is_waited_for(store):
    held = store.phase("a").acquire()
    agenda = Watched([item("a"), item("child", needs=[("a", 10)])], store)
    assert agenda.next() is None
    assert not agenda.finished()
    assert agenda.told("elsewhere") == ["a"]
    held.release()
    assert agenda.next().key == "a@10"  # the other one gave it up unfinished
    agenda.report("a@10", {"state": "leased"})  # and a third was faster
    assert agenda.next().key == "a@10"


def test_what_another_sweep_finishes_or_fails_is_taken_over(store):
    done, bad = store.phase("done").acquire(), store.phase("bad").acquire()
    items = [item("done"), item("bad"), item("child", needs=[("done", 10)]), item("orphan", needs=[("bad", 10)])]
    agenda = Watched(items, store)
    assert agenda.next() is None
    store.phase("done").write_mark(done, 10, lambda path: {}, {})
    store.phase("bad").set_status("failed", reason="NaN", final=True)
    bad.release()
    assert agenda.next().key == "child@10"
    assert agenda.failed == {"bad": "NaN"}
    assert list(agenda.skipped) == ["orphan"]


def test_after_a_stop_nothing_starts_and_what_runs_pauses(store):
    agenda = Watched([item("a"), item("b"), item("c")], store)
    agenda.next()
    agenda.next()
    agenda.stop("signal")
    assert agenda.next() is None
    assert not agenda.finished()
    agenda.report("a@10", {"state": "paused", "step": 4})
    agenda.succeed(store, "b@10")
    assert agenda.finished()
    assert agenda.unfinished() == ["a", "c"]
    assert agenda.told("paused") == ["a"]


def test_a_crash_while_stopping_is_no_failure(store):
    agenda = Watched([item("a")], store)
    agenda.next()
    agenda.stop("signal")
    agenda.crash("a@10", "killed")
    assert agenda.finished()
    assert agenda.failed == {}
    assert agenda.unfinished() == ["a"]


def test_a_preempted_segment_goes_on_without_counting(store):
    agenda = Watched([item("a")], store, retries=0)
    for _ in range(5):
        assert agenda.next().key == "a@10"
        agenda.report("a@10", {"state": "paused", "step": 4})
    assert not agenda.finished()


def test_thousands_of_segments_are_handed_out_quickly(store, monkeypatch):
    agenda = Watched([item(f"p{n}", weight=n) for n in range(2000)], store)
    looks = []
    monkeypatch.setattr("procray.execution.agenda.complete", lambda item, store: bool(looks.append(item)))
    calls = 0

    def count(frame, event, what):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        keys = [agenda.next().key for _ in range(2000)]
    finally:
        sys.setprofile(None)
    assert keys[0] == "p1999@10"
    assert len(looks) <= 3 * 2000
    assert calls <= 100 * 2000, "none looks at all the others"


def test_what_has_no_room_waits_and_lets_others_pass(store):
    big = [replace(item(f"big{i}", weight=199.0 - i), resources={"gpu": 4.0}) for i in range(100)]
    agenda = Watched([*big, item("small", weight=1.0)], store)
    asked = []
    assert agenda.next(lambda one: asked.append(one.phase) or one.phase == "small").phase == "small"
    assert asked == ["big0", "small"], "those that need the same are one question"
    assert agenda.next(lambda one: False) is None
    assert agenda.told("start") == ["small"]
    assert not agenda.finished()
    assert [agenda.next().phase for _ in big] == [one.phase for one in big], "in the order of before"


def test_what_waits_for_room_is_taken_back_when_it_is_to_stop(store):
    agenda = Watched([item("trains"), item("waits"), item("later")], store)
    assert [agenda.next().phase, agenda.next().phase] == ["trains", "waits"]
    assert not agenda.give_up_waiting({"trains@10"}), "nobody asked to stop"
    agenda.stop("time")
    assert not agenda.give_up_waiting({"trains@10"}), "it has to save"
    agenda.report("trains@10", {"state": "paused", "step": 4})
    assert not agenda.finished()
    assert agenda.give_up_waiting(set())
    assert agenda.finished()
    assert agenda.told("paused") == ["trains", "waits"]
    assert agenda.unfinished() == ["trains", "waits", "later"]
    assert agenda.failed == {}


def test_no_answer_waits_for_a_look_at_all_that_runs_elsewhere(store, monkeypatch):
    """Two sweeps may share hundreds of phases; the scheduler asks again and gets round to all of them."""
    held = {f"p{n:02}": store.phase(f"p{n:02}").acquire() for n in range(20)}
    agenda = Watched([item(phase) for phase in held], store)
    assert agenda.next() is None
    assert len(agenda.told("elsewhere")) == 20
    looks = []
    whole = PhaseFolder.holder
    monkeypatch.setattr(PhaseFolder, "holder", lambda folder: looks.append(folder.id) or whole(folder))
    for _ in range(3):
        before = len(looks)
        assert agenda.next() is None
        assert len(looks) - before <= 8
    assert set(looks) == set(held)
    for lease in held.values():
        lease.release()
    offered = [found.phase for _ in range(25) if (found := agenda.next())]
    assert sorted(offered) == sorted(held)
    assert [one.phase for one in agenda.running()] == sorted(held)
    assert not any(agenda.state(key) is State.ELSEWHERE for key in agenda.items)


def failed(store: Store, phase: str, step: int | None) -> PhaseFolder:
    folder = store.phase(phase)
    folder.set_status("failed", reason="NaN", final=True, step=step)
    return folder


def test_a_failure_concerns_marks_at_its_step_and_after_only(store):
    """Constant schedule, broken at step 900 of 1,177; then the budget is lowered to 118 steps."""
    folder = failed(store, "warm", 900)
    agenda = Watched([item("warm", 118), item("child", needs=[("warm", 118)])], store)
    assert agenda.failed == agenda.skipped == {}
    assert agenda.next().key == "warm@118"
    held = folder.acquire()
    folder.set_status("running", until=118, attempt=held.attempt)
    folder.write_mark(held, 118, lambda path: {}, {})
    folder.set_status("done", step=118, attempt=held.attempt)
    held.release()
    agenda.report("warm@118", {"state": "done"})
    assert everything(agenda, store) == ["child@10"]
    # It is still known, and not trained into once more without being asked to.
    for until, tried in ((899, ["warm@899"]), (900, []), (1177, [])):
        later = Watched([item("warm", until)], store)
        assert ([later.next().key] if not later.finished() else []) == tried, until
        assert later.failed == ({} if tried else {"warm": "NaN (in an earlier run)"})
    assert Watched([item("warm", 1177)], store, retry_failed=True).next().key == "warm@1177"


def test_with_marks_on_both_sides_of_a_failure_the_earlier_one_is_made(store):
    failed(store, "warm", 900)
    items = [item("warm", 118), item("warm", 1177), item("early", needs=[("warm", 118)])]
    agenda = Watched([*items, item("late", needs=[("warm", 1177)])], store)
    assert everything(agenda, store) == ["warm@118", "early@10"]
    assert agenda.failed == {"warm": "NaN (in an earlier run)"}
    assert list(agenda.skipped) == ["late"]


def test_a_failure_whose_step_nobody_wrote_down_concerns_every_mark(store):
    failed(store, "warm", None)
    assert Watched([item("warm", 1)], store).failed == {"warm": "NaN (in an earlier run)"}


def test_a_failure_is_forgotten_once_it_is_trained_again_from_its_step_on(store):
    folder = failed(store, "warm", 900)
    folder.set_status("paused", step=60)
    assert Watched([item("warm", 900)], store).finished()
    folder.set_status("failed", reason="its worker died", final=False)
    assert Watched([item("warm", 100)], store).next().key == "warm@100"
    assert Watched([item("warm", 900)], store).failed == {"warm": "NaN (in an earlier run)"}
    folder.set_status("running", until=1177, attempt=2)  # as with --retry-failed
    folder.set_status("paused", step=300, attempt=2)
    assert Watched([item("warm", 1177)], store).next().key == "warm@1177"

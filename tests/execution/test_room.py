"""What fits on which nodes, now and ever."""

from __future__ import annotations

import pytest

from procray.errors import EnvironmentProblem
from procray.execution.agenda import Item
from procray.execution.room import Nodes, Room, _growth, check_feasible, slots


def item(name="a", executor="inprocess", **resources):
    wanted = {"workers": 1, "cpu": 1.0, "gpu": 0.0, **resources}
    return Item(name, name, 1, (1,), (), 1.0, wanted, executor)


def test_slots_follow_the_resources():
    machine = [{"CPU": 8.0, "GPU": 1.0}]
    assert slots([item()], machine) == 8
    assert slots([item(cpu=3.0)], machine) == 2
    assert slots([item(gpu=0.25)], machine) == 4
    assert slots([item(gpu=0.1)], machine) == 8
    assert slots([item(workers=2, cpu=2.0)], machine) == 2
    assert slots([item(cpu=99.0)], machine) == 1
    nodes = [{"CPU": 3.0}, {"CPU": 3.0}, {}]
    assert slots([item(cpu=2.0)], nodes) == 2, "what two nodes have left does not add up"
    assert slots([item(workers=2, cpu=2.0)], nodes) == 1
    assert slots([item(cpu=2.0), item()], nodes) == 6


def test_a_worker_needs_its_resources_on_one_node():
    room = Room(lambda: Nodes(({"CPU": 3.0}, {"CPU": 3.0})))
    small, big, both = item("small"), item("big", cpu=3.0), item("both", workers=2, cpu=2.0)
    assert room.fits(both, [small])
    assert not room.fits(both, [small, big])
    assert room.fits(item("last", cpu=2.0), [small, big])
    assert not room.fits(big, [item("one", cpu=2.0), item("two", cpu=2.0)]), "two processors are free, one on each"


def test_room_follows_the_cluster(monkeypatch):
    monkeypatch.setattr("procray.execution.room._LOOK_EVERY", 0.0)
    nodes = [{"CPU": 1.0}]
    room = Room(lambda: Nodes(tuple(nodes)))
    running = [item("running")]
    assert not room.fits(item(), running)
    nodes.append({"CPU": 1.0})
    assert room.fits(item(), running)
    nodes.clear()
    assert not room.fits(item(), running)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (item(gpu=4.0), "phase 'a' wants 1 worker with 4 GPUs each, but no node of here has more than 2"),
        (item(gpu=9.0), "phase 'a' wants 1 worker with 9 GPUs each, 9 in all, but here has 5"),
        (
            item(workers=2, gpu=2.0, cpu=3.0),
            "wants 2 workers with 3 processors and 2 GPUs each, but the nodes of here have room for 1 such at once",
        ),
        (item(executor="train", workers=2), "no node of here offers the resource `train_driver`"),
    ],
)
def test_what_no_node_can_take_is_refused_by_name(wanted, text):
    nodes = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 2.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 1.0}]
    with pytest.raises(EnvironmentProblem) as refused:
        check_feasible([item("good", gpu=2.0), wanted], nodes, "here")
    assert text in str(refused.value)


def test_what_an_autoscaler_may_add_counts():
    """Two of at most four nodes are there already; of the other type none, and any number may come."""
    gpu = {"CPU": 8, "GPU": 4}
    live = [{"CPU": 0.0, "train_driver": 16.0}, {"CPU": 8.0, "GPU": 4.0, "node:1": 1.0}, {"CPU": 8.0, "GPU": 4.0}]
    assert _growth(live, [(gpu, 4)]) == [{"CPU": 8.0, "GPU": 4.0}] * 2
    assert _growth(live, [(gpu, 1), ({"CPU": 2}, 0)]) == []
    assert len(_growth(live, [({"CPU": 2}, -1)])) > 100
    empty = Nodes((live[0],), tuple(_growth(live[:1], [(gpu, 2)])))
    check_feasible([item("pair", "train", workers=2, gpu=4.0)], empty.all, "the cluster")
    with pytest.raises(EnvironmentProblem, match="12 in all, but the cluster has 8"):
        check_feasible([item("three", "train", workers=3, gpu=4.0)], empty.all, "the cluster")
    assert slots([item(gpu=1.0)], empty.all) == 8


def test_no_room_is_said_once_a_minute(tmp_path, monkeypatch):
    from procray.execution.agenda import Agenda
    from procray.store.store import Store

    clock, told = [1000.0], []
    monkeypatch.setattr("procray.execution.agenda.time.monotonic", lambda: clock[0])
    agenda = Agenda([item()], Store(tmp_path), on_event=told.append)
    for _ in range(10):
        assert agenda.next(lambda one: False) is None
        agenda.no_room()
        clock[0] += 20.0
    assert [event["event"] for event in told] == ["waiting"] * 4
    assert agenda.next() is not None
    clock[0] += 100.0
    agenda.no_room()
    assert len([event for event in told if event["event"] == "waiting"]) == 4

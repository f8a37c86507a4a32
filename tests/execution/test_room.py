"""What fits on which nodes, now and ever."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from procray.errors import EnvironmentProblem
from procray.execution import growth
from procray.execution.agenda import Agenda, Item
from procray.execution.cluster_files.findings import Findings
from procray.execution.cluster_files.fit import Need, NodeType, check_fit
from procray.execution.growth import launched, types_of
from procray.execution.room import Nodes, Room, _growth, check_feasible, look, slots
from procray.store.store import Store


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


@pytest.mark.parametrize("up", [0, 1, 2, 8, 10])
def test_two_node_types_of_one_shape_grow_to_their_sum(up):
    """As in cluster/aws.yaml: 8 on the spot market, 2 on demand."""
    file = Path(__file__).parents[2] / "cluster" / "aws.yaml"
    types = [kind for kind in types_of(yaml.safe_load(file.read_text())) if kind[0].get("GPU")]
    assert [most for _, most in types] == [8, 2]
    live = [{"CPU": 4.0, "GPU": 1.0}] * up
    assert len(live) + len(_growth(live, types)) == 10


def test_what_may_come_is_read_where_the_autoscaler_of_ray_up_reads_it(tmp_path):
    """Ray's own place for it stays empty; its autoscaler is a process on the head with a file."""
    file, address = tmp_path / "ray_bootstrap_config.yaml", "10.9.8.7:6379"
    shutil.copy(Path(__file__).parents[2] / "cluster" / "aws.yaml", file)
    words = [sys.executable, "-c", "input()", f"--autoscaling-config={file}", f"--gcs-address={address}"]
    monitor = subprocess.Popen(words, stdin=subprocess.PIPE)
    try:
        found = launched(address)
        assert launched("10.9.8.7:6380") is None, "another cluster"
    finally:
        monitor.communicate(b"\n")
    more = _growth([{"CPU": 0.0, "train_driver": 16.0}], types_of(found))
    assert sum(node.get("GPU", 0.0) for node in more) == 10
    assert sum(node["CPU"] == 8 for node in more) == 4, "and the head is none of them"
    assert launched(address) is None


def test_what_may_come_is_asked_of_kubernetes(tmp_path, monkeypatch):
    """With Ray's own reader of a RayCluster; the answer of Kubernetes is the manifest of cluster/."""
    documents = list(yaml.safe_load_all((Path(__file__).parents[2] / "cluster" / "kuberay.yaml").read_text()))
    spec = documents[-1]["spec"]["rayClusterSpec"]
    cluster = {"metadata": {"name": "c", "namespace": "procray"}, "spec": spec}
    asked = []

    class Client:
        def __init__(self, namespace):
            self.namespace = namespace

        def get(self, path):
            asked.append((self.namespace, path))
            return cluster

    monkeypatch.setattr("ray.autoscaler._private.kuberay.node_provider.KubernetesHttpApiClient", Client)
    monkeypatch.setattr(growth, "_KUBERNETES", tmp_path)
    assert growth.kuberay() is None
    monkeypatch.setenv("RAY_CLUSTER_NAME", "c")
    assert growth.kuberay() is None, "a name is no Kubernetes"
    (tmp_path / "token").write_text("x")
    (tmp_path / "namespace").write_text("procray\n")
    types = types_of(growth.kuberay())
    assert asked == [("procray", "rayclusters/c")]
    assert [(kind["CPU"], kind["GPU"], most) for kind, most in types] == [(4, 1, 8)]
    spec["enableInTreeAutoscaling"] = False
    assert growth.kuberay() is None


def test_a_share_of_a_gpu_lies_on_one_gpu():
    """Ray never puts 0.6 together from two GPUs."""
    machine = [{"CPU": 8.0, "GPU": 2.0}]
    three = item("three", "train", workers=3, gpu=0.6)
    with pytest.raises(
        EnvironmentProblem, match=r"3 workers with 1 processors and 0.6 GPUs each, but .* room for 2 such"
    ):
        check_feasible([three], machine, "this machine")
    check_feasible([item("two", workers=2, gpu=0.6), item("four", workers=4, gpu=0.5)], machine, "this machine")
    room = Room(lambda: Nodes(tuple(machine)))
    share = item("share", gpu=0.6)
    assert room.fits(share, [item("one", gpu=0.6)])
    assert not room.fits(share, [item("one", gpu=0.6), item("two", gpu=0.6)]), "0.8 GPUs are left, 0.4 on each"
    assert room.fits(item("whole", gpu=1.0), [item("a", gpu=0.5), item("b", gpu=0.5)]), "the two share one"
    assert slots([share], machine) == 2
    assert check_fit_finds(three, machine)
    assert not check_fit_finds(item("two", workers=2, gpu=0.6), machine)


def check_fit_finds(one, nodes):
    """What `cluster validate` says about the same."""
    findings = Findings("f")
    types = [NodeType(f"n{number}", node, 1) for number, node in enumerate(nodes)]
    wanted = one.resources
    check_fit([Need("a", wanted["workers"], wanted["cpu"], wanted["gpu"], False)], types, None, findings)
    return findings.problems


def test_gpus_above_one_are_whole():
    with pytest.raises(EnvironmentProblem, match="above 1, GPUs are whole"):
        check_feasible([item(gpu=1.5)], [{"CPU": 8.0, "GPU": 4.0}], "here")


def test_an_elastic_group_holds_what_it_started_with():
    room = Room(lambda: Nodes(({"CPU": 4.0},)))
    elastic = item("elastic", "train", workers=4, least=1)
    assert room.fits(elastic, [item("one")])
    assert not room.fits(item("two"), [item("one"), elastic]), "it has taken the other three"
    assert room.fits(item("two"), [elastic]), "it does not grow while it runs"


def test_different_kinds_run_side_by_side():
    nodes = [{"CPU": 4.0, "GPU": 1.0}] * 8 + [{"CPU": 8.0}] * 4
    assert slots([item(gpu=1.0, cpu=4.0), item(cpu=8.0)], nodes) == 12


def test_a_phase_of_several_gpus_on_the_critical_path_does_not_wait_for_all_small_ones(tmp_path, monkeypatch):
    """In virtual time, on 8 GPUs: after a warm-up it could start, while 800 phases of one GPU are under way."""
    done, room = set(), Room(lambda: Nodes(({"CPU": 64.0, "GPU": 8.0},)))
    monkeypatch.setattr("procray.execution.agenda.complete", lambda item, store: item.key in done)
    one, four = {"workers": 1, "cpu": 1.0, "gpu": 1.0}, {"workers": 1, "cpu": 4.0, "gpu": 4.0}
    small = [Item(f"s{n:03}", f"s{n:03}", 1, (1,), (), 1.0 + n % 7 / 7, one) for n in range(800)]
    warm = Item("warm", "warm", 1, (1,), (), 1.0, one)
    agenda = Agenda([*small, warm, Item("big", "big", 1, (1,), (("warm", 1),), 40.0, four)], Store(tmp_path))
    took = {"warm@1": 1.0, "big@1": 10.0, **{found.key: found.weight for found in small}}
    now, ends, started, busy = 0.0, {}, {}, 0.0
    while not agenda.finished():
        while (found := agenda.next(room.asker([agenda.items[key] for key in ends]))) is not None:
            ends[found.key], started[found.key] = now + took[found.key], now
            busy += took[found.key] * found.resources["gpu"]
            assert sum(agenda.items[key].resources["gpu"] for key in ends) <= 8
        key = min(ends, key=ends.__getitem__)
        now = ends.pop(key)
        done.add(key)
        agenda.report(key, {"state": "done"})
    assert len(done) == 802
    assert 1.0 <= started["big@1"] <= 1.0 + 13 / 7, "room for it is there when those have ended that ran before"
    assert now <= 1.03 * busy / 8, "and little is idle for that"


def test_room_that_is_kept_is_not_kept_for_what_can_never_start():
    room = Room(lambda: Nodes(({"CPU": 8.0, "GPU": 2.0},)))
    may_start = room.asker([item("running", gpu=1.0)])
    assert not may_start(item("lost", gpu=4.0)), "its node is gone"
    assert may_start(item("small", gpu=1.0))
    may_start = room.asker([item("running", gpu=1.0)])
    assert not may_start(item("pair", gpu=2.0))
    assert not may_start(item("small", gpu=1.0))
    assert may_start(item("without", cpu=6.0)), "processors that it does not need are free"


def test_what_just_fits_is_feasible_and_a_little_more_is_not():
    machine = [{"CPU": 8.0, "GPU": 2.0}]
    check_feasible([item(cpu=8.0, gpu=2.0), item(workers=2, cpu=4.0, gpu=1.0)], machine, "here")
    check_feasible([item(workers=3, cpu=0.1)], [{"CPU": 0.3}], "here")  # 0.1 three times is a little more than 0.3
    pair = [{"CPU": 4.0}, {"CPU": 4.0, "GPU": 1.0}]
    for wanted, nodes, text in (
        (item(cpu=8.5), machine, "1 worker with 8.5 processors each, 8.5 in all, but here has 8; lower"),
        (item(cpu=4.5), pair, "1 worker with 4.5 processors each, but no node of here has more than 4; lower"),
        (item(workers=2, cpu=4.5), pair, "2 workers with 4.5 processors each, 9 in all, but here has 8; lower"),
        (item(gpu=0.5), pair[:1], "1 worker with 0.5 GPUs each, 0.5 in all, but here has 0; lower"),
        (item(), [], "1 worker with 1 processors each, 1 in all, but here has 0; lower"),
        (item(gpu=1.5), machine, "1 worker with 1.5 GPUs each; above 1, GPUs are whole"),
    ):
        with pytest.raises(EnvironmentProblem) as refused:
            check_feasible([wanted], nodes, "here")
        assert str(refused.value).startswith(f"phase 'a' wants {text}")


def test_what_nodes_have_together_but_not_each_is_told_by_what_was_asked_for():
    three = [{"CPU": 3.0}, {"CPU": 3.0}]
    with pytest.raises(EnvironmentProblem) as refused:
        check_feasible([item(workers=3, cpu=2.0)], three, "here")
    assert "3 workers with 2 processors each, but the nodes of here have room for 2 such at once; lower" in str(
        refused.value
    )
    whole = [{"CPU": 1.0, "GPU": 2.0}, {"CPU": 3.0, "GPU": 1.0}]
    with pytest.raises(EnvironmentProblem) as refused:
        check_feasible([item(workers=3, gpu=1.0)], whole, "here")
    assert "with 1 processors and 1 GPUs each, but the nodes of here have room for 2 such at once; lower" in str(
        refused.value
    )
    with pytest.raises(EnvironmentProblem) as refused:
        check_feasible([item(workers=3, gpu=0.6)], [{"CPU": 8.0, "GPU": 2.0}], "here")
    assert "room for 2 such at once (the share of a worker lies on one GPU); lower" in str(refused.value)


def test_the_first_of_those_that_ask_for_too_much_is_named():
    with pytest.raises(EnvironmentProblem, match="phase 'first' wants"):
        check_feasible([item("good"), item("first", gpu=9.0), item("second", gpu=9.0)], [{"CPU": 1.0}], "here")
    with pytest.raises(EnvironmentProblem, match="phase 'group' wants a worker group"):
        check_feasible([item("single"), item("group", "train-warm")], [{"CPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}], "here")


def test_the_cluster_is_looked_at_once_a_second(monkeypatch):
    clock, looks = [0.5], []
    monkeypatch.setattr("procray.execution.room.time.monotonic", lambda: clock[0])
    room = Room(lambda: looks.append(clock[0]) or Nodes(({"CPU": 1.0},)))
    for now in (0.5, 0.6, 1.4, 1.5, 1.6, 2.4, 2.6):
        clock[0] = now
        assert room.fits(item(), [])
    assert looks == [0.5, 1.5, 2.6]


def test_what_a_cluster_is_told_to_be():
    assert not Room(lambda: Nodes(())).many
    for nodes, many in ((Nodes(({"CPU": 1.0},)), False), (Nodes(({"CPU": 1.0},), ({"CPU": 1.0},)), True)):
        room = Room(lambda nodes=nodes: nodes)
        room.fits(item(), [])
        assert room.many is many
    assert Room(lambda: Nodes(()), lambda: 7.0).lost == 7.0
    assert Room(lambda: Nodes(())).lost < -1e9


def test_nodes_that_are_drained_take_no_work_and_dead_ones_do_not_count(monkeypatch):
    """What Ray says of a node; of a type with at most three, two that live are there, one of which is leaving."""
    gpu = {"CPU": 4.0, "GPU": 1.0}
    told = [("head", {"CPU": 2.0}, True), ("stays", gpu, True), ("leaves", gpu, True), ("dead", gpu, False)]
    nodes = [{"NodeID": name, "Resources": resources, "Alive": alive} for name, resources, alive in told]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    monkeypatch.setattr("ray._private.state.state.get_draining_nodes", lambda: {"leaves": 0})
    monkeypatch.setattr("procray.execution.room.node_types", lambda: [(gpu, 3)])
    found = look()
    assert found.live == ({"CPU": 2.0}, gpu)
    assert found.more == (gpu, gpu)
    assert found.all == found.live + found.more
    assert (found.names, found.leaving) == ({"head", "stays", "leaves"}, {"leaves"})


def test_a_node_type_without_gpus_has_the_shape_of_a_node_that_names_none():
    assert _growth([{"CPU": 8.0, "memory": 1.0}], [({"CPU": 8, "GPU": 0}, 2)]) == [{"CPU": 8.0, "GPU": 0.0}]
    assert _growth([{"CPU": 8.0}] * 3, [({"CPU": 8}, 2), ({"CPU": 8}, 2), ({"CPU": 9}, 1)]) == [
        *[{"CPU": 8.0}, {"CPU": 9.0}],
    ]


def test_large_segments_that_run_are_placed_before_small_ones():
    room = Room(lambda: Nodes(({"CPU": 4.0}, {"CPU": 3.0})))
    running = [item("one"), item("three", cpu=3.0), item("another", cpu=3.0)]
    assert not room.fits(item("more"), running), "the machines are full"
    assert slots([item(cpu=2.0), item(gpu=1.0)], [{"CPU": 8.0, "GPU": 2.0}]) == 4, "the one without a GPU is smaller"


def test_a_segment_whose_node_is_gone_counts_again_when_one_is_back(monkeypatch):
    monkeypatch.setattr("procray.execution.room._LOOK_EVERY", 0.0)
    nodes = [{"CPU": 1.0}]
    room = Room(lambda: Nodes(tuple(nodes)))
    running = [item("lost", "train", workers=2, cpu=2.0, least=1)]
    assert room.fits(item(), running)
    nodes[:] = [{"CPU": 4.0}]
    assert not room.fits(item(), running)
    assert room.fits(item(), []), "what has ended holds nothing"
    assert not room.fits(item(cpu=1.0), [item("lost", "train", workers=2, cpu=2.0, least=1)])


def test_room_is_kept_where_the_least_is_missing():
    room = Room(lambda: Nodes(({"CPU": 8.0, "GPU": 4.0}, {"CPU": 4.0, "GPU": 4.0})))
    may_start = room.asker([item("most", cpu=4.0, gpu=3.0), item("little", gpu=1.0)])
    assert not may_start(item("big", cpu=4.0, gpu=4.0)), "one GPU is missing on the first node, three on the other"
    assert not may_start(item("small", gpu=1.0)), "three are free on the first"
    assert may_start(item("without", cpu=3.0))


def test_room_is_kept_for_the_first_that_waits_also_when_others_wait_after_it():
    room = Room(lambda: Nodes(({"CPU": 8.0}, {"CPU": 2.0, "GPU": 1.0})))
    may_start = room.asker([item("gpu", gpu=1.0), item("two", cpu=2.0)])
    assert not may_start(item("big", cpu=8.0))
    assert not may_start(item("other", gpu=1.0))
    assert not may_start(item("small", cpu=2.0)), "the first node is kept, the other has one processor left"
    assert may_start(item("smaller", cpu=1.0))


def test_no_room_is_said_once_a_minute(tmp_path, monkeypatch):
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

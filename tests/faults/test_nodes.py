"""Nodes that announce their end, and nodes that just go: the sweep moves on, to the same numbers."""

from __future__ import annotations

import os
import signal
import time

import plans
import pytest
from raylets import trainer_of, wait

DRAIN_SECONDS = 600


def test_a_drained_node_is_left_at_once_and_the_numbers_stay(raylets, sweep, store, reference, same_numbers):
    plan = plans.alone(900)
    (one,) = plan.phases
    running = sweep("alone:900", store, raylets.address)
    pid = trainer_of(store, one)
    node = raylets.of(pid)
    assert node in raylets.nodes
    noticed = time.time()
    raylets.drain(node, DRAIN_SECONDS)
    paused = running.until(lambda event: event["event"] == "paused")
    saved = paused["at"] - noticed
    assert saved < DRAIN_SECONDS, "the node was not waited for; how soon is a matter of the machine"
    assert max(store.phase(one).resumes()) > 0
    assert raylets.of(trainer_of(store, one)) not in (node, None)
    assert running.result()["done"] == ["one"]
    assert running.named("retry") == [], "nothing counts as a failure"
    same_numbers(plan, store, reference(plan))
    raylets.remove(node)
    raylets.rest()
    print(f"notice to saved: {saved:.1f} s")


@pytest.mark.slow
def test_a_lost_node_costs_no_try_of_the_phase(raylets, sweep, store, reference, same_numbers):
    plan = plans.pair(2500)
    one = next(iter(plan.phases))
    running = sweep("pair:2500", store, raylets.address)
    pid = trainer_of(store, one)
    node = raylets.of(pid)
    killed = time.time()
    raylets.kill(node)
    retry = running.until(lambda event: event["event"] == "retry")
    again = wait(lambda: raylets.of(trainer_of(store, one)) not in (node, None))
    assert retry["label"] == "one"
    result = running.result()
    assert result["done"] == ["behind", "one", "two"]
    same_numbers(plan, store, reference(plan))
    raylets.rest()
    print(f"raylet killed to noticed: {retry['at'] - killed:.1f} s, to trained again: {again:.1f} s more")


@pytest.mark.slow
def test_killed_workers_are_replaced(raylets, sweep, store, reference, same_numbers):
    plan = plans.pair(2500)
    one = next(iter(plan.phases))
    running = sweep("pair:2500", store, raylets.address)
    pid = trainer_of(store, one)
    killed = time.time()
    os.kill(pid, signal.SIGKILL)
    retry = running.until(lambda event: event["event"] == "retry")
    again = wait(lambda: trainer_of(store, one) != pid)
    assert (retry["label"], retry["attempt"], retry["of"]) == ("one", 1, 2)
    assert "its worker process died" in retry["reason"]
    assert running.result()["done"] == ["behind", "one", "two"]
    same_numbers(plan, store, reference(plan))
    raylets.rest()
    print(f"worker killed to noticed: {retry['at'] - killed:.1f} s, to trained again: {again:.1f} s more")


@pytest.mark.slow
@pytest.mark.parametrize("warm", [0, 1])
@pytest.mark.parametrize("how", ["drain", "raylet", "worker", "trial"])
def test_a_group_moves_on(raylets, sweep, store, reference, how, warm):
    """Two workers on two nodes; a third node waits. The numbers are those of one process, within a tolerance."""
    plan = plans.group(1500)
    (group,) = plan.phases
    spare = raylets.add()
    running = sweep(f"group:1500:{warm}", store, raylets.address)
    pid = trainer_of(store, group)
    node, begun = raylets.of(pid), time.time()
    assert node
    before = store.phase(group).holder().attempt
    if how == "drain":
        raylets.drain(node, 90)
    elif how == "raylet":
        raylets.kill(node)
    elif how == "worker":
        os.kill(pid, signal.SIGKILL)
    else:
        (trial,) = [int(line.split()[0]) for line in raylets.of_sweeps() if "ResourceTrainable" in line]
        os.kill(trial, signal.SIGKILL)
    wanted = "paused" if how == "drain" else "retry"
    noticed = running.until(lambda event: event["event"] == wanted)
    wait(lambda: store.phase(group).holder().attempt > before, 120)
    again = time.time()
    assert running.result()["done"] == ["group"]
    assert store.phase(group).marks() == [50, 1500]
    single = reference(plans.plan(*(plans.phase("group", [50, 1500], decaying=True, every=50, **plans.SHAPE),)))
    one, two = single.phase(group).curve(), store.phase(group).curve()
    assert [row["step"] for row in one] == [row["step"] for row in two]
    assert all(a["loss"] == pytest.approx(b["loss"], abs=1e-2) for a, b in zip(one, two, strict=True))
    raylets.rest()
    if how == "drain":
        raylets.remove(node)
    while len(raylets.nodes) > 2:
        raylets.remove(spare if spare in raylets.nodes else next(iter(raylets.nodes)))
    print(f"{how}, warm {warm}: noticed in {noticed['at'] - begun:.1f} s, trained again after {again - begun:.1f} s")


@pytest.mark.slow
def test_an_elastic_group_goes_on_with_what_is_left(raylets, sweep, store, reference):
    """Two nodes, of which one is lost and none comes in its place."""
    plan = plans.elastic()
    (phase,) = plan.phases
    running = sweep("elastic", store, raylets.address)
    pid = trainer_of(store, phase, 150)
    node, lost = raylets.of(pid), time.time()
    assert node
    before = store.phase(phase).holder().attempt
    raylets.kill(node)
    noticed = running.until(lambda event: event["event"] == "retry")["at"] - lost
    wait(lambda: store.phase(phase).holder().attempt > before, 120)
    again = time.time() - lost
    assert running.result()["done"] == ["elastic"]
    sizes = [about["world_size"] for about in store.phase(phase).description()["attempts"].values()]
    assert (sizes[0], sizes[-1]) == (2, 1)
    single = reference(plans.plan(plans.phase("elastic", [50, 3000], decaying=True, every=50, **plans.SHAPE)))
    one, two = single.phase(phase).curve(), store.phase(phase).curve()
    assert [row["step"] for row in one] == [row["step"] for row in two]
    assert all(a["loss"] == pytest.approx(b["loss"], abs=1e-2) for a, b in zip(one, two, strict=True))
    raylets.rest()
    print(f"node lost to noticed: {noticed:.1f} s, to trained again with one worker: {again:.1f} s; worlds {sizes}")


@pytest.mark.slow
def test_what_fits_no_node_is_refused_and_what_may_come_is_waited_for(raylets, sweep, store):
    """Two nodes of one processor; then an autoscaler that may add one with two."""
    refused = sweep("wide", store, raylets.address).result(code=3)
    assert "wants 1 worker with 2 processors each, but no node of the cluster at" in refused["reason"]
    assert store.phases() == []
    types = '{"nodeGroupConfigs": [{"name": "wide", "resources": {"CPU": 2}, "maxCount": 1}]}'
    raylets.ask("put", key="__autoscaler_cluster_config", value=types)
    try:
        running = sweep("wide", store, raylets.address)
        grows = running.until(lambda event: event.get("state") == "grows")
        assert "but no node of the cluster so far has more than 1" in grows["reason"]
        time.sleep(3)
        wide = raylets.add(cpus=2)
        assert running.result()["done"] == ["wide"]
    finally:
        raylets.ask("put", key="__autoscaler_cluster_config", value="{}")
    raylets.rest()
    raylets.remove(wide)


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["wide", "wide_group:0", "wide_group:1"])
def test_what_waits_for_nodes_that_never_come_obeys_its_time(raylets, sweep, store, plan):
    """An autoscaler may add two nodes and adds none: neither Tune nor Train looks at the clock while they wait."""
    types = '{"nodeGroupConfigs": [{"name": "wide", "resources": {"CPU": 2}, "maxCount": 2}]}'
    raylets.ask("put", key="__autoscaler_cluster_config", value=types)
    try:
        running = sweep(plan, store, raylets.address, max_hours=25 / 3600)
        began = running.until(lambda event: event["event"] == "start")["at"]
        stopped = running.until(lambda event: event["event"] == "stopping")["at"]
        result = running.result()
    finally:
        raylets.ask("put", key="__autoscaler_cluster_config", value="{}")
    assert stopped - began > 5, "it was waiting"
    assert result["out_of_time"]
    assert (result["unfinished"], result["failed"]) == (["wide"], {})
    assert result["at"] - stopped < 20
    raylets.rest()
    print(f"{plan}: {result['at'] - stopped:.1f} s from the end of its time to the end of the command")


@pytest.mark.slow
@pytest.mark.parametrize("warm", [0, 1])
def test_the_register_of_the_groups_may_be_killed(raylets, sweep, store, warm):
    """It knows what a killed trial leaves behind: it is killed in mid-training, and then the trial is."""
    running = sweep(f"group:1500:{warm}", store, raylets.address)
    (phase,) = [event["phase"] for event in [running.until(lambda event: event["event"] == "start")]]
    trainer_of(store, phase, 180.0)
    (register,) = registers(raylets)
    os.kill(register, signal.SIGKILL)
    wait(lambda: registers(raylets) not in ([], [register]))
    trial = next(int(line.split()[0]) for line in raylets.of_sweeps() if "ResourceTrainable" in line)
    os.kill(trial, signal.SIGKILL)
    assert running.result()["done"] == ["group"]
    assert len(running.named("retry")) == 1
    raylets.rest()


def registers(raylets) -> list[int]:
    return [int(line.split()[0]) for line in raylets.of_sweeps() if "Register" in line]

"""Ray's head dies. A local Ray is replaced; of a cluster it is said within a minute, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import time

import plans
import psutil
import pytest
from raylets import Raylets, trainer_of, wait

pytestmark = pytest.mark.slow


def daemons(pid: int) -> dict[str, int]:
    names = {"gcs_server", "raylet"}
    return {child.name(): child.pid for child in psutil.Process(pid).children() if child.name() in names}


def gone(processes: list[psutil.Process], seconds: float = 20) -> list[psutil.Process]:
    """Which of them still run after so long."""
    psutil.wait_procs(processes, timeout=seconds)
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("daemon", ["gcs_server", "raylet"])
def test_a_local_ray_that_dies_is_replaced(sweep, store, reference, same_numbers, daemon):
    plan = plans.pair(2500)
    one = next(iter(plan.phases))
    running = sweep("pair:2500", store)
    pid = trainer_of(store, one)
    family = psutil.Process(running.process.pid).children(recursive=True)
    killed = time.time()
    os.kill(daemons(running.process.pid)[daemon], signal.SIGKILL)
    # Where the loop waits inside of Ray at this moment, the command is replaced instead.
    lost = running.until(lambda event: event["event"] == "stuck" or event.get("state") == "lost")
    assert f"a daemon of the local Ray died ({daemon}" in lost["reason"]
    wait(lambda: trainer_of(store, one) != pid)
    again = time.time()
    assert gone(family) == []
    assert running.result()["done"] == ["behind", "one", "two"]
    assert running.named("retry") == []
    same_numbers(plan, store, reference(plan))
    print(f"{daemon} killed to noticed: {lost['at'] - killed:.1f} s, to trained again: {again - killed:.1f} s, {lost}")


def test_a_local_ray_is_replaced_only_a_few_times(sweep, store):
    running = sweep("pair:60000", store)
    family = []
    for time_lost in range(1, 5):
        wait(lambda: daemons(running.process.pid).get("raylet"))
        wait(lambda n=time_lost: len(running.named("ray", state="ready")) == n)
        time.sleep(3)
        family += psutil.Process(running.process.pid).children(recursive=True)
        os.kill(daemons(running.process.pid)["gcs_server"], signal.SIGKILL)
    last = running.result(code=3)
    assert (last["event"], last["kind"]) == ("error", "RayLost")
    assert "a daemon of the local Ray died" in last["reason"]
    assert len(running.named("ray", state="lost")) == 3
    assert gone(family) == []


def test_the_head_of_a_cluster_is_waited_for_and_then_given_up(sweep, store, reference, same_numbers):
    plan = plans.pair(60000)
    one = next(iter(plan.phases))
    raylets = Raylets()
    try:
        running = sweep("pair:60000", store, raylets.address, RAY_gcs_rpc_server_reconnect_timeout_s="30")
        trainer_of(store, one)
        os.kill(raylets.gcs, signal.SIGSTOP)  # it only hangs, and comes back
        silent = running.until(lambda event: event["event"] == "ray" and event["state"] == "silent")
        assert silent["seconds"] == 20
        os.kill(raylets.gcs, signal.SIGCONT)
        running.until(lambda event: event["event"] == "ray" and event["state"] == "answers")
        assert store.phase(one).status()["state"] == "running"
        killed = time.time()
        os.kill(raylets.gcs, signal.SIGKILL)
        last = running.result(code=3, seconds=60)
        told = [event for event in running.named("ray", state="silent") if event["at"] > killed]
        assert last["event"] in ("error", "stuck")
        assert "has not answered for 20 s" in last["reason"]
        noticed, over = told[0]["at"] - killed, last["at"] - killed
        wait(lambda: not any(store.phase(phase).status()["state"] == "running" for phase in store.phases()))
    finally:
        raylets.end()
    print(f"head killed to noticed: {noticed:.1f} s, to given up: {over:.1f} s of Ray's 30; ended as '{last['event']}'")

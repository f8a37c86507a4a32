"""Sweeps whose store is a bucket: one that fails on and off, and nodes that share nothing but the bucket."""

from __future__ import annotations

import os
import random
import time

import pytest
from plans import pair
from raylets import Raylets, trainer_of, wait

from procray.store import phase_copy
from procray.store.store import Store


def test_a_sweep_on_a_bucket_gives_the_numbers_of_one_in_a_folder(local_ray, bucket, listen, reference, same_numbers):
    small = pair(100)
    result, heard = listen(small, Store(bucket))
    assert sorted(result.done) == ["behind", "one", "two"]
    assert heard.labels("retry") == []
    same_numbers(small, Store(bucket), reference(small))


@pytest.mark.slow
def test_a_bucket_that_fails_on_and_off_and_a_killed_driver_cost_nothing(
    faulty, bucket, sweep, reference, same_numbers
):
    dice, small = random.Random(7), pair(300)
    outage = {"until": 0.0}

    def decide(method: str, path: str):
        if time.monotonic() < outage["until"]:
            return "drop"
        return dice.choices([None, "503", "lose", "drop", 0.1], [80, 6, 3, 3, 8])[0]

    faulty.decide = decide
    store = Store(bucket)
    one = next(phase.id for phase in small.phases.values() if phase.label == "one")
    first = sweep("pair:300", store)
    trainer_of(store, one)
    first.process.kill()
    first.process.wait()
    second = sweep("pair:300", store)
    second.until(lambda event: event["event"] == "start")
    outage["until"] = time.monotonic() + 8.0  # longer than one request is willing to wait
    result = second.result()
    assert result["done"] == ["behind", "one", "two"]
    assert len(second.named("retry")) <= 2
    fresh = Store(bucket)
    same_numbers(small, fresh, reference(small))
    assert all(fresh.phase(phase).holder().released for phase in small.phases)


def newest(store: Store, phase: str) -> int:
    store.refresh([phase])
    return store.phase(phase).holder().attempt


@pytest.mark.slow
def test_nodes_that_share_only_the_bucket_give_the_same_numbers(
    bucket, sweep, reference, same_numbers, tmp_path, monkeypatch
):
    monkeypatch.setattr(phase_copy, "FRESH", 0.2)  # this process looks closely; the nodes do as ever
    small, store = pair(12000), Store(bucket)
    one = next(phase.id for phase in small.phases.values() if phase.label == "one")
    cluster = Raylets(nodes=0)
    try:
        for number in range(2):
            cluster.add(env={**os.environ, "PROCRAY_CACHE": str(tmp_path / f"node {number}")})
        running = sweep("pair:12000", store, cluster.address)
        node = cluster.of(trainer_of(store, one))
        assert node is not None
        before = newest(store, one)
        cluster.kill(node)
        cluster.add(env={**os.environ, "PROCRAY_CACHE": str(tmp_path / "node 2")})
        wait(lambda: newest(store, one) > before)
        assert running.result()["done"] == ["behind", "one", "two"]
        cluster.rest()
    finally:
        cluster.end()
    same_numbers(small, Store(bucket), reference(small))
    used = [path.name for path in tmp_path.glob("node */stores/*/phases") for path in [path.parents[2]]]
    assert len(used) >= 2, "the phases ran on several nodes, each with copies of its own"

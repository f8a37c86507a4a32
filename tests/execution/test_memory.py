"""A worker that is killed, by anybody or by the memory monitor of its node: it dies alone, and its reason is told."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest
from small_plans import phase, plan

from procray.store.store import Store

# As Ray 2.60 words it, without its middle.
TEXT = """\
1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 127.0.0.1, ID: e7d259c8) was \
22.97GB used / 23.54GB limit (0.976)
OOM kill reason: Memory usage 24663667328B exceeded threshold of 24012684910B (95.0% of 25276510208B limit)
Top 10 memory users: PID\tMEM(GB)\tCOMMAND
24607\t20.30\tray::ResourceTrainable.train
Refer to the documentation on how to address the out of memory issue: https://docs.ray.io/debug-memory.html."""
REASON = "its node ran low on memory (22.97 of 23.54 GB were used): Ray's memory monitor killed its worker process"


def kill_at(folder, *steps):
    """Kills what trains the phase, once for each step: as soon as a new attempt has its mark there."""
    for attempt, step in enumerate(steps, 1):
        until = time.monotonic() + 600
        while not (folder.exists_mark(step) and folder.holder().attempt == attempt):
            assert time.monotonic() < until
            time.sleep(0.01)
        os.kill(folder.holder().process["pid"], signal.SIGKILL)


def test_whoever_kills_a_worker_it_costs_a_try_of_its_phase_and_nothing_else(
    local_ray, store, listen, reference, same_numbers, monkeypatch
):
    """First anybody, then the memory monitor."""
    import ray
    from ray.air.execution._internal import event_manager
    from ray.exceptions import OutOfMemoryError, RayActorError

    slow = phase("slow", [50, 150, 400], decaying=True, width=32, layers=2, batch=16)
    killer = threading.Thread(target=kill_at, args=(Store(store.address).phase(slow.id), 50, 150), daemon=True)
    heard = []

    def get(future):
        try:
            return ray.get(future)
        except RayActorError as error:
            if any(
                event["event"] == "retry" for event in heard
            ):  # what the raylet would have said, had it been the one
                raise OutOfMemoryError(TEXT) from error
            raise

    monkeypatch.setattr(event_manager, "ray", SimpleNamespace(get=get, wait=ray.wait))
    killer.start()
    result, _ = listen(plan(slow), store, heard.append)
    assert result.done == ["slow"]
    retries = [event for event in heard if event["event"] == "retry"]
    assert [event["attempt"] for event in retries] == [1, 2]
    assert "its worker process died" in retries[0]["reason"]
    assert retries[1]["reason"] == REASON
    assert store.phase(slow.id).holder().attempt == 3
    same_numbers(plan(slow), store, reference(plan(slow)))


def pulse():
    from procray.execution.tuning import _Pulse  # imports Ray, which must not be before it is configured

    return _Pulse(lambda: None, lambda: None)


def trial(tmp_path, text):
    file = tmp_path / "error.txt"
    file.write_text(f"Failure # 1 (occurred at 2026-11-27_20-15-09)\n{text}\n")
    return SimpleNamespace(trial_id="one", error_file=str(file))


@pytest.mark.parametrize("begun", [True, False])
def test_the_reason_is_known_though_the_process_never_started(tmp_path, begun):
    seen = pulse()
    seen.on_step_begin(0, [SimpleNamespace(trial_id="other", error_file=None), trial(tmp_path, TEXT)])
    if begun:
        seen.on_trial_start(0, [], trial(tmp_path, TEXT))
    death = seen.why("one")
    assert (death.kind, death.reason) == ("gone", REASON)


def test_of_a_group_it_is_told_who_was_killed_and_not_who_missed_it(tmp_path):
    from ray.exceptions import OutOfMemoryError
    from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
    from ray.train.v2.api.exceptions import WorkerGroupError

    from procray.execution.train import broken_group

    failures = {
        0: RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:31283"),
        1: WorkerHealthCheckFailedError("A worker health check failed.", failure=OutOfMemoryError(TEXT)),
    }
    job = {"store": str(tmp_path / "store"), "phase": "0123456789abcdef"}
    with pytest.raises(RuntimeError) as raised:
        broken_group(job, WorkerGroupError("two workers failed", failures))
    seen = pulse()
    seen.on_step_begin(0, [trial(tmp_path, f"ray.exceptions.RayTaskError(RuntimeError)\nRuntimeError: {raised.value}")])
    assert seen.why("one").reason == REASON


def test_a_gpu_without_memory_is_not_the_monitor_of_a_node(tmp_path):
    seen = pulse()
    text = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    seen.on_step_begin(0, [trial(tmp_path, text)])
    assert seen.why("one").reason == text

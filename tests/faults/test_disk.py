"""A full disk stops the sweep with a clear word; nothing is lost or half visible, and no tries are used up."""

from __future__ import annotations

import os
import subprocess
import time

import plans
import pytest
from raylets import trainer_of

from procray.execution.disk import disk_full
from procray.store.store import Store


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a file system of its own cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path):
    with open(path, "wb", buffering=0) as file:
        while True:
            try:
                file.write(b"0" * 4096)
            except OSError:
                return


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["pair:2500", "group:1500", "group:1500:1"])
def test_a_full_disk_stops_the_sweep_and_room_lets_it_go_on(small_disk, sweep, raylets, reference, same_numbers, plan):
    small, store = plans.find(plan), Store(small_disk / "store")
    address = raylets.address if small.name == "group" else None
    running = sweep(plan, store, address)
    trainer_of(store, next(iter(small.phases)))
    fill(small_disk / "ballast")
    filled = time.time()
    last = running.result(code=3)
    assert (last["event"], last["kind"]) == ("error", "Stopped")
    assert "the disk of the store is full: 0 of 6 MB are free in" in last["reason"]
    assert running.named("retry") == running.named("failed") == []
    for phase in map(store.phase, store.phases()):
        assert all(phase.mark(step) for step in phase.marks())
        assert not phase.resumes() or phase.resume()
        assert phase.curve() == sorted(phase.curve(), key=lambda row: row["step"])
        assert phase.status()["state"] in ("paused", "waiting", "done")
    os.unlink(small_disk / "ballast")
    again = sweep(plan, store, address)
    again.result()
    if small.name == "pair":
        same_numbers(small, store, reference(small))
    print(f"{plan}: full to the end of the command: {last['at'] - filled:.1f} s")


def test_a_full_disk_is_known_by_number_and_by_text():
    wrapped = RuntimeError("the group failed")
    wrapped.__cause__ = OSError(28, "No space left on device")
    assert disk_full(wrapped)
    assert disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not disk_full(OSError(5, "Input/output error"))
    assert not disk_full(None)

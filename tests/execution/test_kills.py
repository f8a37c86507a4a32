"""The command itself is killed and interrupted: the same command goes on at once, to the same bits."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from small_plans import kill_plan

from procray.store.phase import PhaseFolder
from procray.store.store import Store


class Command:
    """The sweep as a process of its own group, so that Ctrl-C reaches what a terminal would reach."""

    def __init__(self, store: Store):
        places = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "sweep_script.py"), str(store.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def until(self, condition) -> dict:
        event = None
        for line in self.process.stdout:
            event = json.loads(line)  # anything but our events on stdout fails here
            if condition(event):
                return event
        said = self.process.communicate()
        raise AssertionError(f"the command ended early with {self.process.returncode}, {event}: {said}")

    def until_mark(self, folder: PhaseFolder, step: int) -> None:
        """Looks at the store itself: on a quick machine a phase may end before the next event tells of it."""
        while not folder.exists_mark(step):
            assert self.process.poll() is None, (self.process.returncode, self.process.communicate())
            time.sleep(0.01)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def end(processes: list[psutil.Process]) -> None:
    """Only what this test started."""
    for process in processes:
        if process.is_running():
            process.kill()


def test_killed_and_interrupted_it_ends_with_the_same_bits(local_ray, tmp_path, listen, reference, same_numbers):
    small, store = kill_plan(), Store(tmp_path / "store")
    by_label = {phase.label: store.phase(phase.id) for phase in small.phases.values()}

    command = Command(store)
    command.until_mark(by_label["warm"], 50)
    family = command.family()
    trainers = [folder.holder().process["pid"] for folder in by_label.values() if folder.status()["state"] == "running"]
    assert trainers
    orphans = [process for process in family if process.pid in trainers]
    assert len(orphans) == len(trainers)
    command.process.kill()
    command.process.wait()

    second = Command(store)  # at once: dead workers hold nothing
    try:
        second.until(lambda event: event["event"] == "done")
        until = time.monotonic() + 600
        while any(lives(orphan) for orphan in orphans):  # nobody may fetch what is left of one that has ended
            assert time.monotonic() < until, orphans
            time.sleep(0.05)
        second.until_mark(by_label["tail"], 50)
        os.killpg(second.process.pid, signal.SIGINT)
        result = second.until(lambda event: event["event"] == "result")
        assert second.process.wait(timeout=600) == 130
        assert result["interrupted"]
        assert "tail" in result["unfinished"]
        assert by_label["tail"].status()["state"] == "paused"
        assert second.process.stderr.read() == ""
    finally:
        end(family)
    result, _ = listen(small, store)
    assert sorted(result.done) == ["baseline", "tail", "warm"]
    same_numbers(small, store, reference(small))
    assert not list((store.path / "sweeps/killed@test").glob(".run-*"))

"""Handles on a cluster of raylets and on a running sweep, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from procray.store.store import Store

HERE = Path(__file__).parent
# Of Ray's processes those that belong to a sweep, by the names that Ray gives them.
OF_A_SWEEP = re.compile(r"ResourceTrainable|RayTrainWorker|TrainController|Mailbox|Register|Synchronization")


def environment() -> dict[str, str]:
    """Of a process of these tests: what another Ray in this process has set is left out."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class Raylets:
    """A cluster whose head runs no work, and nodes of one processor each."""

    def __init__(self, nodes: int = 2):
        self._host = subprocess.Popen(
            [sys.executable, str(HERE / "cluster_host.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(),
            start_new_session=True,
        )
        head = self.ask("head")
        self.address = str(head["address"])
        self.gcs, self.head = int(head["gcs_server"]), int(head["raylet"])
        self.nodes: dict[str, int] = {}  # the pid of each raylet, by node
        for _ in range(nodes):
            self.add()

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        assert self._host.stdin is not None
        assert self._host.stdout is not None
        self._host.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self._host.stdin.flush()
        answer = json.loads(self._host.stdout.readline())
        assert "error" not in answer, answer
        return answer

    def add(self, env: dict[str, str] | None = None, **resources: float) -> str:
        """Starts a node; `env` are variables of its processes alone."""
        node = self.ask("add", env=env, **resources)
        self.nodes[node["id"]] = node["pid"]
        return str(node["id"])

    def kill(self, node: str) -> None:
        """Kills a raylet and all below it, as when a machine vanishes."""
        raylet = psutil.Process(self.nodes.pop(node))
        for process in [raylet, *raylet.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def remove(self, node: str) -> None:
        self.nodes.pop(node)
        self.ask("remove", node=node)

    def drain(self, node: str, seconds: float) -> None:
        assert self.ask("drain", node=node, seconds=seconds)["accepted"]

    def of(self, pid: int) -> str | None:
        """The node that a process runs on; None when the process or the node is gone."""
        with contextlib.suppress(psutil.Error):
            above = {parent.pid for parent in psutil.Process(pid).parents()}
            return next((node for node, raylet in self.nodes.items() if raylet in above), None)
        return None

    def rest(self, seconds: float = 600.0) -> None:
        """Waits until nothing of a sweep is left: processes, placement groups, resources.

        Raises:
            AssertionError: something stays.
        """
        until = time.monotonic() + seconds
        while True:
            left, processes = self.ask("look"), self.of_sweeps()
            busy = [name for name in ("CPU", "train_driver") if left["total"].get(name) != left["free"].get(name)]
            if not left["groups"] and not processes and not busy:
                return
            assert time.monotonic() < until, (left, processes)
            time.sleep(0.3)

    def of_sweeps(self) -> list[str]:
        """The processes below the raylets that belong to a sweep."""
        found = []
        for raylet in (self.head, *self.nodes.values()):
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(raylet).children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        title = " ".join(child.cmdline())
                        if OF_A_SWEEP.search(title):
                            found.append(f"{child.pid} {title}")
        return found

    def end(self) -> None:
        below = []
        with contextlib.suppress(psutil.Error):
            below = psutil.Process(self._host.pid).children(recursive=True)
        assert self._host.stdin is not None
        self._host.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._host.wait(600)
        for process in [*below, psutil.Process(self._host.pid)] if self._host.poll() is None else below:
            with contextlib.suppress(psutil.Error):
                process.kill()


class Sweep:
    """A running driver.py; keeps its events with the time at which they were sent."""

    def __init__(
        self, plan: str, store: Store, address: str | None = None, max_hours: float | None = None, **variables: str
    ):
        more = ["--address", address] if address else []
        more += ["--max-hours", str(max_hours)] if max_hours else []
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "driver.py"), plan, store.address, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment(), **variables},
            start_new_session=True,
        )
        self.events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.events.append(json.loads(line))  # anything else on stdout ends the thread, and the test
                self._changed.notify_all()

    def until(self, condition: Callable[[dict[str, Any]], Any], seconds: float = 600.0) -> dict[str, Any]:
        """The first event, from the beginning on, for which the condition holds."""
        deadline, seen = time.monotonic() + seconds, 0
        while True:
            with self._changed:
                while seen == len(self.events):
                    over = not self._reader.is_alive() or time.monotonic() > deadline
                    assert not over, (self.process.poll(), [e for e in self.events if e["event"] != "progress"])
                    self._changed.wait(0.2)
                event = self.events[seen]
                seen += 1
            if condition(event):
                return event

    def named(self, name: str, **facts: Any) -> list[dict[str, Any]]:
        wanted = {"event": name, **facts}
        return [event for event in list(self.events) if wanted.items() <= event.items()]

    def result(self, code: int = 0, seconds: float = 600.0) -> dict[str, Any]:
        """Waits for the end; its last event."""
        found = self.process.wait(seconds)
        self._reader.join(5)
        assert self.process.stderr is not None
        assert found == code, (found, self.events[-5:], self.process.stderr.read()[-3000:])
        return self.events[-1]

    def end(self) -> None:
        """Kills the driver and what it has started."""
        below = []
        with contextlib.suppress(psutil.Error):
            below = psutil.Process(self.process.pid).children(recursive=True)
        for process in below:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def trainer_of(store: Store, phase: str, seconds: float = 600.0) -> int:
    """The process that trains a phase now, once its first mark is there."""
    folder, until = store.phase(phase), time.monotonic() + seconds
    while True:
        holder = folder.holder()
        if folder.marks() and holder is not None and not holder.released and holder.alive():
            return int(holder.process["pid"])
        assert time.monotonic() < until, folder.status()
        time.sleep(0.05)


def wait(condition: Callable[[], Any], seconds: float = 600.0) -> float:
    """Seconds until the condition holds."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + seconds, condition
        time.sleep(0.02)
    return time.monotonic() - started

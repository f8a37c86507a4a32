"""Kills whatever a sweep stands on, every few seconds, and looks whether anything is lost.

A cluster of four raylets on this machine, of which the head trains nothing; the sweep runs with `--address`. Whenever
the command is gone, the same command is started again. Afterwards every mark and every curve must be that of an
undisturbed run, bit for bit. Prints a table of the faults survived. `make chaos` runs it for ten minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "execution"))
sys.path.insert(0, str(Path(__file__).parents[2]))

import plans
from comparing import compare
from raylets import Raylets, Sweep

from procray.store.store import Store

NOTICE = 15.0  # seconds that a drained node has left
WITHIN = 90.0  # seconds in which everything must have recovered


@dataclass
class Fault:
    kind: str
    at: float = field(default_factory=time.time)
    detected: float | None = None  # seconds until the sweep says so
    recovered: float | None = None  # seconds until the same phase is trained on by somebody else, or is done


class Chaos:
    def __init__(self, seed: int, nodes: int):
        self.dice = random.Random(seed)
        self.cluster = Raylets(nodes)
        self.size = nodes
        self.faults: list[Fault] = []
        self.running: Sweep | None = None
        self._lock = threading.Lock()  # around the cluster, whose host answers one question at a time
        self._threads: list[threading.Thread] = []

    # -- faults --------------------------------------------------------------------------------------

    def victim(self, plan: Any, store: Store) -> tuple[str, int, int] | None:
        """A phase that runs, its attempt and its process."""
        found = []
        for phase in plan.phases:
            holder = store.phase(phase).holder()
            if holder is not None and not holder.released and holder.alive():
                found.append((phase, holder.attempt, int(holder.process["pid"])))
        return self.dice.choice(found) if found else None

    def strike(self, plan: Any, store: Store) -> None:
        """One fault of a random kind at something that works."""
        struck = self.victim(plan, store)
        if struck is None or self.running is None:
            return
        phase, attempt, pid = struck
        node = self.cluster.of(pid)
        kinds = ["worker killed", "worker killed", "command killed", "command terminated"]
        if node is not None and len(self.cluster.nodes) > 1:
            kinds += ["node lost", "raylet killed", "node drained"]
        fault = Fault(self.dice.choice(kinds))
        label = plan.phases[phase].label
        match fault.kind:
            case "worker killed":
                self._kill(pid)
            case "command killed":
                self._kill(self.running.process.pid)
            case "command terminated":
                self.running.process.send_signal(signal.SIGTERM)
            case "node lost":
                with self._lock:
                    self.cluster.kill(str(node))
                self._later(self.dice.uniform(3, 10), self.replace)
            case "raylet killed":
                self._kill(self.cluster.nodes.pop(str(node)))
                self._later(self.dice.uniform(3, 10), self.replace)
            case "node drained":
                with self._lock:
                    self.cluster.drain(str(node), NOTICE)
                self._later(NOTICE, lambda: self.take(str(node)))
        self.faults.append(fault)
        sweep = self.running
        self._later(0.0, lambda: self.observe(fault, sweep, label, store, phase, attempt))

    def observe(self, fault: Fault, sweep: Sweep, label: str, store: Store, phase: str, attempt: int) -> None:
        """Measures how a fault is got over."""
        folder, until = store.phase(phase), fault.at + WITHIN
        while time.time() < until and fault.recovered is None:
            told = [event for name in ("retry", "paused") for event in sweep.named(name, label=label)]
            if fault.detected is None:
                fault.detected = next((event["at"] - fault.at for event in told if event["at"] >= fault.at), None)
            with contextlib.suppress(Exception):  # files are replaced while they are read
                holder = folder.holder()
                done = folder.status()["state"] in ("done", "waiting")
                if done or (holder is not None and holder.attempt > attempt):
                    fault.recovered = time.time() - fault.at
            time.sleep(0.1)

    def replace(self) -> None:
        with self._lock:
            if len(self.cluster.nodes) < self.size:
                self.cluster.add()

    def take(self, node: str) -> None:
        with self._lock:
            if node in self.cluster.nodes:
                self.cluster.remove(node)
        self.replace()

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, what)
        timer.daemon = True
        timer.start()
        self._threads.append(timer)

    # -- the sweep -----------------------------------------------------------------------------------

    def survive(self, text: str, store: Store, until: float, between: tuple[float, float]) -> int:
        """Runs a sweep to its end and disturbs it until then; returns how often the command was started."""
        plan, started = plans.find(text), 0
        struck = time.monotonic() + self.dice.uniform(*between)
        while True:
            self.running = Sweep(text, store, self.cluster.address)
            started += 1
            while self.running.process.poll() is None:
                if time.monotonic() > struck and time.monotonic() < until:
                    self.strike(plan, store)
                    struck = time.monotonic() + self.dice.uniform(*between)
                time.sleep(0.1)
            code = self.running.process.returncode
            self.running.end()
            if code == 0:
                return started
            if code not in (-signal.SIGKILL, 128 + signal.SIGTERM, -signal.SIGTERM, 1):
                assert self.running.process.stderr is not None
                raise AssertionError((code, self.running.events[-3:], self.running.process.stderr.read()[-3000:]))
            if code == 1:  # a phase failed, or Ray's own handler took the signal while it was starting
                print(f"the command ended with 1: {self.running.named('failed')}", flush=True)

    def end(self) -> None:
        for thread in self._threads:
            thread.join(WITHIN)
        self.cluster.end()


def table(faults: list[Fault]) -> str:
    lines = [f"{'fault':20} {'count':>5}  {'detected in (median, most)':>27}  {'recovered in (median, most)':>28}"]
    for kind in sorted({fault.kind for fault in faults}):
        these = [fault for fault in faults if fault.kind == kind]
        row = [f"{kind:20} {len(these):5}"]
        for values, width in (
            ([fault.detected for fault in these if fault.detected is not None], 27),
            ([fault.recovered for fault in these if fault.recovered is not None], 28),
        ):
            text = f"{statistics.median(values):.1f} s, {max(values):.1f} s" if values else "-"
            row.append(f"{text:>{width}}")
        lines.append("  ".join(row))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="for so long something is killed")
    parser.add_argument("--seed", type=int, default=0, help="of what is killed and when")
    parser.add_argument("--between", type=float, nargs=2, default=(2.0, 6.0), help="seconds between two faults")
    parser.add_argument("--nodes", type=int, default=3, help="beside the head, of one processor each")
    parser.add_argument("--chains", type=int, default=6, help="of two phases each, in one round")
    parser.add_argument("--steps", type=int, default=1500, help="of a phase")
    parser.add_argument("--sweep", help="a sweep file, at its laptop scale, in place of these")
    chosen = parser.parse_args()
    begun = time.monotonic()
    chaos, until, rounds, starts = Chaos(chosen.seed, chosen.nodes), begun + chosen.seconds, 0, 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        try:
            while rounds == 0 or time.monotonic() < until:
                text = chosen.sweep or f"many:{chosen.chains}:{chosen.steps}:{rounds}"
                plan = plans.find(text)
                disturbed, quiet = (Store(Path(folder) / f"{name}-{rounds}") for name in ("disturbed", "quiet"))
                starts += chaos.survive(text, disturbed, until, tuple(chosen.between))
                undisturbed = Sweep(text, quiet)
                undisturbed.result(seconds=3600)
                compare(plan, disturbed, quiet)
                for phase in plan.phases:
                    holder, status = disturbed.phase(phase).holder(), disturbed.phase(phase).status()
                    assert holder is not None
                    assert holder.released or not holder.alive(), f"{phase} is still held"
                    assert status["state"] == "done", (phase, status)
                rounds += 1
                faults = len(chaos.faults)
                print(f"round {rounds}: {len(plan.phases)} phases equal bit for bit after {faults} faults", flush=True)
            while any(fault.recovered is None and time.time() < fault.at + WITHIN for fault in chaos.faults):
                time.sleep(0.5)
            chaos.cluster.rest()
        finally:
            chaos.end()
    missed = [fault for fault in chaos.faults if fault.recovered is None]
    print(table(chaos.faults))
    print(
        f"{len(chaos.faults)} faults in {(time.monotonic() - begun) / 60:.1f} minutes (seed {chosen.seed}), "
        f"{rounds} sweeps, {starts} starts of the command; nothing lost, same numbers bit for bit, nothing left behind"
    )
    assert not missed, missed
    return 0


if __name__ == "__main__":
    sys.exit(main())

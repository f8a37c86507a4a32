"""Does one tiny phase, compiled and captured by itself, come close to a pack of many? Needs a CUDA device.

    python benchmarks/captured.py               # five minutes on one H200, Inductor's cache cold
    python benchmarks/captured.py --seconds 200 # begins nothing new after so long

Phases of 2x4x16 on HAYSTACK, milliseconds of a step: one phase as it is, captured, compiled and captured; packs of 8
and 32; and 2, 4 and 8 processes that share the device, each with one captured phase. Every row is printed at once.
Where procray is not installed, set PYTHONPATH to the checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from packs import begin

STEPS = 40  # between two readings of the device; the loop keeps at most 50 losses there
ROUNDS = 3


def measure(members: int, batch: int, compile: bool, capture: bool, meet: Path | None = None) -> dict[str, Any]:
    """Milliseconds of a step of all members.

    Args:
        meet: a folder in which every process leaves a file when it is warm, and waits for one called `go`.
    """
    import torch

    from procray.training import runtime as rt
    from procray.training.pack import Together

    with tempfile.TemporaryDirectory() as folder:
        runs = begin("cuda:0", members, batch, folder)
        rt.set_process(runs[0].runtime)
        together = Together(runs, compile, capture) if compile or capture or members > 1 else None

        def train(steps: int) -> float:
            torch.cuda.synchronize()
            began = time.perf_counter()
            for _ in range(steps):
                if together is None:
                    runs[0].update()
                else:
                    together.update(set())
            for run in runs:
                run.drain()
            torch.cuda.synchronize()
            return time.perf_counter() - began

        first = train(5)
        if meet is not None:
            (meet / str(os.getpid())).touch()
            while not (meet / "go").exists():
                time.sleep(0.01)
        times = [1000 * train(STEPS) / STEPS for _ in range(ROUNDS)]
        batch_ms = train_batch_ms(runs[0])
    step = statistics.median(times)
    return {
        "phases": members, "batch": batch, "compiled": compile, "captured": capture, "step_ms": round(step, 3),
        "each_ms": round(step / members, 3), "lowest": round(min(times), 3), "highest": round(max(times), 3),
        "making_a_batch_ms": round(batch_ms, 3), "first_five_steps_s": round(first, 1),
    }  # fmt: skip


def train_batch_ms(run: Any) -> float:
    """Milliseconds that the host needs to make one batch."""
    began = time.perf_counter()
    for index in range(20):
        run.source.batch(index, run.state.length)
    return 1000 * (time.perf_counter() - began) / 20


def share(count: int, batch: int) -> dict[str, Any]:
    """Several processes with one captured phase each, on one device at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--child", folder, "--batch", str(batch)]
        children = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        while len(os.listdir(folder)) < count and all(child.poll() is None for child in children):
            time.sleep(0.05)
        Path(folder, "go").touch()
        found = [json.loads(child.communicate()[0].splitlines()[-1]) for child in children]
    mean = statistics.fmean(one["step_ms"] for one in found)
    return {"processes": count, "batch": batch, "step_ms": round(mean, 3), "each_ms": round(mean / count, 3)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=540, help="begin nothing new after so long")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    import torch

    if given.child:
        print(json.dumps(measure(1, given.batch, True, True, Path(given.child))), flush=True)
        return 0
    if not torch.cuda.is_available():
        print("captured.py needs a CUDA device, and none is visible", file=sys.stderr)
        return 3
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name(0)}", flush=True)
    end = time.monotonic() + given.seconds
    for batch in (1000, 64):
        for members, compile, capture in (
            (1, False, False), (1, False, True), (1, True, True), (8, True, True), (32, True, True)
        ):  # fmt: skip
            if time.monotonic() < end:
                print(json.dumps(measure(members, batch, compile, capture)), flush=True)
        for count in (2, 4, 8):
            if time.monotonic() < end:
                print(json.dumps(share(count, batch)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

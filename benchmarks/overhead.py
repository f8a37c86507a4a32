"""What a sweep costs beyond its training: forty phases of 0.2 s through `run`, beside a plain loop over the same forty.

    python benchmarks/overhead.py               # about 3 minutes
    python benchmarks/overhead.py --rounds 1

Both sides train the same segments with the same function into a store of their own, each in a fresh process. The loop
is one process without Ray and is timed after its first phase, so without imports; the sweep is timed from the call of
`run` to its return, with everything that it starts. What starting and stopping Ray takes is subtracted, because it does
not grow with the sweep, and is shown beside. Phases with two workers are compared with the same loop of one process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness import Row, in_own_environment, publish, quartiles

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "execution"))

PHASES = 40
SECONDS = 0.2  # of a phase
FRESH = 2  # phases with a group of their own, to compare
SIDES: dict[str, tuple[str, dict[str, Any], int, float | None]] = {  # name, resources, phases, floor in seconds
    "one": (f"{PHASES} phases of {SECONDS} s, one worker, two at once", {}, PHASES, 8.0),
    "warm": (f"{PHASES} phases of {SECONDS} s, two DDP workers, one warm group", {"workers": 2}, PHASES, 25.0),
    "fresh": (f"{FRESH} such phases, each with a group of its own", {"workers": 2, "executor": "train"}, FRESH, None),
}
PARTS = (
    "Ray starts",
    "until the first phase starts",
    "the first phase",
    "the others",
    "until Tune is over",
    "Ray stops",
)


def phases(steps: int, count: int, **resources: Any) -> Any:
    from small_plans import phase, plan

    return plan(*(phase(f"p{seed}", [steps], seed=seed, decaying=True, **resources) for seed in range(count)))


def loop(steps: int, store: Path) -> dict[str, float]:
    """Seconds of the plain loop; with no number of steps, as many as make a phase as long as wanted."""
    import torch

    from procray.execution import run_segment
    from procray.execution.jobs import items_of
    from procray.store.store import Store

    torch.set_num_threads(1)

    def train(folder: str, *arguments: int) -> float:
        items = items_of(phases(*arguments), Store(store / folder), Path("/nonexistent"), Path("/nonexistent"))
        started = time.perf_counter()
        for item in items:
            result = run_segment({**item.job, "control": None, "driver": None}, lambda: False)
            assert result["state"] == "done", result
        return time.perf_counter() - started

    train("imports", 5, 1)
    if steps:
        return {"seconds": train("loop", steps, PHASES)}
    one, six = train("short", 50, 4) / 4, train("long", 300, 4) / 4
    return {"steps": max(10, round(50 + (SECONDS - one) / (six - one) * 250))}


def sweep(side: str, steps: int, store: Path) -> dict[str, float]:
    """Seconds of `run`, of starting and stopping Ray in it, and of its other parts."""
    from procray.execution import RunOptions, run

    _, resources, count, _ = SIDES[side]
    at: dict[str, float] = {}

    def note(event: dict[str, Any]) -> None:
        name = event.get("state") or event["event"]
        at.setdefault(name, time.perf_counter())
        if name == "done":
            at["last done"] = time.perf_counter()

    small = phases(steps, count, **resources)
    started = time.perf_counter()
    result = run(small, store, RunOptions(on_event=note, max_concurrent=2))
    ended = time.perf_counter()
    assert len(result.done) == count, result
    again = time.perf_counter()
    assert run(small, store).trained == 0
    again = time.perf_counter() - again
    points = [at["starting"], at["ready"], at["start"], at["done"], at["last done"], at["stopping"], ended]
    parts = [after - before for before, after in pairwise(points)]
    ray = parts[0] + parts[-1]
    return {"seconds": ended - started, "ray": ray, "again": again, **dict(zip(PARTS, parts, strict=True))}


def measure(side: str, steps: int) -> dict[str, float]:
    """Runs one side in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--side", side, "--steps", str(steps), "--store", folder]
        found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    print(side, {name: round(value, 2) for name, value in found.items()}, file=sys.stderr, flush=True)
    return found


def main() -> None:
    in_own_environment(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        side = loop(given.steps, given.store) if given.side == "loop" else sweep(given.side, given.steps, given.store)
        print(json.dumps(side))
        return
    steps = int(measure("loop", 0)["steps"])
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ("loop", *SIDES)}
    for number in range(given.rounds):
        for name in ("loop", "one", "warm") if number else found:
            found[name].append(measure(name, steps))
    loops = [one["seconds"] for one in found["loop"]]
    rows = []
    for name, (shape, _, count, floor) in SIDES.items():
        beyond = [
            one["seconds"] - one["ray"] - plain * count / PHASES for one, plain in zip(found[name], loops, strict=False)
        ]
        low, middle, high = quartiles(beyond)
        whole = statistics.median(one["seconds"] for one in found[name])
        mean = statistics.median(loops) * count / PHASES
        peer = "a plain loop in one process, without Ray"
        rows.append(
            Row(shape, f"{whole:.1f} s", f"{mean:.1f} s", peer, middle, low, high, "s beyond", floor, most=True)
        )
    lines = ["| median seconds | " + " | ".join(PARTS) + " | run again when all is done |"]
    lines.append("|---" * (len(PARTS) + 2) + "|")
    for name, (shape, *_) in SIDES.items():
        medians = [statistics.median(one[part] for one in found[name]) for part in (*PARTS, "again")]
        lines.append(f"| {shape} | " + " | ".join(f"{value:.2f}" for value in medians) + " |")
    notes = ["'s beyond': seconds of the whole sweep less the plain loop, less starting and stopping Ray."]
    publish("overhead", "What does a sweep cost beyond its training?", rows, notes=notes, tables=["\n".join(lines)])


if __name__ == "__main__":
    main()

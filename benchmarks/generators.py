"""Tokens per second of every task: the vectorised generators beside plain Python, one sequence at a time.

    python benchmarks/generators.py            # batches of 64, about 10 s
    python benchmarks/generators.py --batch 1024

Times are CPU seconds of this process (one thread), so that other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from procray import tasks
from procray.tasks.task import BaseTask

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "tasks"))
from slow_tasks import SLOW

SECONDS = 0.4  # of measuring, each


def rate(make: Callable[[int], object], tokens: float) -> float:
    """Nominal tokens per CPU second of `make(i)`, which makes `tokens` tokens."""
    make(0)
    start, count = time.process_time(), 0
    while time.process_time() - start < SECONDS:
        count += 1
        make(count)
    return count * tokens / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="sequences in a batch")
    batch = parser.parse_args().batch
    print(f"batches of {batch}; nominal tokens/s (eca_rows: rows/s)")
    print(f"{'task':14} {'length':>6} {'vectorised':>12} {'plain Python':>13} {'ratio':>7}")
    for name in tasks.names():
        task = tasks.get(name)
        assert isinstance(task, BaseTask)
        parameters = {key: value for key, value in task.recipe().items() if key != "name"}
        rng = random.Random(0)
        fast = rate(lambda index, task=task: task.sample(0, "benchmark", index, batch), batch * task.mean_tokens)
        slow = rate(lambda _, name=name, rng=rng, p=parameters: SLOW[name](rng, **p), task.mean_tokens)
        print(f"{name:14} {task.length!s:>6} {fast:>12,.0f} {slow:>13,.0f} {fast / slow:>6.1f}x", flush=True)


if __name__ == "__main__":
    main()

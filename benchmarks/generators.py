"""Speed of every task's generator, beside plain Python and beside the papers' released code.

    python benchmarks/generators.py                        # tokens/s, batches of 64, about 15 s
    python benchmarks/generators.py --batch 1024
    python benchmarks/generators.py --official CHECKOUT    # the diagnostics beside the released code's

`--official` takes a checkout of the code that was released with arXiv 2601.21725. It is read from there, its
generators are run one sequence at a time as its training loop runs them, and both sides take turns. Ours makes whole
batches of 1,000 with targets, mask and parts, once as drawn and once without sequences of a test set of 4,000.

Times are CPU seconds of this process (one thread, the allocator as training processes have it), so that other work on
the machine disturbs less.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from procray import tasks
from procray.tasks.task import BaseTask
from procray.training.environment import worker_environment

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "tasks"))
from slow_tasks import SLOW

SECONDS = 0.4  # of measuring, each
ROUNDS = 15
OFFICIAL = {
    "haystack": "condattendstream_30",
    "addition": "forwardaddition_5",
    "reversed_addition": "additionstream_10",
    "multiplication": "multiplication_5",
}


def rate(make: Callable[[int], object], tokens: float) -> float:
    """Nominal tokens per CPU second of `make(i)`, which makes `tokens` tokens."""
    make(0)
    start, count = time.process_time(), 0
    while time.process_time() - start < SECONDS:
        count += 1
        make(count)
    return count * tokens / (time.process_time() - start)


def plain_python(batch: int) -> None:
    """Every task beside its readable form in tests/."""
    print(f"batches of {batch}; nominal tokens/s (eca_rows: rows/s)")
    print(f"{'task':17} {'length':>6} {'vectorised':>12} {'plain Python':>13} {'ratio':>7}")
    for name in tasks.names():
        task = tasks.get(name)
        assert isinstance(task, BaseTask)
        parameters = {key: value for key, value in task.recipe().items() if key != "name"}
        rng = random.Random(0)
        fast = rate(lambda index, task=task: task.sample(0, "benchmark", index, batch), batch * task.mean_tokens)
        slow = rate(lambda _, name=name, rng=rng, p=parameters: SLOW[name](rng, **p), task.mean_tokens)
        print(f"{name:17} {task.length!s:>6} {fast:>12,.0f} {slow:>13,.0f} {fast / slow:>6.1f}x", flush=True)


def released(checkout: Path, task: str) -> Callable[[], list[int]]:
    """The function of the released code that makes one sequence of a task."""
    path = checkout / "downstream" / "algorithmic_tasks" / f"task_{task.split('_')[0]}.py"
    generator, _, _ = path.read_text().partition("\ndef compute_metrics")  # what follows needs a model
    room = {"task": task, "random": random.Random(0)}
    exec(compile(generator, str(path), "exec"), room)
    make: Callable[[], list[int]] = room["gen_single"]  # type: ignore[assignment]
    return make


def beside_official(checkout: Path, size: int = 1000) -> None:
    """Microseconds a sequence, medians over rounds in which both sides take turns."""
    from procray.training.source import TaskSource

    print(f"microseconds a sequence, batches of {size}")
    print(f"{'task':17} {'released':>9} {'ours':>7} {'ratio':>7} {'test set apart':>15} {'ratio':>7}")
    for name, theirs in OFFICIAL.items():
        task, make = tasks.get(name), released(checkout, theirs)
        drawn, apart = (TaskSource(task, 0, size, 4000, disjoint=disjoint) for disjoint in (False, True))
        sides: list[tuple[Callable[[int], object], int]] = [
            (lambda _, make=make: [make() for _ in range(size)], 1),  # type: ignore[misc]
            (lambda step, source=drawn: source.batch(step, None), 20),  # type: ignore[misc]
            (lambda step, source=apart: source.batch(step, None), 20),  # type: ignore[misc]
        ]
        times: list[list[float]] = [[], [], []]
        for number in range(ROUNDS + 1):
            for (side, repeats), found in zip(sides, times, strict=True):
                start = time.process_time()
                for repeat in range(repeats):
                    side(number * repeats + repeat)
                found.append((time.process_time() - start) / repeats / size * 1e6)
        official, ours, clear = (statistics.median(found[1:]) for found in times)  # the first warms up
        ratios = [f"{official / mine:.1f}x" for mine in (ours, clear)]
        print(f"{name:17} {official:>9.2f} {ours:>7.3f} {ratios[0]:>7} {clear:>15.3f} {ratios[1]:>7}", flush=True)


def main() -> None:
    environment = worker_environment(1)
    if any(os.environ.get(key) != value for key, value in environment.items()):  # read when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **environment})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="sequences in a batch")
    parser.add_argument("--official", type=Path, metavar="CHECKOUT", help="folder of the papers' released code")
    given = parser.parse_args()
    if given.official is None:
        plain_python(given.batch)
    elif not (given.official / "downstream" / "algorithmic_tasks").is_dir():
        parser.error(f"{given.official} is no checkout of the released code: it has no downstream/algorithmic_tasks")
    else:
        beside_official(given.official)


if __name__ == "__main__":
    main()

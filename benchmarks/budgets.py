"""What seven warm-up budgets of one task cost: marks on one run, or seven runs.

    python benchmarks/budgets.py          # about a minute

With a constant schedule a shorter run is the beginning of a longer one, so the plan trains the longest budget once
and keeps a checkpoint at each of the others. Both ways are trained here for real, without Ray, with equal
evaluations at equal steps; that the checkpoints are the same bit for bit is checked. Beside the ratio of CPU time
stands the one that `procray plan` printed before.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from harness import Row, in_own_environment, publish, quartiles, ratio, take_turns

ROUNDS = 3
SWEEP = """\
name: budgets
model: {layers: 2, heads: 4, width: 16, context: 64}
procedural:
  task: union
  length: 16
  batch: 64
  tokens: {grid: [12.5k, 25k, 50k, 100k, 200k, 400k, 800k]}
  optimizer: {lr: 1e-3, schedule: constant}
  evaluate: {sequences: 64}
transfer: full
diagnostic:
  {task: reverse, length: 16, batch: 64, tokens: 12.5k, optimizer: {lr: 1e-3}}
"""


def main() -> None:
    in_own_environment(1)
    from procray.cli.plan_view import plan_text
    from procray.files import sha256_file
    from procray.planning import plan
    from procray.planning.load import load_text
    from procray.store.store import Store
    from procray.training import FolderContext, task_source, train

    graph = plan(load_text(SWEEP, "budgets.yaml"))
    (phase,) = (phase for phase in graph.phases.values() if phase.kind == "procedural")
    longest, source = phase.marks[-1], task_source(phase.recipe)
    folder = Path(tempfile.mkdtemp())
    print("\n".join(line for line in plan_text(graph, Store(folder / "store")).splitlines() if "one by one" in line))

    def once() -> None:
        shutil.rmtree(folder / "once", ignore_errors=True)
        train(phase.recipe, source, FolderContext(folder / "once"), until=longest, marks=phase.marks)

    def each() -> None:
        for mark in phase.marks:
            shutil.rmtree(folder / str(mark), ignore_errors=True)
            train(phase.recipe, source, FolderContext(folder / str(mark)), until=mark, marks=[mark])

    try:
        times = take_turns({"once": once, "each": each}, rounds=ROUNDS, warmup=1)
        for mark in phase.marks:
            weights = [folder / way / "marks" / str(mark) / "model.safetensors" for way in ("once", str(mark))]
            assert sha256_file(weights[0]) == sha256_file(weights[1]), "both ways give the same checkpoint"
    finally:
        shutil.rmtree(folder)
    middle, low, high = ratio(times, "once", "each")
    totals = graph.totals
    planned = totals["naive_t1_tokens"] / totals["t1_tokens"]
    publish(
        "budgets",
        "What do seven budgets of one warm-up cost?",
        [
            Row(
                "UNION L16, 2x4x16, B 64; 12.5k to 800k tokens: CPU time of training",
                f"{quartiles(times['once'])[1]:.1f} s",
                f"{quartiles(times['each'])[1]:.1f} s",
                "the same trained one by one",
                middle,
                low,
                high,
                floor=round(0.9 * planned, 2),
                note=f"`procray plan` says {totals['t1_tokens'] / 1e6:.2f}M tokens; one by one "
                f"{totals['naive_t1_tokens'] / 1e6:.2f}M ({planned:.2f}x); the floor is 90 % of that, because seven "
                f"runs also start and end seven times. All {len(phase.marks)} checkpoints are bit for bit the same "
                "both ways.",
            )
        ],
    )


if __name__ == "__main__":
    main()

"""Are many tiny models trained together faster than one after another?

    python benchmarks/packs.py              # on a GPU if there is one, else on one CPU thread, about a minute
    python benchmarks/packs.py --dry        # everything once, tiny, nothing is published

HAYSTACK for models of 2x4x16, as the diagnostics train them: four settings of every seed, first each by itself, then as
one stacked model with the same batches. Making the batches on the host is part of both; the pack makes those of a
seed once.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import Row, in_own_environment, publish, quartiles, ratio, take_turns

if TYPE_CHECKING:
    from procray.training.loop import Run

SETTINGS = 4  # of one seed
PAIRS = 30


def begin(device: str, members: int, batch: int, folder: str) -> list[Run]:
    """Phases of 2x4x16 on HAYSTACK, ready to train; as in a table of diagnostics every seed has four settings, which
    see the same data."""
    import torch

    from procray import tasks
    from procray.training import FolderContext, task_source
    from procray.training import runtime as rt
    from procray.training.loop import Run
    from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe

    place = torch.device(device)
    task = tasks.get("haystack", pairs=PAIRS)
    shape = ModelShape(2, 4, 16, context=task.positions)
    runs = []
    for member in range(members):
        recipe = PhaseRecipe(
            kind="diagnostic",
            model=shape,
            data={"task": task.recipe()},
            batch=batch,
            optimizer=Optimizer(lr=1e-3 / (1 + member % SETTINGS)),
            evaluation=Evaluation(every=1 << 40, sequences=256),
            seed=member // SETTINGS,
            precision="bf16" if place.type == "cuda" else "fp32",
        )
        source = task_source(recipe)
        choices = rt.resolve(recipe, place, vocab=source.vocab, positions=source.context)
        runs.append(Run(recipe, source, FolderContext(Path(folder) / str(member), device=place), choices))
    return runs


def compare(device: str, members: int, batch: int, rounds: int, steps: int, **how: bool) -> Row:
    """One row: `members` phases together against one after another."""
    from procray.training import runtime as rt
    from procray.training.pack import Together

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        alone, packed = begin(device, members, batch, one), begin(device, members, batch, other)
        rt.set_process(alone[0].runtime)
        together = Together(packed, **{"compile": False, "capture": False, **how})

        def by_itself() -> None:
            for run in alone:
                for _ in range(steps):
                    run.update()
                run.drain()

        def as_one() -> None:
            for _ in range(steps):
                together.update(set())
            for run in packed:
                run.drain()

        # On one CPU thread processor time is less disturbed; on a GPU the wall clock is what counts.
        clock = time.process_time if device == "cpu" else time.perf_counter
        times = take_turns({"procray": as_one, "alone": by_itself}, rounds=rounds, clock=clock)
    value, low, high = ratio(times, "procray", "alone")
    sequences = members * steps * batch
    _, pack, _ = quartiles([sequences / seconds for seconds in times["procray"]])
    _, single, _ = quartiles([sequences / seconds for seconds in times["alone"]])
    manner = "".join(f", {name}" for name, chosen in how.items() if chosen)
    return Row(
        shape=f"{members} phases, 2x4x16, HAYSTACK T {packed[0].source.context}, B {batch}{manner}",
        ours=f"{pack:,.0f} sequences/s",
        theirs=f"{single:,.0f} sequences/s",
        peer="the same phases one after another",
        value=value,
        low=low,
        high=high,
        floor=10.0 if device != "cpu" and members == 32 and manner else None,
    )


def rows(device: str, dry: bool) -> list[Row]:
    """All comparisons for a device."""
    if dry:
        return [compare(device, 2, 4, rounds=2, steps=2)]
    if device == "cpu":
        shapes = ((8, 8, 20), (8, 64, 5), (32, 8, 5))
        return [compare(device, members, batch, rounds=5, steps=steps) for members, batch, steps in shapes]
    found = []
    for members in (8, 32):
        for how in ({}, {"capture": True}, {"compile": True, "capture": True}):
            print(f"  {members} phases, {', '.join(how) or 'as they are'}", flush=True)
            found.append(compare(device, members, 1000, rounds=3, steps=20, **how))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="everything once, tiny; nothing is published")
    given = parser.parse_args()
    in_own_environment()
    import torch

    found = rows("cuda:0" if torch.cuda.is_available() else "cpu", given.dry)
    if given.dry:
        print(found)
        return
    note = "Packs are off by default: neither planning nor scheduling use them."
    publish("packs", "Are many tiny models trained together faster than one after another?", found, notes=[note])


if __name__ == "__main__":
    main()

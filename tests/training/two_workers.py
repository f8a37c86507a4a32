"""One of two gloo workers; started twice by test_ranks.py with RANK and the usual variables."""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from procray.errors import PhaseFailed
from procray.training import FolderContext, task_source, train
from procray.training import loop as loop_module
from procray.training.recipe import Init, Optimizer, PhaseRecipe


def main(root: Path) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo")
    phase = PhaseRecipe.from_json(json.loads((root / "recipe.json").read_text()))
    source = task_source(phase)
    report = {}

    def run(name: str, until: int, **options):
        context = FolderContext(root / name, rank=rank, world_size=2, should_stop=options.pop("stop", lambda: False))
        return train(options.pop("phase", phase), source, context, until=until, marks=(), **options)

    report["whole"] = run("whole", 10).step
    report["parts"] = run("parts", 10, micro_batch=1).step
    run("frozen", 4, phase=PhaseRecipe.from_json({**phase.to_json(), "init": Init(freeze=("mlp",)).to_json()}))

    # Only one worker hears the request; both must stop at the same step, and go on exactly.
    asked = iter(range(100))
    outcome = run("stopped", 10, stop=lambda: rank == 1 and next(asked) >= 3)
    report["stopped"] = [outcome.status, outcome.step]
    report["continued"] = run("stopped", 10).step

    loop_module.PENDING = 4
    try:
        run("broken", 100, phase=PhaseRecipe.from_json({**phase.to_json(), "optimizer": vars(Optimizer(lr=1e6))}))
    except PhaseFailed as error:
        report["failed"] = str(error)
    (root / f"report-{rank}.json").write_text(json.dumps(report))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

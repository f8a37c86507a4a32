"""Two gloo workers; started by test_ranks.py with the usual variables, all but RANK."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch._dynamo  # as FSDP does, before there are two to import it
import torch.distributed as dist
import torch.distributed.fsdp

from procray import corpora
from procray.errors import EnvironmentProblem, PhaseFailed
from procray.training import FolderContext, losses, task_source, text_source, train
from procray.training import loop as loop_module
from procray.training.recipe import Init, Optimizer, PhaseRecipe


def gradient_sums(root: Path, run, phase: PhaseRecipe, shard: bool) -> list[int]:
    """How often gradients travel in two steps of one part each, and in two of four parts."""
    counts = []
    for size in (4, 1):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            run(f"counted {shard} {size}", 2, phase=phase, shard=shard, micro_batch=size)
        wanted = "FSDP::post_backward_reduce" if shard else "gloo:all_reduce"
        # Not by `key_averages`, which takes longer than the training.
        counts.append(sum(event.name().startswith(wanted) for event in profile.profiler.kineto_results.events()))
    return counts


def main(root: Path) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo")
    phase = PhaseRecipe.from_json(json.loads((root / "recipe.json").read_text()))
    report = {}

    def run(name: str, until: int, **options):
        dist.barrier()  # rank 0 may still be writing what this call goes on from
        context = FolderContext(root / name, rank=rank, world_size=2, should_stop=options.pop("stop", lambda: False))
        chosen = options.pop("phase", phase)
        prepared = options.pop("prepared", None)
        source = task_source(chosen) if prepared is None else text_source(chosen, prepared)
        return train(chosen, source, context, until=until, marks=(), **options)

    report["whole"] = run("whole", 10).step
    run("again", 10)
    report["parts"] = run("parts", 10, micro_batch=1).step
    run("frozen", 4, phase=PhaseRecipe.from_json({**phase.to_json(), "init": Init(freeze=("mlp",)).to_json()}))

    # Weights in shares: of whole batches, of parts, frozen in part, begun with copies and the other way round.
    even = PhaseRecipe.from_json({**phase.to_json(), "batch": 8})
    report["shares"] = run("shares", 10, phase=even, shard=True).step
    report["shares in parts"] = run("shares in parts", 10, phase=even, shard=True, micro_batch=1).step
    frozen = PhaseRecipe.from_json({**even.to_json(), "init": Init(freeze=("mlp",)).to_json()})
    run("frozen shares", 4, phase=frozen, shard=True)
    run("copies, then shares", 5, phase=even)
    run("copies, then shares", 10, phase=even, shard=True)
    run("shares, then one", 5, phase=even, shard=True)
    narrow = PhaseRecipe.from_json({**even.to_json(), "precision": "bf16"})
    run("bf16 copies", 10, phase=narrow)
    run("bf16 shares", 10, phase=narrow, shard=True)
    report["sums"] = [gradient_sums(root, run, even, shard) for shard in (False, True)]
    resolve = loop_module.rt.resolve
    loop_module.rt.resolve = lambda *given, **named: replace(resolve(*given, **named), recompute=True)
    report["shares, recomputed"] = run("shares, recomputed", 10, phase=even, shard=True, micro_batch=2).step
    loop_module.rt.resolve = resolve
    try:
        run("uneven", 10, shard=True)
    except EnvironmentProblem as error:
        report["uneven"] = str(error)

    # Only one worker hears the request; both must stop at the same step, and go on exactly.
    asked = iter(range(100))
    outcome = run("stopped", 10, stop=lambda: rank == 1 and next(asked) >= 3)
    report["stopped"] = [outcome.status, outcome.step]
    report["continued"] = run("stopped", 10).step

    # A task among text, of odd batches: without a pause, with one among the updates on the task, and in shares.
    mixed = PhaseRecipe.from_json(json.loads((root / "among.json").read_text()))
    prepared = corpora.load(mixed.data, root / "corpora")
    run("among", 10, phase=mixed, prepared=prepared)
    asked = iter(range(100))
    outcome = run("among, stopped", 10, phase=mixed, prepared=prepared, stop=lambda: rank == 1 and next(asked) >= 8)
    report["among"] = [outcome.status, outcome.step]
    run("among, stopped", 10, phase=mixed, prepared=prepared)
    even = replace(mixed, interleaving=replace(mixed.interleaving, batch=6))
    run("among, in copies", 10, phase=even, prepared=prepared)
    run("among, in shares", 10, phase=even, prepared=prepared, shard=True)

    losses.PENDING = 4
    try:
        run("broken", 100, phase=PhaseRecipe.from_json({**phase.to_json(), "optimizer": vars(Optimizer(lr=1e6))}))
    except PhaseFailed as error:
        report["failed"] = str(error)
    (root / f"report-{rank}.json").write_text(json.dumps(report))
    dist.destroy_process_group()


if __name__ == "__main__":
    other = os.fork()
    os.environ["RANK"] = str(int(other == 0))
    main(Path(sys.argv[1]))
    if other and os.waitpid(other, 0)[1]:
        sys.exit("the other worker failed")

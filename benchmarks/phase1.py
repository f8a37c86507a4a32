"""How fast is the papers' first phase beside the code that they released, on a CPU?

    python benchmarks/phase1.py --official CHECKOUT      # about 2 minutes

SET of length 64 over 100 symbols into GPT-2 of 12 layers, 12 heads and width 768 (129 positions, vocabulary 102),
dropout 0.1, AdamW with clipping. `--official` takes a checkout of the code released with arXiv 2601.21725. It is read
from there, and its own `train_epoch` runs on its own loader, with its own model: Hugging Face's GPT-2 with an attention
mask in float32. Logging to wandb is left out. Ours is the training loop's step with its data. Both train the same
number of sequences a step with the same rate of dropout; tokens are nominal, 129 a sequence. CPU seconds of one process
with one thread and the same allocator settings; sides take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

from harness import Row, in_own_environment, publish, quartiles, ratio, take_turns
from noise import Precision, steps
from training import matmul_peak

LENGTH, VOCAB, POSITIONS, DROPOUT = 64, 100, 129, 0.1
FLOOR = {"bf16": 3.0}


def ours(precision: Precision, batch: int, dropout: float = DROPOUT) -> Callable[[], None]:
    import torch

    from procray import tasks
    from procray.training import loop, runtime, task_source
    from procray.training.calibrate import Nowhere
    from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe

    recipe = PhaseRecipe(
        kind="procedural",
        model=ModelShape(12, 12, 768, POSITIONS, dropout=dropout),
        data={"task": tasks.get("set", length=LENGTH, vocab=VOCAB).recipe()},
        batch=batch,
        optimizer=Optimizer(lr=5e-4, weight_decay=0.1),
        evaluation=Evaluation(every=10**9, sequences=1),
        seed=42,
        precision=precision,
    )
    source = task_source(recipe)
    chosen = runtime.resolve(recipe, torch.device("cpu"), vocab=source.vocab, positions=source.context)
    run = loop.Run(recipe, source, Nowhere(torch.device("cpu")), chosen)

    def step() -> None:
        runtime.set_process(chosen)
        steps(run, 1)

    return step


def official(checkout: Path, batch: int) -> Callable[[], None]:
    """One step of the released loop for each call."""
    import torch

    sys.path.insert(0, str(checkout))
    wandb = sys.modules.setdefault("wandb", types.ModuleType("wandb"))  # imported there, not used here
    wandb.__spec__ = ModuleSpec("wandb", None)
    algorithmic = importlib.import_module("procedural_pretraining.algorithmic")
    made = importlib.import_module("procedural_data.set")
    arguments = argparse.Namespace(
        seed=42,
        vocab_size=VOCAB,
        batch_size=batch,
        steps_per_epoch=10_000,
        device="cpu",
        max_grad_norm=1.0,
        save_every_steps=10**9,
        patience=0,
        max_steps=None,
        wandb_enable=False,
        save_dir="",
        save_total_limit=1,
    )
    model = algorithmic.create_gpt2_model("12_12_768", VOCAB + 2, POSITIONS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    loader, held_out = made.build_dataloader(arguments, 0, LENGTH)
    batches = iter(loader)

    class One:
        """One batch of the loader, made when it is asked for, as the loop asks for it."""

        def __iter__(self) -> object:
            yield next(batches)

    def step() -> None:
        torch.set_float32_matmul_precision("highest")  # torch's default, which the released code leaves alone
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            algorithmic.train_epoch(model, One(), optimizer, schedule, arguments, held_out)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, metavar="CHECKOUT", required=True, help="the papers' released code")
    parser.add_argument("--batch", type=int, default=16, help="sequences in a step (the papers': 64)")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if not (given.official / "procedural_pretraining" / "algorithmic.py").is_file():
        parser.error(f"{given.official} is no checkout of the released code")
    in_own_environment()
    import torch

    torch.set_num_threads(1)
    precisions: tuple[Precision, ...] = ("bf16", "fp32")
    sides = {precision: ours(precision, given.batch) for precision in precisions}
    times = take_turns({**sides, "released": official(given.official, given.batch)}, rounds=given.rounds)
    from procray.model import GPT2Config, flops_per_token

    flops = given.batch * POSITIONS * flops_per_token(GPT2Config(12, 12, 768, VOCAB + 2, POSITIONS), POSITIONS)
    rows = []
    for precision in sides:
        middle, low, high = ratio(times, precision, "released")
        speeds = [
            f"{given.batch * POSITIONS / quartiles(times[side])[1]:,.0f} tokens/s" for side in (precision, "released")
        ]
        shape = f"SET L 64, 12x12x768, T {POSITIONS}, B {given.batch}, dropout {DROPOUT}, {precision}"
        most = quartiles(times["released"])[1] * matmul_peak(precision) / flops
        note = f"a step of all positions at 100 % of this processor's matmul peak would be {most:.2g}x"
        floor = FLOOR.get(precision)
        rows.append(Row(shape, *speeds, "the released loop, fp32", middle, low, high, floor=floor, note=note))
    publish("phase1", "How fast is the papers' first phase on one CPU thread?", rows)


if __name__ == "__main__":
    main()

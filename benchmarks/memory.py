"""How much memory does a training step of GPT-2 124M take, beside transformers?

    python benchmarks/memory.py           # peak of CUDA's allocator if there is a GPU, else of the process; a minute
    python benchmarks/memory.py --dry     # everything once, tiny, nothing is published

Every side takes two steps in a process of its own (only then are AdamW's moments there while a batch is computed), with
the same batch of T 1024, the vocabulary of GPT-2 and the allocator as it comes. On a CPU the peak is that of the
resident set, the interpreter and its libraries included; on CUDA it is what torch held at most.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness import Row, publish

SIDES = {
    "ours": "the whole batch at once",
    "ours, as chosen": "sequences at once as procray chooses",
    "shipped": "GPT2LMHeadModel as shipped, the whole batch at once",
    "tuned": "GPT2LMHeadModel: tanh GELU, no cache, SDPA, fused AdamW, the whole batch at once",
}


def measure(side: str, dry: bool, batch: int) -> dict[str, Any]:
    """Two steps of one side in this process; its peak in bytes."""
    import torch
    from noise import ours, steps, transformers_step

    from procray.training.recipe import ModelShape

    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    vocab, shape = (300, ModelShape(2, 2, 16, context=32)) if dry else (50257, ModelShape(12, 12, 768, context=1024))
    precision = "bf16" if device.type == "cuda" else "fp32"
    at_once = batch
    if side.startswith("ours"):
        chosen = {"micro_batch": batch} if side == "ours" else {}
        run = ours(shape, vocab, batch, device, precision, torch.get_num_threads(), **chosen)
        torch.set_float32_matmul_precision(run.runtime.matmul_precision)
        at_once = run.runtime.micro_batch
        steps(run, 2)
    else:
        transformers_step(shape, vocab, batch, device, precision, tuned=side == "tuned")(2)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak": peak, "at_once": at_once, "device": device.type, "precision": precision}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="everything once, tiny; nothing is published")
    parser.add_argument("--batch", type=int, help="sequences (default 2 on a CPU, 8 on CUDA)")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measure(given.side, given.dry, given.batch)))
        return
    import torch

    batch = given.batch or (8 if torch.cuda.is_available() else 2)
    found: dict[str, dict[str, Any]] = {}
    for side in SIDES:
        command = [sys.executable, str(Path(__file__)), "--side", side, "--batch", str(batch)]
        done = subprocess.run(
            [*command, *(["--dry"] if given.dry else [])], stdout=subprocess.PIPE, text=True, check=True
        )
        found[side] = json.loads(done.stdout.splitlines()[-1])
        print(f"{side}: {found[side]['peak'] / 2**30:.2f} GiB", flush=True)
    rows = []
    for side in ("ours", "ours, as chosen"):
        for peer in ("shipped", "tuned"):
            mine, other = found[side]["peak"], found[peer]["peak"]
            what = "peak of CUDA's allocator" if found[side]["device"] == "cuda" else "peak resident set"
            rows.append(
                Row(
                    shape=f"12x12x768, T 1024, V 50257, B {batch}, {found[side]['precision']}, {what}, "
                    f"{found[side]['at_once']} sequences at once",
                    ours=f"{mine / 2**30:.2f} GiB",
                    theirs=f"{other / 2**30:.2f} GiB",
                    peer=SIDES[peer],
                    value=other / mine,
                    low=other / mine,
                    high=other / mine,
                    floor=1.0,
                )
            )
    if not given.dry:
        publish("memory", "How much memory does a training step take?", rows)


if __name__ == "__main__":
    main()

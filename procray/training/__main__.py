"""Trains one phase with torch alone: `python -m procray.training RECIPE.json FOLDER --until STEP`.

For a machine without Ray, and for measuring. RECIPE.json is what `PhaseRecipe.to_json` gives; FOLDER is laid
out as `FolderContext` says. Run again to go on. Under torchrun (RANK, WORLD_SIZE, LOCAL_RANK) all processes
share each batch. Evaluations go to standard output as JSON lines, a summary follows.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from procray import corpora
from procray.errors import ProcrayError
from procray.files import read_json, write_json
from procray.training.context import FolderContext
from procray.training.loop import train
from procray.training.recipe import PhaseRecipe
from procray.training.source import Source, task_source, text_source
from procray.training.trace import Trace, read_range, trace_name
from procray.visible import visible

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m procray.training", description="Train one phase in a folder.")
    parser.add_argument("recipe", type=Path, help="JSON of a PhaseRecipe")
    parser.add_argument("folder", type=Path, help="where marks, resume states and the journal go")
    parser.add_argument("--until", type=int, required=True, metavar="STEP", help="train to this step")
    parser.add_argument("--marks", default="", metavar="STEP,STEP", help="keep checkpoints at these steps too")
    parser.add_argument("--device", help="cpu, cuda, cuda:1; default: a GPU if there is one")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process on a CPU (default 1)")
    parser.add_argument("--micro-batch", type=int, metavar="N", help="sequences at once; default: what memory holds")
    parser.add_argument(
        "--shard",
        action=argparse.BooleanOptionalAction,
        help="under torchrun: every process holds a share of weights, gradients and moments (FSDP2), or a copy of all; "
        "default: shares where copies do not fit",
    )
    parser.add_argument("--profile", metavar="A:B", help="trace the steps from A to B into FOLDER/profile")
    parser.add_argument("--corpora", type=Path, default=Path("store/corpora"), help="prepared corpora")
    options = parser.parse_args(arguments)
    try:
        return _train(options)
    except ProcrayError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return error.exit_code


def _train(options: argparse.Namespace) -> int:
    recipe = PhaseRecipe.from_json(read_json(options.recipe))
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    asked: list[int] = []
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and (name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN):  # nohup
            signal.signal(number, lambda received, _: asked.append(received))
    if world_size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        context = _Printing(
            options.folder, device=device, rank=rank, world_size=world_size, should_stop=lambda: bool(asked)
        )
        if rank == 0:
            write_json(options.folder / "recipe.json", recipe.to_json())
        traced = None
        if options.profile and rank == 0:
            first, last = read_range(options.profile)
            traced = Trace(first, last, options.folder / "profile" / trace_name(first, last))
        outcome = train(
            recipe,
            _source(recipe, options.corpora, options.until),
            context,
            until=options.until,
            marks=[int(step) for step in options.marks.split(",") if step],
            threads=options.threads,
            micro_batch=options.micro_batch,
            shard=options.shard,
            trace=traced,
        )
        if traced is not None and traced.table:
            print(f"{traced.table}\ntrace: {traced.path}", file=sys.stderr)
    finally:
        if world_size > 1:
            dist.destroy_process_group()
    if rank == 0:
        print(f"{outcome.status} at step {outcome.step}, {outcome.tokens} tokens: {options.folder}", file=sys.stderr)
    return 0 if outcome.status == "done" else INTERRUPTED


def _source(recipe: PhaseRecipe, root: Path, until: int) -> Source:
    if "task" in recipe.data:
        return task_source(recipe)
    tokens = until * recipe.batch * recipe.model.context
    prepared = corpora.prepare(recipe.data, root, tokens, lambda text: print(text, file=sys.stderr))
    return text_source(recipe, prepared)


class _Printing(FolderContext):
    """A folder that also shows its evaluations."""

    def journal(self, row: dict[str, Any]) -> None:
        super().journal(row)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    sys.exit(main())

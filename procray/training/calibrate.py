"""How fast this machine trains: real phases for a second or so each, for `procray plan`.

    python -m procray.training.calibrate < REQUEST.json

measures in a process of its own, because allocator and OpenMP read their settings when a process starts. The request
and the answer are those of `measure`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from procray import corpora, tasks
from procray.batch import Batch
from procray.errors import CorpusError
from procray.training import runtime as rt
from procray.training.evaluate import evaluate
from procray.training.loop import Run
from procray.training.peak import matmul_rate
from procray.training.recipe import Evaluation, Init, ModelShape, Optimizer, PhaseRecipe
from procray.training.source import Source, task_source, text_source

_LARGE = {"cuda": 8192, "cpu": 1024}  # rows of the product that shows the peak


@dataclass(frozen=True)
class Nowhere:
    """A context of a phase that keeps nothing."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    def latest_resume(self) -> None:
        return None


@dataclass(frozen=True)
class Drawn:
    """Text of random tokens, in place of a corpus that is not prepared yet."""

    vocab: int
    context: int
    size: int
    held_out: int
    rows: None = None
    whole_answers: bool = False
    curriculum: None = None

    def batch(self, step: int, length: int | None) -> Batch:
        return self._of(self.size, step)

    def validation(self, length: int | None) -> Iterator[Batch]:
        for first in range(0, self.held_out, self.size):
            yield self._of(min(self.size, self.held_out - first), 0)

    def exposure(self, step: int) -> dict[str, Any]:
        return {}

    def _of(self, size: int, seed: int) -> Batch:
        both_BT = np.random.default_rng(seed).integers(0, self.vocab, (size, self.context + 1))
        mask_BT = np.ones((size, self.context), bool)
        return Batch(both_BT[:, :-1], both_BT[:, 1:], mask_BT, mask_BT.size)


def standard(device: torch.device) -> list[PhaseRecipe]:
    """Three phases that stand for many: a tiny diagnostic model, a small and a larger one on sequences of symbols."""
    evaluation = Evaluation(every=10**9, sequences=64)

    def phase(shape: ModelShape, batch: int, task: str, **parameters: Any) -> PhaseRecipe:
        data = {"task": tasks.get(task, **parameters).recipe()}
        recipe = PhaseRecipe("procedural", shape, data, batch, Optimizer(lr=1e-4), evaluation, seed=0)
        return replace(recipe, precision="bf16") if device.type == "cuda" else recipe

    large = (12, 12, 768) if device.type == "cuda" else (4, 4, 256)
    return [
        phase(ModelShape(2, 4, 16, 64), 256, "haystack", pairs=15),
        phase(ModelShape(2, 4, 64, 128), 64, "identity", length=48),
        phase(ModelShape(*large, 129), 64 if device.type == "cuda" else 16, "set", length=64),
    ]


def phase_times(
    recipe: PhaseRecipe, source: Source, device: torch.device, threads: int, seconds: float
) -> dict[str, Any]:
    """Seconds of a step and of an evaluation, through the loop's own update and the evaluation that it calls."""
    recipe = replace(
        recipe, init=Init(), paced_by="", steps=None, optimizer=replace(recipe.optimizer, schedule="constant")
    )
    chosen = rt.resolve(recipe, device, vocab=source.vocab, rows=source.rows, positions=source.context, threads=threads)
    run = Run(recipe, source, Nowhere(device), chosen)  # type: ignore[arg-type]

    def update() -> float:
        started = time.perf_counter()
        run.update()
        if device.type == "cuda" or run.losses.full:
            run.drain()
        return time.perf_counter() - started

    update()  # warms up
    before, end = run.state.positions, time.perf_counter() + seconds
    times = [update() for _ in range(3)]
    while time.perf_counter() < end:
        times.append(update())
    positions = (run.state.positions - before) / len(times)
    flops = (run.state.flops / run.state.positions) * positions
    started = time.perf_counter()
    evaluate(run.objective, source.validation(run.state.length), device)
    step = statistics.fmean(times)
    return {
        "step_s": step,
        "evaluation_s": time.perf_counter() - started,
        "positions": positions,
        "positions_per_s": positions / step,
        "flops_per_s": flops / step,
        "width": recipe.model.width,
    }


def copy_bandwidth(device: torch.device, seconds: float = 0.5) -> float:
    """Bytes a second read and written by a large copy."""
    source = torch.empty(2**26 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * source.numel() * source.element_size() / best


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Everything that `plan` needs to predict a time.

    Args:
        request: `device`, `threads`, `corpora` (the folder of prepared ones), `seconds` for each phase, and `phases`,
            by key: the `recipe` and the `vocab` of each.
    """
    device, threads, seconds = torch.device(request["device"]), int(request["threads"]), float(request["seconds"])
    torch.set_num_threads(threads)
    peaks = {}
    if device.type == "cpu":
        torch.set_float32_matmul_precision("medium" if rt.float32_through_onednn() else "highest")
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        peaks[name] = matmul_rate(_LARGE[device.type], dtype, device, 0.5)
    shapes = []
    for recipe in standard(device):
        shape = recipe.model
        name = f"{shape.layers}x{shape.heads}x{shape.width}, {recipe.data['task']['name']}, batch {recipe.batch}"
        shapes.append({"name": name, **phase_times(recipe, task_source(recipe), device, threads, seconds)})
    measured = {}
    for key, phase in request["phases"].items():
        recipe = PhaseRecipe.from_json(phase["recipe"])
        source = _source(recipe, int(phase["vocab"]), Path(request["corpora"]))
        measured[key] = phase_times(recipe, source, device, threads, seconds)
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": threads,
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "matmul_flops_per_s": peaks,
        "copy_bytes_per_s": copy_bandwidth(device),
        "shapes": shapes,
        "measured": measured,
    }


def _source(recipe: PhaseRecipe, vocab: int, root: Path) -> Source:
    if "task" in recipe.data:
        return task_source(recipe)
    try:
        return text_source(recipe, corpora.load(recipe.data, root))
    except CorpusError:  # not prepared yet
        return Drawn(vocab, recipe.model.context, recipe.batch, recipe.evaluation.sequences)


def mean(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """What several processes measured side by side, as one: the mean of each time and rate."""
    first = answers[0]
    times = ("step_s", "evaluation_s", "positions_per_s", "flops_per_s")

    def together(one: dict[str, Any], *path: Any) -> dict[str, Any]:
        found = []
        for answer in answers:
            value: Any = answer
            for part in path:
                value = value[part]
            found.append(value)
        return {**one, **{name: statistics.fmean(other[name] for other in found) for name in times}}

    return {
        **first,
        "processes": len(answers),
        "shapes": [together(shape, "shapes", number) for number, shape in enumerate(first["shapes"])],
        "measured": {key: together(phase, "measured", key) for key, phase in first["measured"].items()},
    }


if __name__ == "__main__":
    print(json.dumps(measure(json.load(sys.stdin))))

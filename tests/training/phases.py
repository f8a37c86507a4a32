"""Small phases for the tests of this folder, and how to compare two of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from procray import tasks
from procray.training import FolderContext, Outcome, task_source, train
from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe
from procray.training.rows import COUNTERS, VALUES

SHAPE = ModelShape(layers=2, heads=2, width=16, context=32)
SET = {"task": tasks.get("set", length=6, vocab=12).recipe()}
RANGE = {"task": tasks.get("identity", length={"min": 2, "max": 10}, vocab=12).recipe()}
CURRICULUM = {
    "task": tasks.get("identity", length={"start": 1, "step": 1, "mastery": 0.05, "max": 6}, vocab=12).recipe()
}
ROWS = {"task": tasks.get("eca_rows", width=12, length=8).recipe()}


def recipe(**changes: Any) -> PhaseRecipe:
    """A phase that trains in milliseconds a step; `changes` replace fields."""
    plain = PhaseRecipe(
        kind="procedural",
        model=SHAPE,
        data=SET,
        batch=8,
        optimizer=Optimizer(lr=3e-3),
        evaluation=Evaluation(every=4, sequences=16),
        seed=0,
    )
    return replace(plain, **changes)


def run(phase: PhaseRecipe, folder: Path, until: int, marks: tuple[int, ...] = (), **options: Any) -> Outcome:
    """Trains a task phase in a folder; `stop_at` makes the context ask to stop at these steps."""
    stop_at = set(options.pop("stop_at", ()))
    cuts = {name: options.pop(name) for name in ("micro_batch", "trim", "threads") if name in options}
    source = task_source(phase)
    context = FolderContext(folder, **options)
    if stop_at:
        seen = Steps(source)
        source, context._should_stop = seen, lambda: seen.step in stop_at  # type: ignore[assignment]
    return train(phase, source, context, until=until, marks=marks, **cuts)


class Steps:
    """A source that knows which step comes next."""

    def __init__(self, source: Any):
        self._source, self.step = source, -1

    def batch(self, step: int, length: int | None) -> Any:
        self.step = step + 1
        return self._source.batch(step, length)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def curve(folder: Path) -> list[dict[str, Any]]:
    """The deterministic part of a journal."""
    names = (*COUNTERS, *VALUES)
    return [{name: row[name] for name in names if name in row} for row in FolderContext(folder).rows()]


def weights(folder: Path, step: int) -> bytes:
    return (folder / "marks" / str(step) / "model.safetensors").read_bytes()


def resume(folder: Path, step: int) -> bytes:
    """Weights and moments of a resume state."""
    return (folder / "resume" / str(step) / "state.safetensors").read_bytes()

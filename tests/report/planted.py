"""Marks written into a store without training: a warm-up, a phase that takes over from it, and a baseline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from procray import tasks
from procray.model import GPT2, save_weights
from procray.store.store import Store
from procray.training.recipe import Evaluation, Init, ModelShape, Optimizer, Parent, PhaseRecipe

WARM = PhaseRecipe(
    kind="procedural",
    model=ModelShape(layers=2, heads=4, width=16, context=32),
    data={"task": tasks.get("identity", length={"min": 2, "max": 10}, vocab=20).recipe()},
    batch=8,
    optimizer=Optimizer(lr=1e-3),
    evaluation=Evaluation(every=10, sequences=64),
    seed=0,
)
BASE = replace(WARM, kind="diagnostic", data={"task": tasks.get("haystack", pairs=4).recipe()})
ROWS = replace(WARM, data={"task": tasks.get("eca_rows", width=12, length=8).recipe()})


def after(recipe: PhaseRecipe, warm: PhaseRecipe, step: int, *components: str) -> PhaseRecipe:
    return replace(recipe, init=Init({name: Parent(warm.id, step) for name in components}))


def plant(store: Store, recipe: PhaseRecipe, *steps: int, spread: float = 0.2, vocab: int | None = None) -> PhaseRecipe:
    """Writes marks whose weights are the phase's own initial ones with noise; the more the later.

    Args:
        vocab: of a corpus; that of a task is known.
    """
    folder = store.phase(recipe.id)
    held = folder.acquire()
    assert held is not None
    folder.write_description(recipe, {"device": "cpu"}, held.attempt)
    rows = None
    if vocab is None:
        task = tasks.from_recipe(recipe.data["task"])
        vocab, rows = task.vocab_size, task.rows
    for step in steps:
        model = GPT2(recipe.model.config(vocab, rows), seed=recipe.seed)
        noise = torch.Generator().manual_seed(recipe.seed + step)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(spread * step / 10 * torch.randn(parameter.shape, generator=noise))

        def write(place: Path, model: GPT2 = model) -> dict:
            return save_weights(model, place)

        folder.write_mark(held, step, write, {"tokens": step * 100})
    held.release()
    return recipe

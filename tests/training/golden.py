"""The golden curves: what three small phases measured when `numerics` was last raised.

    python tests/training/golden.py        writes tests/golden/*.json anew

Do that only together with raising NUMERICS in procray/training/recipe.py: the same recipe then has
another identity, and nothing that was trained before is taken for what would be trained now.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from procray import corpora, tasks
from procray.training import FolderContext, task_source, text_source, train
from procray.training.recipe import NUMERICS, Evaluation, ModelShape, Optimizer, PhaseRecipe

FOLDER = Path(__file__).parents[1] / "golden"
STEPS = 40
KEYS = ("step", "tokens", "scored_tokens", "positions", "loss", "train_loss", "lr", "grad_norm")


def union() -> dict[str, Any]:
    return {"task": tasks.get("union", length={"min": 2, "max": 8}, vocab=20).recipe()}


def rows() -> dict[str, Any]:
    return {"task": tasks.get("eca_rows", width=16, length=8).recipe()}


def text(folder: Path) -> dict[str, Any]:
    (folder / "squares.txt").write_text("".join(f"{n} times {n} is {n * n}.\n" for n in range(400)))
    return corpora.recipe({"files": [str(folder / "squares.txt")]}, "byte")


def recipe(name: str, folder: Path) -> PhaseRecipe:
    common = {"batch": 16, "evaluation": Evaluation(every=10, sequences=32), "seed": 5}
    match name:
        case "union_constant":
            shape = ModelShape(layers=2, heads=4, width=32, context=40)
            return PhaseRecipe(
                "procedural", shape, union(), optimizer=Optimizer(lr=3e-3, clip=0.5), role="warmup/union", **common
            )
        case "eca_rows_wsd":
            shape = ModelShape(layers=2, heads=2, width=32, context=16)
            optimizer = Optimizer(lr=3e-3, schedule="wsd", warmup_steps=5, min_lr=0.1, decay=0.5)
            return PhaseRecipe(
                "procedural", shape, rows(), optimizer=optimizer, steps=STEPS, role="warmup/eca_rows", **common
            )
        case "text_cosine":
            shape = ModelShape(layers=1, heads=2, width=32, context=24, tied=False)
            optimizer = Optimizer(lr=1e-2, schedule="cosine", min_lr=0.1, weight_decay=0.01, beta2=0.95)
            return PhaseRecipe(
                "semantic", shape, text(folder), optimizer=optimizer, steps=STEPS, role="target/semantic", **common
            )
    raise ValueError(name)


NAMES = ("union_constant", "eca_rows_wsd", "text_cosine")


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Trains a golden phase in an empty folder."""
    torch.set_num_threads(1)
    phase = recipe(name, folder)
    if "task" in phase.data:
        source: Any = task_source(phase)
    else:
        source = text_source(phase, corpora.prepare(phase.data, folder / "corpora", 1000))
    context = FolderContext(folder / "phase")
    train(phase, source, context, until=STEPS, marks=())
    return {"numerics": NUMERICS, "rows": [{key: row[key] for key in KEYS} for row in context.rows()]}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            content = measure(name, Path(folder))
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
        print(name, content["rows"][-1]["loss"])


if __name__ == "__main__":
    main()

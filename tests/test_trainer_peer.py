"""The Trainer script that a whole sweep is measured against does the same work as a phase of ours."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from procray import tasks
from procray.model import COMPONENTS
from procray.training import FolderContext, task_source, train
from procray.training.recipe import Evaluation, Init, ModelShape, Optimizer, Parent, PhaseRecipe

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import whole_sweep

STEPS, MARK, BEFORE = 30, 15, 20
WARM_UP = PhaseRecipe(
    kind="procedural",
    model=ModelShape(layers=2, heads=2, width=32, context=32),
    data={"task": tasks.get("identity", length={"min": 2, "max": 8}, vocab=12).recipe()},
    batch=32,
    optimizer=Optimizer(lr=3e-3),
    evaluation=Evaluation(every=10, sequences=64),
    seed=0,
)


def test_from_equal_weights_both_give_one_curve(tmp_path):
    phase = replace(
        WARM_UP,
        data={"task": tasks.get("set", length=8, vocab=12).recipe()},
        init=Init(dict.fromkeys(COMPONENTS, Parent(WARM_UP.id, BEFORE))),
        optimizer=Optimizer(lr=3e-3, schedule="cosine", min_lr=0.1),
        steps=STEPS,
    )
    context = FolderContext(tmp_path / phase.id)
    for recipe, until in ((WARM_UP, BEFORE), (phase, STEPS)):
        train(recipe, task_source(recipe), FolderContext(tmp_path / recipe.id), until=until, marks=[MARK])
    ours = context.rows()

    there = tmp_path / "peer"
    parent = there / WARM_UP.id / f"checkpoint-{BEFORE}"
    shutil.copytree(tmp_path / WARM_UP.id / "marks" / str(BEFORE), parent)
    run = whole_sweep.run_peer(whole_sweep.specify(phase, [MARK, STEPS], task_source(phase), there), threads=1)
    theirs = json.loads((there / phase.id / "curve.json").read_text())

    assert sorted(path.name for path in (there / phase.id).glob("checkpoint-*")) == ["checkpoint-15", "checkpoint-30"]
    assert [row["step"] for row in theirs] == [row["step"] for row in ours] == [0, 10, 15, 20, 30]
    assert [row["loss"] for row in theirs] == pytest.approx([row["loss"] for row in ours], abs=5e-3)
    assert [row["accuracy"] for row in theirs] == pytest.approx([row["accuracy"] for row in ours], abs=0.02)
    assert run.loss < theirs[0]["loss"] - 0.1

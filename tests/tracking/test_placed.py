"""MLflow is told of procedural data among the text of a phase: recipe, tokens, curves and stream."""

from __future__ import annotations

import json

import pytest

from procray.planning import plan
from procray.planning.load import load_text
from procray.tracking import facts, lineage
from procray.tracking.index import Index

FILE = """\
name: placed
seeds: [0]
model: {layers: 1, heads: 2, width: 16, context: 32}
procedural: {task: set, length: 8, vocab: 20, batch: 16, tokens: 5440, at: 0.5}
semantic: {corpus: c4, tokenizer: byte, tokens: 102400, batch: 32, optimizer: {lr: 5e-4, schedule: cosine}}
"""


@pytest.fixture(scope="module")
def index() -> Index:
    return Index(plan(load_text(FILE, "f.yaml")))


def phase(index: Index, variant: str) -> str:
    return next(one.id for one in index.phases.values() if one.variant == variant)


def test_parameters_hold_the_recipe_of_both_kinds(index: Index) -> None:
    placed, base = (facts.parameters(index, phase(index, name), 0) for name in ("set/at0.5", "baseline"))
    assert (placed["task"], placed["data"], placed["length"]) == ("set", base["data"], "8")
    assert (placed["tokens"], placed["procedural_tokens"]) == ("102400", "5440")
    told = json.loads(placed["procedural"])
    assert (told["task"]["name"], told["start"], told["updates"], told["rows"]) == ("set", 50, 20, 22)
    assert len(placed) <= 30
    assert base["task"] == "none"
    assert "procedural" not in base


def test_curves_of_the_task_have_names_of_their_own_and_totals_count_both(index: Index) -> None:
    names = facts.curve_names(index, phase(index, "set/at0.5"))
    assert "procedural_loss" not in facts.curve_names(index, phase(index, "baseline"))
    row = {
        "time": 1.0, "tokens": 60_000, "loss": 4.0, "procedural_tokens": 5440, "procedural_loss": 2.0,
        "procedural_accuracy": 0.5, "procedural_train_loss": None,
    }  # fmt: skip
    found = {point.name: point.value for point in facts.points(names, row, before=0)}
    assert found["loss/val"] == 4.0
    assert found["procedural/loss/val"] == 2.0
    assert found["procedural/accuracy/val"] == 0.5
    assert "procedural/loss/train" not in found
    assert found[facts.TOTAL] == 65_440


def test_both_streams_are_inputs_and_the_held_out_text_stands_last(index: Index) -> None:
    inputs = lineage.datasets(index.plan, phase(index, "set/at0.5"), "d" * 16)
    assert [item.dataset.name for item in inputs] == ["c4 train", "set train", "c4 validation"] or [
        item.dataset.name.split()[-1] for item in inputs
    ] == ["train", "train", "validation"]
    profile = json.loads(inputs[1].dataset.profile)
    assert (profile["task"]["name"], profile["role"], profile["seed"]) == ("set", "warmup/set", 0)
    assert len(lineage.datasets(index.plan, phase(index, "baseline"), "d" * 16)) == 2

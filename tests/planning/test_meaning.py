"""One meaning is one phase: written in the file, in an overlay or by `--set`, in any order and spelling."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.planning.load import load_text
from procray.planning.planner import plan

BASE = {
    "name": "t",
    "model": {"layers": 1, "heads": 1, "width": 16, "context": 32},
    "procedural": {"task": "set", "length": 8, "batch": 4, "tokens": "2k", "optimizer": {"lr": 1e-3}},
    "transfer": "full",
    "diagnostic": {
        "task": "reversed_addition",
        "digits": 3,
        "batch": 4,
        "tokens": "4k",
        "optimizer": {"lr": 1e-3},
        "evaluate": {"every": "1k"},
    },
}
# By path: of each meaning its spellings. The first is that of BASE.
MEANINGS = {
    "procedural.task": [
        ["set"],
        [{"shuffled": "set"}],
        [{"mixture": {"set": 0.5, "sort": 0.5}}, {"mixture": {"sort": 1, "set": 1}}],
        [{"mixture": {"set": 0.1, "union": 0.2}}, {"mixture": {"union": 2, "set": 1}, "prefix": False}],
    ],
    "procedural.length": [[8, 8.0, "8", {"min": 8, "max": 8}], [{"min": 4, "max": 8}, {"max": 8, "min": "4"}]],
    "procedural.tokens": [["2k", 2000, 2e3, "2_000"], ["4k", 4000.0]],
    "procedural.optimizer.weight_decay": [[None, 0.1, 0.10], [0, -0.0, 0.0], [0.2]],
    "procedural.optimizer.lr": [[1e-3, 0.001], [2e-3]],
    "model.tied": [[None, True], [False]],
    "model.dropout": [[None, 0, -0.0], [0.1]],
    "transfer": [
        ["full", "attention+mlp+layernorm", "mlp+layernorm + attention"],
        ["attention+mlp", "mlp+attention", {"attention": "procedural", "mlp": "procedural"}],
        [
            "attention",
            {"attention": "procedural"},
            {"attention": ["procedural"]},
            {"qkv": "procedural", "proj": {"from": "procedural"}},
        ],
    ],
    "freeze": [[None, "none", []], ["attention", ["proj", "qkv"]]],
    "perturb": [[None, "none"], [{"noise": 1}, {"noise": 1.0}], [{"shuffle": "per_layer"}]],
    "seeds": [[None, [0]], [[1, 2], [2, 1]]],
    "diagnostic.optimizer.warmup_steps": [[None, 0], [3]],
}


def written(choices):
    data = BASE
    for path, value in choices.items():
        data = put(data, path.split("."), value)
    return data


def put(data, path, value):
    """What a reader of the documentation would write by hand: values replace, the sections above them stay."""
    head, *rest = path
    return {**data, head: put(data.get(head, {}), rest, value) if rest else value}


def ids(data, scale=None, settings=()):
    graph = plan(load_text(json.dumps(data), "f.yaml", scale, list(settings)))
    return sorted((phase.id, phase.marks) for phase in graph.phases.values())


@settings(deadline=None, max_examples=40, derandomize=True, database=None)
@given(st.data())
def test_one_meaning_has_one_id_and_another_has_others(data):
    paths = data.draw(st.lists(st.sampled_from(sorted(MEANINGS)), min_size=1, max_size=3, unique=True))
    meant = {path: data.draw(st.integers(0, len(MEANINGS[path]) - 1)) for path in paths}
    straight = ids(written({path: MEANINGS[path][i][0] for path, i in meant.items()}))
    spelled = {path: data.draw(st.sampled_from(MEANINGS[path][i])) for path, i in meant.items()}
    where = {path: data.draw(st.sampled_from(["file", "overlay", "set"])) for path in paths}
    file = written({path: spelled[path] for path in paths if where[path] == "file"})
    overlay: dict = {}
    for path in paths:
        if where[path] == "overlay":
            overlay = put(overlay, path.split("."), spelled[path])
    file = dict(reversed(list(file.items()))) | {"scales": {"a": overlay}}
    settings = [f"{path}={json.dumps(spelled[path])}" for path in paths if where[path] == "set"]
    assert ids(file, settings=settings) == straight

    path = data.draw(st.sampled_from(paths))
    others = [i for i in range(len(MEANINGS[path])) if i != meant[path]]
    other = {**meant, path: data.draw(st.sampled_from(others))}
    assert ids(written({path: MEANINGS[path][i][0] for path, i in other.items()})) != straight


@pytest.mark.parametrize("task", ["set", {"mixture": {"set": 0.6, "union": 0.4}}])
@pytest.mark.parametrize("over", [{"task": {"text": "c4"}}, {"task": "dyck", "k": 4}, {"task": "delete"}])
def test_another_task_brings_its_own_parameters(task, over):
    """The former task's length is none of a text's, and is no mistake in a scale that names the text."""
    file = put(BASE, ["procedural", "task"], task)
    by_hand = {**file, "procedural": {**file["procedural"], **over}}
    if "text" in over["task"]:
        del by_hand["procedural"]["length"]
    assert ids({**file, "scales": {"a": {"procedural": over}}}) == ids(by_hand)
    assert ids(file, settings=[f"procedural={json.dumps(over)}"]) == ids(by_hand)


@pytest.mark.parametrize(
    ("path", "value", "cells"),
    [
        (
            "procedural.task",
            {"mixture": {"set": {"grid": [0.2, 0.5, 2]}, "union": 0.5}},
            [{"mixture": {"set": weight, "union": 0.5}} for weight in (0.2, 0.5, 2)],
        ),
        (
            "procedural.length",
            {"min": {"grid": [4, 8]}, "max": {"grid": [8, 12]}},
            [{"min": low, "max": high} for low in (4, 8) for high in (8, 12)],
        ),
        (
            "transfer",
            {"attention": [{"from": {"grid": ["procedural", "hf:gpt2@" + "0" * 40]}}]},
            [{"attention": "procedural"}, {"attention": "hf:gpt2@" + "0" * 40}],
        ),
    ],
)
def test_a_grid_within_a_value_is_its_cells(path, value, cells):
    every = {id for cell in cells for id, _ in ids(put(BASE, path.split("."), cell))}
    assert {id for id, _ in ids(put(BASE, path.split("."), value))} == every


def test_the_order_of_seeds_and_grids_makes_no_other_plan():
    def digest(*settings: str) -> str:
        return plan(load_text(json.dumps(BASE), "f.yaml", set=list(settings))).digest

    there = digest("seeds=[0, 1]", "procedural.length={grid: [4, 8]}", "transfer={grid: [mlp, full]}")
    assert digest("seeds=[1, 0]", "procedural.length={grid: [8, 4]}", "transfer={grid: [full, mlp]}") == there
    assert digest("seeds=[0, 2]", "procedural.length={grid: [4, 8]}", "transfer={grid: [mlp, full]}") != there
    assert digest("seeds=[0, 1]", "procedural.length={grid: [4, 8]}", "transfer=mlp") != there

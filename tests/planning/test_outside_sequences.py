"""Token sequences made elsewhere, as a sweep file says them."""

from __future__ import annotations

import numpy as np
import pytest

from procray import tasks
from procray.errors import SpecError
from procray.planning.load import load_sweep
from procray.planning.planner import plan

SWEEP = """\
name: outside
seeds: [0, 1]
model: {layers: 1, heads: 1, width: 8, context: 64}
procedural:
  task: TASK
  length: 8
  vocab: 20
  batch: 4
  tokens: 1k
  optimizer: {lr: 1e-3, schedule: constant}
transfer: attention
diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3, schedule: constant}}
"""


def planned(folder, task, rows=40):
    folder.mkdir(exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    np.save(folder / "data" / "made.npy", np.arange(rows * 12).reshape(rows, 12) % 30)
    path = folder / "sweep.yaml"
    path.write_text(SWEEP.replace("TASK", task))
    return plan(load_sweep(path))


def warmups(graph):
    return {id: phase.recipe for id, phase in graph.phases.items() if phase.recipe.kind == "procedural"}


GRID = "{grid: [set, {sequences_from: {path: data/made.npy}}, {shuffled: {sequences_from: {path: data}}}]}"


def test_files_are_found_beside_the_sweep_file_and_their_place_is_not_their_identity(tmp_path):
    one, two = planned(tmp_path / "a", GRID), planned(tmp_path / "b", GRID)
    assert set(one.phases) == set(two.phases)
    found = [recipe.data["task"] for recipe in warmups(one).values()]
    assert sorted(task.get("name", "shuffled") for task in found) == sorted(["set", "sequences_from", "shuffled"] * 2)
    for recipe in warmups(one).values():
        if recipe.data["task"].get("name") == "sequences_from":
            assert recipe.model.context == 12
            assert tasks.from_recipe(recipe.data["task"]).vocab_size == 31
    other = planned(tmp_path / "c", GRID, rows=41)
    assert len(set(one.phases) & set(other.phases)) == 2 + 2 + 2  # of `set`, its targets, and the baseline


def test_variants_are_named_by_the_file(tmp_path):
    graph = planned(tmp_path, "{grid: [set, {sequences_from: {path: data/made.npy, cut: 8}}]}")
    assert any("sequences-made-cut8" in name for name in graph.variants)
    names = {phase.variant for phase in graph.phases.values() if phase.recipe.kind == "procedural"}
    assert {name.replace("/", " ") for name in names} == {"set L8", "sequences-made-cut8"}


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("{sequences_from: {path: data/mode.npy}}", "did you mean 'made.npy'?"),
        ("{sequences_from: {pth: data}}", "unknown key 'pth'; did you mean 'path'?"),
        ("{sequences_from: {field: x}}", "missing key 'path'"),
        ("{sequences_from: {path: data, cut: 1}}", "cut is 1; expected a whole number from 2"),
        ("{sequences_from: [data]}", "expected a path, {path: ..., field: ..., cut: ...} or {hf: NAME"),
    ],
)
def test_mistakes_have_their_place(tmp_path, task, message):
    with pytest.raises(SpecError) as error:
        planned(tmp_path, task)
    assert message in str(error.value)
    assert "sweep.yaml:5" in str(error.value)


@pytest.mark.parametrize(
    ("task", "key", "message"),
    [
        ("{sequences_from: {path: data, cut: 1}}", "cut", "cut is 1; expected a whole number from 2"),
        ("{sequences_from: {path: data, cut: many}}", "cut", "expected a count such as 2M"),
        ("{shuffled: {sequences_from: {path: data, cut: 1}}}", "cut", "cut is 1; expected a whole number from 2"),
        ("{shuffled: {sequences_from: {path: data, cut: many}}}", "cut", "expected a count such as 2M"),
        ("{sequences_from: {field: 3, path: data}}", "field", "expected text"),
        ("{sequences_from: {field: tokens, path: nowhere.npy}}", "path", "there is no file or folder"),
        ("{text: {corpus: c4, batch: many}}", "batch", "expected a count such as 2M"),
    ],
)
def test_a_problem_stands_at_its_key(tmp_path, task, key, message):
    with pytest.raises(SpecError) as caught:
        planned(tmp_path, task)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert problem.source[: problem.column - 1].endswith(f"{key}: ")
    assert problem.message.split(": ")[0].endswith(f".{key}")

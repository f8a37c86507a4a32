"""Where grids may stand, which of them cannot be used, and what a short name means."""

from __future__ import annotations

import pytest

from procray.spec import axes as room
from procray.spec.axes import Axis, find_axes, find_axes_of_targets, find_axis
from procray.spec.tree import Place, plain, read

ALLOWED = ("procedural", "transfer", "targets", "chain", "semantic")

TEXT = """\
seeds: [0]
procedural:
  task: {grid: [set, sort, {mixture: {set: 1}}]}
  tokens: {grid: [10k, 20k]}
transfer: {grid: [full]}
targets:
  - {name: code, semantic: {tokens: {grid: [1k, 2k]}, lr: 1}}
  - semantic: {tokens: {grid: [1k, 2k, 3k]}}
"""


def found(text: str):
    root, wrong = read(text, "f.yaml")
    assert root is not None
    assert wrong == []
    return find_axes(root, ALLOWED)


def told(text: str) -> list[str]:
    return [f"{one.line}:{one.column} {one.message}" for one in found(text)[2]]


def axis(name: str, *path: str | int) -> Axis:
    return Axis(path or tuple(name.split(".")), name, Place("f.yaml", 1, 1), [], 0)


def test_grids_are_found_in_the_order_of_the_file_with_names_paths_and_places():
    axes, broken, problems = found(TEXT)
    assert (broken, problems) == ({}, [])
    assert [(one.name, one.path, one.place.line, one.size) for one in axes] == [
        ("procedural.task", ("procedural", "task"), 3, 3),
        ("procedural.tokens", ("procedural", "tokens"), 4, 2),
        ("transfer", ("transfer",), 5, 1),
        ("targets.code.semantic.tokens", ("targets", 0, "semantic", "tokens"), 7, 2),
        ("targets.1.semantic.tokens", ("targets", 1, "semantic", "tokens"), 8, 3),
    ]
    assert [plain(node) for node in axes[0].nodes] == ["set", "sort", {"mixture": {"set": 1}}]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("seeds: {grid: [0, 1]}", "seeds", "1:9 seeds: a grid cannot stand here"),
        ("targets: {grid: [a]}", "targets", "1:11 targets: a grid cannot stand here"),
        ("chain: {grid: [a]}", "chain", "1:9 chain: a grid cannot stand here"),
        ("targets: [{grid: [1]}]", "targets.0", "1:12 targets.0: a grid cannot stand here"),
        (
            "semantic: {resources: {gpu: {grid: [0, 1]}}}",
            "semantic.resources.gpu",
            "1:30 semantic.resources.gpu: a grid cannot stand here",
        ),
        ("semantic: {name: {grid: [a]}}", "semantic.name", "1:19 semantic.name: a grid cannot stand here"),
        ("transfer: {grid: full}", "transfer", "1:18 transfer: expected a list of values after 'grid'"),
        ("transfer: {grid: []}", "transfer", "1:18 transfer: an empty grid: give at least one value"),
    ],
)
def test_a_grid_that_cannot_be_used_is_told_and_known_by_its_name(text, name, message):
    axes, broken, problems = found(text)
    assert axes == []
    assert list(broken) == [name]
    assert [f"{one.line}:{one.column} {one.message}" for one in problems] == [message]


def test_all_that_is_wrong_in_one_grid_is_told_and_the_rest_is_kept():
    text = "transfer: {grid: [full, ~, 2M, {a: {grid: [1]}}, full, 2000000, mlp], noise: 1, more: 2}"
    axes, broken, _ = found(text)
    assert told(text) == [
        "1:71 transfer: 'noise' stands beside 'grid', which stands alone",
        "1:81 transfer: 'more' stands beside 'grid', which stands alone",
        "1:25 transfer: a value of the grid is missing",
        "1:37 transfer: a grid inside a grid",
        "1:50 transfer: 'full' stands here twice",
        "1:56 transfer: 2000000 stands here twice",
    ]
    assert broken == {}
    assert [[plain(node) for node in one.nodes] for one in axes] == [["full", "2M", "mlp"]]
    assert axes[0].size == 3


def test_every_grid_inside_a_grid_is_told():
    text = "transfer: {grid: [[{grid: [1, {grid: [2]}]}], {a: {b: {grid: [3]}}}]}"
    assert told(text) == [
        "1:21 transfer: a grid inside a grid",
        "1:32 transfer: a grid inside a grid",
        "1:56 transfer: a grid inside a grid",
    ]
    assert list(found(text)[1]) == ["transfer"]


def test_more_values_than_can_be_planned_are_told_at_the_widest_grid(monkeypatch):
    monkeypatch.setattr(room, "MOST_VALUES", 11)
    assert len(found(TEXT)[0]) == 5, "as many as allowed"
    monkeypatch.setattr(room, "MOST_VALUES", 10)
    text = TEXT + "chain: {grid: [x]}\n"
    axes, broken, problems = found(text)
    assert axes == []
    assert list(broken.items()) == [
        ("chain", ("chain",)),
        ("procedural.task", ("procedural", "task")),
        ("procedural.tokens", ("procedural", "tokens")),
        ("transfer", ("transfer",)),
        ("targets.code.semantic.tokens", ("targets", 0, "semantic", "tokens")),
        ("targets.1.semantic.tokens", ("targets", 1, "semantic", "tokens")),
    ]
    assert [(one.line, one.message) for one in problems] == [
        (9, "chain: a grid cannot stand here"),
        (3, "the grids hold 11 values, and at most 10 are planned"),
    ]
    wide = f"semantic: {{a: {{grid: [1, 2]}}, b: {{grid: {list(range(10, 19))}}}}}"
    assert [one.column for one in found(wide)[2]] == [35]


def test_five_thousand_values_are_planned():
    assert found(f"transfer: {{grid: {list(range(5000))}}}")[2] == []
    assert told(f"transfer: {{grid: {list(range(5001))}}}") == [
        "1:12 the grids hold 5,001 values, and at most 5,000 are planned"
    ]


AXES = [
    axis("procedural.task"),
    axis("procedural.tokens"),
    axis("targets.a.semantic.tokens", "targets", 0, "semantic", "tokens"),
    axis("targets.b.semantic.tokens", "targets", 1, "semantic", "tokens"),
    axis("targets.b.finetune.lr", "targets", 1, "finetune", "lr"),
    axis("targets.b.semantic.lr", "targets", 1, "semantic", "lr"),
    axis("targets.b.finetune.rate", "targets", 1, "finetune", "rate"),
]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("procedural.task", 0),
        ("task", 0),
        ("targets.1.semantic.tokens", 3),
        ("targets.b.semantic.tokens", 3),
        ("b.semantic.tokens", 3),
        ("rate", 6),
        ("lr", "'lr' may mean targets.b.finetune.lr or targets.b.semantic.lr"),
        ("procedural.tsk", "no axis 'procedural.tsk'; did you mean 'procedural.task'?"),
        ("sk", "no axis 'sk'"),
    ],
)
def test_a_name_or_its_ending_means_one_axis(name, meant):
    got = find_axis(AXES, name)
    assert got == meant or (isinstance(got, str) and isinstance(meant, str) and got.startswith(meant)), got


def test_what_an_unknown_name_could_have_been_is_listed():
    assert find_axis([], "x") == "no axis 'x' (the sweep has no grid)"
    assert find_axis(AXES[:2], "x") == "no axis 'x' (axes: procedural.task, procedural.tokens)"


@pytest.mark.parametrize(
    ("name", "preferred", "meant"),
    [
        ("task", (), {0}),
        ("targets.a.semantic.tokens", (), {2}),
        ("tokens", (0, 1), {1}),
        ("tokens", (1, 2, 3), "'tokens' may mean procedural.tokens or targets.a.semantic.tokens or "),
        ("tokens", (2, 3), {2, 3}),
        ("tokens", (3,), {3}),
        ("tokens", (), "'tokens' may mean"),
        ("semantic.tokens", (), {2, 3}),
        ("semantic.tokens", (0,), {2, 3}),
        ("lr", (), "'lr' may mean"),
        ("lr", (4,), {4}),
        ("x", (), "no axis 'x'"),
    ],
)
def test_a_short_name_may_mean_one_axis_of_each_target(name, preferred, meant):
    got = find_axes_of_targets(AXES, name, frozenset(preferred))
    assert got.startswith(meant) if isinstance(meant, str) else got == meant, got

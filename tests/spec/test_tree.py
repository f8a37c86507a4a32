"""YAML 1.2 scalars, places, duplicate keys, anchors, and what is refused."""

from __future__ import annotations

import math

import pytest

from procray.spec.tree import plain, read


def tree(text):
    node, problems = read(text, "f.yaml")
    assert not problems, problems
    return node


def data(text):
    return plain(tree(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1e8", 1e8),
        ("5.", 5.0),
        (".5", 0.5),
        ("012", 12),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0o17", 15),
        ("on", "on"),
        ("no", "no"),
        ("12:30", "12:30"),
        ("2M", "2M"),
        ("true", True),
        ("~", None),
        ("'3'", "3"),
        ("!!str 3", "3"),
        ("-.inf", -math.inf),
        ("2020-01-01", "2020-01-01"),
        ("1e", "1e"),
    ],
)
def test_scalars(text, value):
    found = data(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


def test_places_point_at_keys_and_values():
    node = tree("a:\n  b: [1, {c: x}]\n")
    assert (node.keys["a"].line, node.keys["a"].column) == (1, 1)
    inner = node.value["a"].value["b"].value[1].value["c"]
    assert (inner.place.line, inner.place.column, inner.place.text) == (2, 14, "  b: [1, {c: x}]")


def test_duplicate_keys_are_problems_and_the_first_stays():
    node, problems = read("lr: 1\nb: 2\nlr: 3\n", "f.yaml")
    assert plain(node) == {"lr": 1, "b": 2}
    assert [str(problem).splitlines()[0] for problem in problems] == [
        "f.yaml:3:1: duplicate key 'lr' (first at line 1)"
    ]


def test_anchors_and_merge_keys():
    assert data("x: &x {a: 1, b: 2}\ny: *x\nz: {<<: *x, b: 3}\nw: {<<: [*x, {c: 4}]}\n") == {
        "x": {"a": 1, "b": 2},
        "y": {"a": 1, "b": 2},
        "z": {"a": 1, "b": 3},
        "w": {"a": 1, "b": 2, "c": 4},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "not YAML"),
        ("a: b: c", "not YAML"),
        ("a: 1\n---\nb: 2", "not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "is not allowed"),
        ("a: !mine x", "is not allowed"),
        ("a: &a [*a]", "cannot contain itself"),
        ("{[1]: 2}", "a key must be plain text"),
        ("a: !!int x", "is not a YAML int"),
        ("<<: 3", "needs a mapping"),
        ("a: \x07", "not YAML"),
    ],
)
def test_what_is_refused(text, message):
    _, problems = read(text, "f.yaml")
    assert message in str(problems[0])


def test_exploding_anchors_are_refused():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    _, problems = read("\n".join(lines), "f.yaml")
    assert any("once its anchors are followed" in str(problem) for problem in problems)


@pytest.mark.parametrize(
    ("text", "value", "column"),
    [
        ("{a: 500,000}", {"a": 500_000}, 5),
        ("{a: 1,500,000, b: 2}", {"a": 1_500_000, "b": 2}, 5),
        ("{a: 0,5}", {"a": 0.5}, 5),
        ("{a: -1,500.5}", {"a": -1500.5}, 5),
        ("{b: 1, a: 1,500k}", {"a": "1500k", "b": 1}, 11),
        ("[1,000, 2]", [1000, 2], 2),
        ("{a: [8, 500,000]}", {"a": [8, 500_000]}, 9),
    ],
)
def test_a_number_with_commas_is_a_problem_at_its_place(text, value, column):
    node, problems = read(text, "f.yaml")
    assert plain(node) == value  # so that nothing else is found wrong
    (problem,) = problems
    assert (problem.line, problem.column) == (1, column)
    assert "a number is written without commas" in problem.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[8,16]", [8, 16]),
        ("[0,100,200]", [0, 100, 200]),
        ("{a: 5,b: 6}", {"a": 5, "b": 6}),
        ("{a: x,000}", {"a": "x", "000": None}),
        ("{a: 500, 000: 1}", {"a": 500, "000": 1}),
        ("a: 500,000", {"a": "500,000"}),
        ("['1',000]", ["1", 0]),
    ],
)
def test_what_only_looks_like_a_number_with_commas(text, value):
    node, problems = read(text, "f.yaml")
    assert (plain(node), problems) == (value, [])

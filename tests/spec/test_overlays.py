"""What of a setting stays when an overlay is laid upon it."""

from __future__ import annotations

import pytest

from procray.spec.overlays import merge
from procray.spec.tree import plain, read


def tree(text):
    node, problems = read(text, "f.yaml")
    assert not problems, problems
    return node


def overlay(base, over):
    return plain(merge(tree(base), tree(over)))


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ("{a: {b: 1, c: 2}}", "{a: {c: 3}}", {"a": {"b": 1, "c": 3}}),
        ("{a: [1, 2]}", "{a: [3]}", {"a": [3]}),
        ("{a: {grid: [1, 2]}}", "{a: {grid: [3]}}", {"a": {"grid": [3]}}),
        ("{a: {grid: [1, 2]}}", "{a: 3}", {"a": 3}),
        ("{a: {b: 1}}", "{a: {grid: [{b: 2}]}}", {"a": {"grid": [{"b": 2}]}}),
        ("{a: 1, b: 2}", "{a: null}", {"b": 2}),
        ("{length: {min: 2, max: 8}}", "{length: {max: 4}}", {"length": {"min": 2, "max": 4}}),
        (
            "{length: {min: 2, max: 8}}",
            "{length: {start: 2, step: 2, mastery: 0.9, max: 9}}",
            {"length": {"start": 2, "step": 2, "mastery": 0.9, "max": 9}},
        ),
        ("{corpus: {files: [x]}}", "{corpus: {hf: y}}", {"corpus": {"hf": "y"}}),
        ("{batch_tokens: 64}", "{batch: 2}", {"batch": 2}),
        ("{semantic: {a: 1}}", "{diagnostic: {b: 1}}", {"diagnostic": {"b": 1}}),
        ("{optimizer: {warmup: 5}}", "{optimizer: {warmup_steps: 1}}", {"optimizer": {"warmup_steps": 1}}),
    ],
)
def test_overlays(base, over, merged):
    assert overlay(base, over) == merged


def test_merging_leaves_both_alone():
    base, over = tree("{a: {b: 1}}"), tree("{a: {b: 2, c: null}}")
    merge(base, over)
    assert plain(base) == {"a": {"b": 1}}
    assert plain(over) == {"a": {"b": 2, "c": None}}

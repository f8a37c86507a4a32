"""Settings of the command line: dotted keys, entries of lists, mappings."""

from __future__ import annotations

import pytest

from procray.spec.settings import assign, parse_setting, setting_texts
from procray.spec.tree import plain, read


def tree(text):
    node, problems = read(text, "f.yaml")
    assert not problems, problems
    return node


@pytest.mark.parametrize(
    ("setting", "result"),
    [
        ("a.b=2", {"a": {"b": 2, "c": [{"name": "x", "v": 1}]}}),
        ("a.d.e=3e-4", {"a": {"b": 1, "c": [{"name": "x", "v": 1}], "d": {"e": 3e-4}}}),
        ("a.c.0.v=5", {"a": {"b": 1, "c": [{"name": "x", "v": 5}]}}),
        ("a.c.x.v=5", {"a": {"b": 1, "c": [{"name": "x", "v": 5}]}}),
        ("a.b={grid: [1, 2]}", {"a": {"b": {"grid": [1, 2]}, "c": [{"name": "x", "v": 1}]}}),
        ("a.b=", {"a": {"c": [{"name": "x", "v": 1}]}}),
        ("a.b.c=1", {"a": {"b": {"c": 1}, "c": [{"name": "x", "v": 1}]}}),
    ],
)
def test_dotted_keys(setting, result):
    parts, value, place, problems = parse_setting(setting)
    assert not problems
    assert plain(assign(tree("a: {b: 1, c: [{name: x, v: 1}]}"), parts, value, place)) == result


def test_an_unknown_entry_of_a_list_is_named():
    parts, value, place, _ = parse_setting("a.cod.v=1")
    with pytest.raises(KeyError, match="no entry 'cod'; did you mean 'code'"):
        assign(tree("a: [{name: code}]"), parts, value, place)


def test_settings_from_a_mapping():
    assert setting_texts({"seeds": [0], "a.b": 3e-4, "c": None}) == ["seeds=[0]", "a.b=0.0003", "c=null"]

"""A plan's JSON: what it shows, and what is read back of it."""

from __future__ import annotations

import json

import pytest

from procray.errors import StoreError
from procray.planning.load import load_text
from procray.planning.plan_json import plan_from_json, read_plan
from procray.planning.planner import plan

TEXT = """\
name: json
seeds: [0, 1]
model: {layers: 2, heads: 2, width: 16, context: 32}
procedural: {task: {grid: [union, set]}, length: 8, batch: 16, tokens: {grid: [10k, 20k]}, optimizer: {lr: 1e-3}}
targets:
  - name: code
    transfer: {grid: [full, mlp]}
    semantic: {corpus: c4, tokenizer: byte, tokens: 100k, batch: 8, optimizer: {lr: 5e-4}}
  - name: probe
    transfer: attention
    diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: {grid: [10k, 20k]}, optimizer: {lr: 1e-3}}
matched: [0.5]
"""


@pytest.fixture
def graph():
    return plan(load_text(TEXT, "f.yaml"))


@pytest.fixture
def value(graph):
    return json.loads(json.dumps(graph.to_json()))


def test_round_trip_and_public_fields(graph, value):
    again = plan_from_json(value)
    assert again == graph
    assert again.segments() == graph.segments()
    summary = graph.summary()
    assert summary.keys() == {"sweep", "scale", "phases", "totals"}
    assert summary["phases"][0].keys() == {"id", "kind", "variant", "tokens", "parents"}
    assert summary["totals"].keys() == {
        "phases", "naive_phases", "tokens", "naive_tokens", "t1_tokens", "naive_t1_tokens", "flops"
    }  # fmt: skip
    ids = {phase["id"] for phase in summary["phases"]}
    assert all(set(phase["parents"]) <= ids for phase in summary["phases"])
    assert all(value[key] == summary[key] or key == "phases" for key in summary)


def test_what_an_older_version_did_not_write_is_empty(graph, value):
    for key in ("search", "trials", "outside"):
        del value[key]
    for cell in value["cells"]:
        del cell["stages"]
    again = plan_from_json(value)
    assert (again.search, again.trials, again.outside) == (None, [], {})
    assert again.phases == graph.phases


def test_what_the_form_does_not_know_is_left_out(graph, value):
    """A field of the class among it: `then` is called where a plan has it."""
    value |= {"then": "something", "newer": 1}
    value["phases"][0]["newer"] = value["cells"][0]["newer"] = 1
    again = plan_from_json(value)
    assert again == graph
    assert again.then is None


def test_references_to_nothing_are_damage(value, tmp_path):
    path = tmp_path / "plan.json"
    for break_it, message in (
        (lambda: value["cells"][-1].update(compared="0" * 16), "which the plan does not have"),
        (lambda: value["phases"][0].update(marks=[2, 1]), "not ascending"),
        (lambda: value["phases"].reverse(), "does not name before"),
    ):
        break_it()
        path.write_text(json.dumps(value))
        with pytest.raises(StoreError, match=message) as error:
            read_plan(path)
        assert str(path) in str(error.value)

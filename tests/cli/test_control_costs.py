"""`procray plan` says what the controls of a sweep add to it."""

from __future__ import annotations

import json

import pytest

from procray.cli.plan_view import plan_json, plan_text
from procray.cli.prediction import predict
from procray.planning.load import load_text
from procray.planning.planner import plan
from procray.store.store import Store

FILE = """\
name: small
seeds: [0, 1]
model: {layers: 2, heads: 2, width: 16, context: 32}
procedural: {task: union, length: 8, batch: 16, tokens: 200k, optimizer: {lr: 1e-3}}
semantic: {corpus: c4, tokenizer: byte, tokens: 1M, batch: 8, optimizer: {lr: 5e-4, schedule: cosine}}
"""
WORD = "controls: [shuffled, text, random, more_semantic]\n"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def measure(store: Store) -> None:
    """A machine that trains 10 MFLOP a second, as `procray doctor` would write it down."""
    machine = {"device": "cpu", "shapes": [{"width": 16, "flops_per_s": 1e7}]}
    store.path.mkdir(parents=True, exist_ok=True)
    (store.path / "machine.json").write_text(json.dumps(machine))


def line(text: str, first: str) -> str:
    (found,) = [one for one in text.splitlines() if one.startswith(first)]
    return found


def test_a_sweep_without_warm_ups_saves_none_of_their_tokens(store):
    bare = "".join(row for row in FILE.splitlines(keepends=True) if not row.startswith("procedural"))
    assert line(plan_text(plan(load_text(bare, "f.yaml")), store), "warm-ups") == "warm-ups  none"


def test_the_cost_of_controls_is_a_line_of_its_own(store):
    plain, controlled = plan(load_text(FILE, "f.yaml")), plan(load_text(FILE + WORD, "f.yaml"))
    # At each of two seeds: two warm-ups of 200k, three targets of 1M after them, and one of 1.2M after none.
    assert line(plan_text(controlled, store), "controls") == "controls  12 of the phases, 9.2M of the tokens"
    assert controlled.totals["phases"] - plain.totals["phases"] == 12
    assert "controls" not in plan_text(plain, store)


def test_their_predicted_time_is_that_by_which_the_sweep_gets_longer(store):
    plain, controlled = plan(load_text(FILE, "f.yaml")), plan(load_text(FILE + WORD, "f.yaml"))
    measure(store)
    with_them, without = predict(controlled, store, set()), predict(plain, store, set())
    assert with_them is not None
    assert without is not None
    seconds = plan_json(controlled, store)["controls"]["seconds"]
    assert seconds == pytest.approx(with_them.left.seconds - without.left.seconds)
    assert seconds > without.left.seconds
    assert line(plan_text(controlled, store), "controls").endswith(" min of what is left")


def test_machines_read_which_variant_is_whose_control(store):
    shown = plan_json(plan(load_text(FILE + WORD, "f.yaml")), store)["controls"]
    kinds = ("shuffled", "text", "random", "more_semantic")
    assert shown["variants"] == {"union/full": {kind: f"union/full/{kind}" for kind in kinds}}
    assert (shown["phases"], shown["seconds"]) == (12, None)
    plain = plan_json(plan(load_text(FILE, "f.yaml")), store)["controls"]
    assert plain == {"variants": {}, "phases": 0, "tokens": 0, "seconds": None}


def test_the_search_of_a_sweep_counts_the_settings_of_its_controls(store):
    tuned = FILE.replace("lr: 5e-4", "lr: {grid: [5e-4, 1e-3]}")
    tuned += "select: {axes: [semantic.optimizer.lr], seeds: [100]}\n"
    plain, controlled = plan(load_text(tuned, "f.yaml")), plan(load_text(tuned + WORD, "f.yaml"))
    shown = plan_json(controlled, store)["controls"]
    assert shown["phases"] == controlled.totals["phases"] - plain.totals["phases"] == 4 * 2 + 2
    assert shown["variants"]["union/full"]["more_semantic"] == "union/full/more_semantic"

"""The search of a sweep in the report: every setting, the chosen ones, the budget; and power from what is there."""

from __future__ import annotations

import json
import math

import pytest

from procray.planning import load_sweep, plan
from procray.report import answer, results_json, summarise
from procray.report.numbers.power import power, power_text
from procray.report.numbers.settings import settings_of
from procray.report.numbers.statistics import smallest_difference
from procray.report.page.search_tables import search_grids
from procray.report.page.sweep_page import page
from procray.selection import select
from procray.store.store import Store

from ..synthetic import YAML, fill, loss_and_accuracy, mode

TUNED = YAML.replace("{lr: 1e-3, schedule: cosine, min_lr: 0.1}", "{lr: {grid: [1e-4, 1e-3, 1e-2]}, schedule: cosine}")
TUNED = TUNED.replace("matched: [0.5, 0.75]", "select: {axes: [targets.text.semantic.optimizer.lr], seeds: [100, 101]}")


def better_in_the_middle(phase, tokens):
    """The baseline is best at 1e-2, the rest at 1e-3; a step of ten away costs 1 nat."""
    value = loss_and_accuracy(phase, tokens)
    if phase.recipe.kind != "semantic":
        return value
    best = 1e-2 if mode(phase) == "none" else 1e-3
    return {**value, "loss": value["loss"] + abs(math.log10(phase.recipe.optimizer.lr / best))}


@pytest.fixture
def searched(tmp_path):
    """The search done but for one failed phase, and nothing after it."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("abc " * 200)
    path = tmp_path / "tiny.yaml"
    path.write_text(TUNED.replace("CORPUS", str(corpus)))
    graph, store = plan(load_sweep(path)), Store(tmp_path / "store")
    lost = next(p for p in graph.phases.values() if p.label == "tuning/text/40k/full/lr0.01 s101")
    failed = {"state": "failed", "reason": "loss is <nan>", "step": 1, "final": True}
    fill(
        graph, store, better_in_the_middle,
        until=lambda phase: 0.1 if phase is lost else 1.0, state=lambda phase: failed if phase is lost else None,
    )  # fmt: skip
    return graph, store


def test_every_tried_setting_is_shown_and_the_chosen_ones_are_marked(searched):
    graph, store = searched
    whole = select.whole(graph, store)
    results = summarise(whole, store)
    (grid,) = search_grids(results)
    assert grid.heads == ("variant", "lr1e-4", "lr1e-3", "lr0.01")
    assert [row.labels[0] for row in grid.rows] == [
        "baseline",
        "20k/attention",
        "20k/full",
        "40k/attention",
        "40k/full",
    ]
    chosen = {
        row.labels[0]: head
        for row in grid.rows
        for head, entry in zip(grid.heads[1:], row.entries, strict=True)
        if "*" in entry.text
    }
    assert chosen == {"baseline": "lr0.01"} | dict.fromkeys([row.labels[0] for row in grid.rows[1:]], "lr1e-3")
    notes = " ".join(grid.notes)
    assert "3 settings x 2 seeds for the baseline, 3 settings x 2 seeds for each of 4 warmed-up variants." in notes
    assert "text/baseline: lr 0.01 (highest) of the values tried" in notes
    assert "Failed, so never chosen: text/40k/full/lr0.01" in notes
    text = answer(results)
    assert all(note.split(";")[0][:40] in text for note in grid.notes)
    assert "(failed, 1 of 2)" in text
    value = json.loads(json.dumps(results_json(results), allow_nan=False))
    assert len(value["selection"]["variants"]) == 5
    assert value["selection"]["variants"][0]["chosen"] == {"targets.text.semantic.optimizer.lr": 1e-2}


def test_variants_are_compared_with_the_chosen_baseline_and_keep_their_names(searched):
    graph, store = searched
    whole = select.whole(graph, store)
    fill(whole, store, better_in_the_middle)
    results = summarise(whole, store)
    names = [v.name for v in results.targets[0].variants]
    assert names == ["text/baseline", *(f"text/{t}/{m}" for t in ("20k", "40k") for m in ("attention", "full"))]
    full = next(v for v in results.variants if v.name == "text/20k/full")
    assert (full.setting, full.baseline) == ("20k", "text/baseline")
    assert full.delta.mean == pytest.approx(-0.21)  # each at its best: what separates them at equal settings
    assert results.complete


def test_in_the_middle_of_a_search_there_are_no_results_yet(tmp_path, searched):
    graph, _ = searched
    store = Store(tmp_path / "empty")
    results = summarise(graph, store)
    assert (results.targets, results.complete) == ((), False)
    assert "Still searched" in answer(results)
    assert json.loads(json.dumps(results_json(results)))["variants"] == []
    (text, find) = power(graph, store)
    assert (text.seeds, text.smallest) == (3, None)
    assert power_text(find) == "3 seeds; no spread measured yet"


def test_the_page_of_a_search_escapes_what_it_quotes(searched):
    graph, store = searched
    html = page(summarise(graph, store), [], "<svg></svg>", settings_of(graph, store, "tiny.yaml"))
    assert 'id="search"' in html
    assert "loss is &lt;nan&gt;" in html
    assert "<nan>" not in html
    rows = dict(settings_of(select.whole(graph, store), store, "tiny.yaml").rows)
    assert rows["seeds"] == "0, 1 and 2"
    assert "lr on seeds 100 and 101" in rows["settings searched"]


def test_power_from_the_tuning_seeds_then_from_the_pairs_of_the_sweep(searched):
    graph, store = searched
    whole = select.whole(graph, store)
    before = power(whole, store)[0]
    # On the tuning seeds full transfer gains 0.01 more a seed: 0.2 + 1.00 and 0.2 + 1.01; attention the same twice.
    assert before.source == "the paired differences of the tuning seeds"
    fill(whole, store, better_in_the_middle)
    text, find = power(whole, store)
    assert text.source == "the paired differences of 4 variants"
    # Two variants with differences 0.20, 0.21, 0.22 and two without any spread.
    assert text.sd == pytest.approx(0.01 / 2**0.5)
    assert text.smallest == pytest.approx(smallest_difference(text.sd, 3))
    assert (find.metric, find.sd) == ("accuracy", pytest.approx(0.0))
    assert "points" in power_text(find)


def test_power_from_the_baseline_alone_says_so(tmp_path, searched):
    graph, _ = searched
    store = Store(tmp_path / "baseline")
    whole = graph.then({trial.variant: trial.setting for trial in graph.trials})
    fill(whole, store, until=lambda phase: 1.0 if phase.variant == "text/baseline" else 0.0)
    text = power(whole, store)[0]
    assert text.sd == pytest.approx(0.05 * 2**0.5)  # the synthetic seeds lie 0.05 apart
    assert "baseline's spread x sqrt(2)" in power_text(text)

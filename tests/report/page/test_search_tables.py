"""The search of a sweep in the report: every setting, the chosen ones, the budget."""

from __future__ import annotations

import json

import pytest

from procray.report import answer, results_json, summarise
from procray.report.numbers.power import power, power_text
from procray.report.numbers.settings import settings_of
from procray.report.page.search_tables import search_grids
from procray.report.page.sweep_page import page
from procray.selection import select
from procray.store.store import Store

from ..synthetic import better_in_the_middle, fill


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

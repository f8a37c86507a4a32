"""What the planned seeds can show, from what is there."""

from __future__ import annotations

import pytest

from procray.report.numbers.power import power, power_text
from procray.report.numbers.statistics import smallest_difference
from procray.selection import select
from procray.store.store import Store

from ..synthetic import better_in_the_middle, fill


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
    assert text.smallest == pytest.approx(smallest_difference(text.sd, 3, family=4))
    assert "corrected for 4 variants" in power_text(text)
    # No two seeds differ in their difference, as far as 256 sequences tell.
    assert (find.metric, find.sd) == ("accuracy", pytest.approx(1 / 256))
    assert "points" in power_text(find)


def test_power_from_the_baseline_alone_says_so(tmp_path, searched):
    graph, _ = searched
    store = Store(tmp_path / "baseline")
    whole = graph.then({trial.variant: trial.setting for trial in graph.trials})
    fill(whole, store, until=lambda phase: 1.0 if phase.variant == "text/baseline" else 0.0)
    text = power(whole, store)[0]
    assert text.sd == pytest.approx(0.05 * 2**0.5)  # the synthetic seeds lie 0.05 apart
    assert "baseline's spread x sqrt(2)" in power_text(text)

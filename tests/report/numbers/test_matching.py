"""Matched reruns: the baseline has them too, and what is saved is measured against its best budget."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from procray.planning import PlannedPhase
from procray.report.numbers.interchange import results_json
from procray.report.numbers.matching import against_baseline
from procray.report.numbers.results import Target
from procray.report.numbers.summary import summarise
from procray.store.store import Store

from ..synthetic import Formula, fill, make_plan, mode

# On a small corpus the longest schedule is the worst: final losses of the baseline by the share of T2.
WORSE_WITH_TIME = {1.0: 2.96, 0.75: 2.80, 0.5: 2.57}


def share(phase: PlannedPhase) -> float:
    return float(phase.variant.partition("@")[2] or 1.0)


def ending_at(full: dict[float, float], attention: dict[float, float]) -> Formula:
    """A formula whose text phases end at these losses by the share of T2; the seeds differ in all by 0.01."""

    def formula(phase: PlannedPhase, tokens: float) -> dict[str, float]:
        if phase.recipe.kind != "semantic":
            return {"loss": 1.0, "accuracy": 0.5}
        ends = {"none": WORSE_WITH_TIME, "full": full, "attention": attention}[mode(phase)]
        behind = 1.0 - tokens / (1024_000 * share(phase))
        return {"loss": ends[share(phase)] + behind + 0.01 * phase.recipe.seed, "accuracy": 0.25}

    return formula


def text(tmp_path, **ends) -> Target:
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    fill(plan, store, ending_at(**ends))
    return summarise(plan, store).targets[0]


def match(target: Target, name: str):
    return next(variant for variant in target.variants if variant.short == name).matched


def test_a_useless_warm_up_saves_nothing_where_the_baseline_is_best_with_half(tmp_path):
    # One warm-up ends its full length a thousandth ahead of the baseline, the other a thousandth behind.
    ahead, behind = ({**WORSE_WITH_TIME, 1.0: 2.96 + sign * 0.001} for sign in (-1, 1))
    target = text(tmp_path, full=ahead, attention=behind)
    for name in ("20k/full", "20k/attention"):
        found = match(target, name)
        assert (found.state, found.tokens, found.of) == ("reached", 512_000, 512_000)
        assert found.fraction == pytest.approx(1.0)
    base = match(target, "baseline")
    assert (base.state, base.tokens, base.fraction) == ("baseline", 512_000, 1.0)


def test_full_length_need_not_match_and_a_budget_above_the_baselines_best_costs_data(tmp_path):
    # `full` gets there with three quarters only and loses it again at full length; `attention` never does.
    full = {0.5: 2.60, 0.75: 2.56, 1.0: 2.96}
    target = text(tmp_path, full=full, attention={0.5: 2.58, 0.75: 2.58, 1.0: 2.58})
    found = match(target, "20k/full")
    expected = 512_000 * 1.5**0.75  # three quarters of the way from 2.60 to 2.56, in log-tokens
    assert found.tokens == pytest.approx(expected)
    assert found.fraction == pytest.approx(1.5**0.75)
    assert found.total_fraction == pytest.approx((expected + 20_000) / 512_000, rel=0.01)
    assert list(found.per_seed.values()) == pytest.approx([expected] * 3)
    lost = match(target, "20k/attention")
    assert (lost.state, lost.of, lost.seeds_reached, len(lost.per_seed)) == ("not reached", 512_000, 0, 3)


def test_every_budget_of_a_variant_is_compared_with_the_baselines_best(tmp_path):
    target = text(tmp_path, full={0.5: 2.50, 0.75: 2.60, 1.0: 2.96}, attention=WORSE_WITH_TIME)
    full = next(variant for variant in target.variants if variant.short == "20k/full")
    assert [point.difference.mean for point in full.points] == pytest.approx([-0.07, 0.03])
    assert (full.matched.fraction, full.matched.at_most) == (1.0, True)  # half was the smallest budget tried
    base = next(variant for variant in target.variants if variant.is_baseline)
    assert [point.final.mean for point in base.points] == pytest.approx([2.58, 2.81])
    assert [point.difference and point.difference.mean for point in base.points] == [None, pytest.approx(0.23)]


def test_machines_read_what_a_fraction_is_of(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    fill(plan, store, ending_at(WORSE_WITH_TIME, WORSE_WITH_TIME))
    found = json.loads(json.dumps(results_json(summarise(plan, store))))
    full = next(variant for variant in found["variants"] if variant["name"] == "text/20k/full")
    assert full["data_fraction_of"] == {"readoff": 1024_000, "matched": 512_000}


def test_an_open_rerun_of_the_baseline_keeps_every_answer_pending(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    fill(
        plan,
        store,
        ending_at(WORSE_WITH_TIME, WORSE_WITH_TIME),
        until=lambda phase: 0.5 if phase.variant == "text/baseline@0.5" and phase.recipe.seed == 2 else 1.0,
    )
    target = summarise(plan, store).targets[0]
    assert {match(target, name).state for name in ("baseline", "20k/full", "40k/attention")} == {"pending"}


def test_a_variant_whose_baseline_is_not_planned_has_means_and_no_difference(results):
    variant = next(one for one in results.variants if one.name == "text/20k/full")
    alone = against_baseline(replace(variant, delta=None, final_loss=None), None)
    assert (alone.final_loss, alone.delta) == (variant.final_loss, None)


def test_a_budget_at_which_a_seed_failed_is_the_best_where_the_others_end_best(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    (lost,) = [one for one in plan.phases.values() if one.variant == "text/baseline@0.5" and one.recipe.seed == 2]
    failed = {"state": "failed", "reason": "loss is nan", "step": 1}
    fill(
        plan, store, ending_at(full=WORSE_WITH_TIME, attention=WORSE_WITH_TIME),
        until=lambda phase: 0.1 if phase is lost else 1.0, state=lambda phase: failed if phase is lost else None,
    )  # fmt: skip
    base = match(summarise(plan, store).targets[0], "baseline")
    assert (base.state, base.tokens) == ("baseline", 512_000)

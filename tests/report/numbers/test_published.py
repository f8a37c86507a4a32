import math
from dataclasses import replace

import pytest

from procray.report.numbers.interchange import results_json
from procray.report.numbers.published import at_a_glance, compare, effect_text, measured_text, published_text
from procray.report.numbers.results import Match
from procray.report.numbers.settings import Settings
from procray.report.numbers.summary import summarise
from procray.report.page.answer import answer
from procray.report.page.sweep_page import page
from procray.report.page.tables import published_grid
from procray.store.store import Store

from .. import science
from ..synthetic import fill, make_plan, mode
from ..whole_sweeps import SWEEPS

ENTRY = {
    "value": 0.75,
    "tolerance": 0.05,
    "source": "a paper",
    "strength": "one seed",
    "variant": "20k/full",
    "target": "text",
}


ACCURATE = {"target": "find", "variant": "20k/attention", "value": 0.4, "tolerance": 0.03}
BASELINE = {"quantity": "final_loss", "value": 10.07, "variant": "baseline"}
WORSE = {"quantity": "final_loss", "value": 10.18, "variant": "20k/attention", "tolerance": 0.14}  # by 0.1 nats


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({}, "reproduced", "excludes no effect"),
        # Every seed gets there between the same evaluations, which are 5 % apart: ± 4.3 x 5 / sqrt(12) / sqrt(3) %.
        (ACCURATE, "not reproduced", "its 95 % interval, 36.0\N{NARROW NO-BREAK SPACE}% to 43.1"),
        ({**ACCURATE, "tolerance": 0.05}, "reproduced", "excludes no effect"),
        ({"value": 0.5}, "not reproduced", "is further than 5.0\N{NARROW NO-BREAK SPACE}% from 50.0"),
        ({"variant": "20k/attention"}, "not reproduced", "not reached"),
        ({"quantity": "delta", "value": -0.2}, "reproduced", "excludes no effect"),
        ({"value": 1.0}, "not comparable", "is not smaller than the published effect of 0.0"),
        ({"quantity": "delta", "value": -0.2, "tolerance": 0.2}, "not comparable", "not smaller than the published"),
        ({**BASELINE, "tolerance": 0.15}, "reproduced", "no effect to exclude"),
        (BASELINE, "not reproduced", "its 95 % interval, 9.943 to 10.191, is not"),
        ({**WORSE, "baseline": 10.03}, "reproduced", "excludes no effect"),
        ({**WORSE, "baseline": 10.33}, "not reproduced", "the effect has the opposite direction"),
        (WORSE, "not comparable", "does not state the published baseline"),
        ({"variant": "80k/full"}, "not comparable", "no variant '80k/full'"),
        ({"target": "c4"}, "not comparable", "no target 'c4'"),
        ({"target": "txt"}, "not comparable", "no target 'txt'; did you mean 'text'?"),
        ({"variant": None}, "not comparable", "4 variants could be meant"),
        ({"quantity": "speed"}, "not comparable", "unknown quantity 'speed'"),
    ],
)
def test_verdicts(results, change, verdict, reason):
    (found,) = compare(results, [{**ENTRY, **change}])
    assert found.verdict == verdict
    assert reason in found.reason
    assert (found.source, found.strength) == ("a paper", "one seed")


def test_an_effect_within_the_tolerance_that_could_be_none_is_not_reproduced(tmp_path):
    def formula(phase, tokens):  # 0.05 nats better, 0.06 between the seeds
        gain = 0.05 + 0.06 * (phase.recipe.seed - 1) if mode(phase) == "full" else 0.0
        return {"loss": 3 - gain, "accuracy": 0.25}

    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    fill(plan, store, formula)
    entry = {**ENTRY, "quantity": "delta", "value": -0.2, "tolerance": 0.19}
    (found,) = compare(summarise(plan, store), [entry])
    assert found.verdict == "not reproduced"
    assert "includes no effect" in found.reason


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("text/*/full", "2 variants could be meant"), ("*20k*full", "text/20k/full"), ("20k/f*", "text/20k/full"),
     ("*/baseline", "text/baseline"), ("text/2*/attention", "text/20k/attention"), ("*", "4 variants could be meant")],
)  # fmt: skip
def test_a_star_stands_for_anything(results, wanted, found):
    (comparison,) = compare(results, [{**ENTRY, "variant": wanted, "quantity": "final_loss"}])
    assert found in (comparison.reason if "could" in found else comparison.variant)


def test_a_wrong_name_is_answered_with_the_nearest(results):
    (comparison,) = compare(results, [{**ENTRY, "variant": "20k/ful"}])
    assert "no variant '20k/ful'; did you mean '20k/full'?" in comparison.reason


def test_what_is_not_comparable_stays_so_and_our_number_is_still_shown(results):
    entry = {**ENTRY, "comparable": "another corpus", "note": "table 3"}
    (found,) = compare(results, [entry])
    assert (found.verdict, found.reason, found.note) == ("not comparable", "another corpus", "table 3")
    assert found.ours == pytest.approx(2**-0.42)
    assert measured_text(found).startswith("74.7")


def test_mean_spread_and_interval_stand_beside_the_published_value(results):
    perplexity, delta = compare(
        results,
        [{**ENTRY, "quantity": "perplexity", "value": 19000, "tolerance": 500},
         {**ENTRY, "quantity": "delta", "value": -0.2, "tolerance": 0.02}],
    )  # fmt: skip
    # The mean is taken of the losses (0.05 for the seeds, 0.21 ahead), the spread of the seeds' perplexities.
    assert perplexity.ours == pytest.approx(math.exp(20 - 0.5 * math.log2(1024_000) + 0.05 - 0.21))
    assert perplexity.sd == pytest.approx(0.04 * perplexity.ours, rel=0.01)
    assert (perplexity.n, perplexity.effect) == (3, pytest.approx(-0.21))
    assert published_text(delta) == "−0.200 ± 0.020"
    assert measured_text(delta) == "−0.210 ± 0.010 (3)"
    assert effect_text(delta) == "−0.210 [−0.235, −0.185] nats"


SCORES = """published:
  - {target: find, variant: "identity/*attention", quantity: official_accuracy, value: 90 %, baseline: 30 %, tolerance: 2 %, source: a, strength: b}
  - {target: find, variant: set/full, quantity: corrected_accuracy, value: 0.9, baseline: 0.3, tolerance: 0.05, source: a, strength: b}
  - {target: find, variant: set/full, quantity: exact_match, value: 26 %, baseline: 10 %, tolerance: 5 %, source: a, strength: b}
  - {target: text, variant: set/full, quantity: exact_match, value: 26 %, baseline: 10 %, tolerance: 5 %, source: a, strength: b}
"""  # noqa: E501


def test_further_accuracies_from_the_file_to_the_verdict(tmp_path):
    plan, store = make_plan(tmp_path, science.DIAGNOSTICS + SCORES), Store(tmp_path / "store")
    fill(plan, store, science.formula(plan.phases))
    results = summarise(plan, store)
    found = compare(results)
    assert [one.verdict for one in found] == ["reproduced", "not reproduced", "reproduced", "not comparable"]
    assert found[0].ours == pytest.approx(0.9, abs=0.01)
    assert found[3].reason == "this phase has no exact match"
    assert at_a_glance(found) == "2 reproduced, 1 not reproduced, 1 not comparable"
    # The same in the terminal, on the page and for machines.
    assert "Published against measured: 2 reproduced, 1 not reproduced, 1 not comparable" in answer(results)
    text = page(results, [], "<svg></svg>", Settings((), (), "", {}, ()))
    assert all(published_text(one) in text and measured_text(one) in text for one in found)
    assert [one["verdict"] for one in results_json(results)["published"]] == [one.verdict for one in found]


def test_the_end_of_the_third_phase(tmp_path):
    plan, store = make_plan(tmp_path, science.CHAIN), Store(tmp_path / "store")
    fill(plan, store, science.formula(plan.phases))
    entry = {**ENTRY, "target": None, "variant": "attention"}
    found = compare(
        summarise(plan, store),
        [{**entry, "quantity": "last_delta", "value": -0.025, "tolerance": 0.002},
         {**entry, "quantity": "last_loss", "value": 2.9, "tolerance": 0.2, "baseline": 3.2}],
    )  # fmt: skip
    assert [one.verdict for one in found] == ["reproduced", "reproduced"]
    assert found[0].ours == pytest.approx(-0.0245)


def test_a_chain_without_a_third_phase_has_no_last_one(results):
    (found,) = compare(results, [{**ENTRY, "quantity": "last_loss"}])
    assert found.reason == "the chain has only one phase after the warm-up"


def test_a_mean_of_runs_that_leave_a_plateau_or_do_not_reproduces_nothing(tmp_path):
    def formula(phase, tokens):  # with the warm-up one seed of three does not learn to retrieve
        solved = mode(phase) == "full" and phase.recipe.seed != 1
        return {"loss": 3.0, "accuracy": 0.99 if solved else 0.12}

    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    fill(plan, store, formula)
    change = {"target": "find", "quantity": "accuracy", "value": 0.7, "baseline": 0.1, "tolerance": 0.5}
    (found,) = compare(summarise(plan, store), [{**ENTRY, **change}])
    assert found.verdict == "not reproduced"
    assert "runs leave a plateau or do not, 2 of 3 here" in found.reason


def test_crossed_runs_are_as_many_as_the_fewer_of_donors_and_targets(tmp_path):
    """Nine runs whose mean has an interval of 9.860 ± 0.032 as nine seeds, and of ± 0.102 as three."""
    results = SWEEPS["donors"](tmp_path)
    entry = {**ENTRY, "quantity": "final_loss", "value": 9.86, "baseline": 10.1}
    wide, narrow = compare(results, [{**entry, "tolerance": tolerance} for tolerance in (0.11, 0.05)])
    assert wide.verdict == "reproduced"
    assert narrow.verdict == "not reproduced"
    assert "its 95 % interval, 9.759 to 9.962, is not" in narrow.reason
    (fraction,) = compare(results, [{**ENTRY, "value": 0.75}])
    half = 4.302653 * fraction.sd / 3**0.5
    assert fraction.high - fraction.low == pytest.approx(2 * half, rel=1e-6)


def test_one_seed_has_a_number_and_no_spread(tmp_path):
    entry = {**ENTRY, "target": None, "variant": "20k", "quantity": "final_loss", "value": 2.8, "baseline": 3.0}
    (found,) = compare(SWEEPS["one_seed"](tmp_path), [entry])
    assert (found.n, measured_text(found)) == (1, f"{found.ours:.3f} (1)")


@pytest.mark.parametrize(
    ("seeds", "words"), [([60, 40, None], "1 of 3 seeds does"), ([60, 40, None, None], "2 of 4 seeds do")]
)
def test_seeds_that_do_not_get_there_forbid_an_effect(results, seeds, words):
    target = results.targets[0]
    match = Match("reached", 50, fraction=0.5, per_seed=dict(enumerate(seeds)), of=100)
    changed = tuple(replace(one, readoff=match) if one.short == "20k/full" else one for one in target.variants)
    known = replace(results, targets=(replace(target, variants=changed),))
    (found,) = compare(known, [{**ENTRY, "value": 0.5, "tolerance": 0.4}])
    assert (found.verdict, found.reason) == ("not reproduced", f"within the tolerance, but {words} not reach the level")


def test_matched_fractions_of_seeds_are_shares_of_the_baselines_best_budget(tmp_path):
    results = SWEEPS["matched"](tmp_path)
    (found,) = compare(results, [{**ENTRY, "quantity": "data_fraction_matched", "value": 1.13}])
    assert found.low < found.ours < found.high
    assert found.ours == pytest.approx(1.133, abs=1e-3)


def test_a_reason_that_ends_in_a_question_gets_no_full_stop(results):
    grid = published_grid(compare(results, [{**ENTRY, "target": "txt"}, {**ENTRY, "target": "c4"}]))
    assert grid.notes[0].startswith("1. this scale has no target 'txt'; did you mean 'text'? Published: a paper")
    assert grid.notes[1].startswith("2. this scale has no target 'c4'. Published: a paper")

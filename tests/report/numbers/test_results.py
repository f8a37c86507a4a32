import json
import math

import pytest

from procray.report.numbers.interchange import results_json
from procray.report.numbers.summary import summarise
from procray.report.numbers.titles import question_of
from procray.store.store import Store

from ..synthetic import YAML, fill, loss_and_accuracy, make_plan, mode, row


def variant(results, name):
    return next(v for v in results.variants if v.name == name)


def test_every_planned_cell_is_there_with_its_seeds(results):
    assert [v.name for v in results.targets[0].variants] == [
        "text/baseline", "text/20k/attention", "text/20k/full", "text/40k/attention", "text/40k/full",
    ]  # fmt: skip
    assert all((v.n, v.state) == (3, "complete") for v in results.variants)
    assert results.complete
    assert (results.failed, results.skipped) == ((), ())
    assert results.question == "How much text does copying replace? It stands on two lines."


def test_names_by_what_they_say(results):
    full = variant(results, "text/40k/full")
    assert (full.short, full.family, full.setting, full.carried) == ("40k/full", "full", "40k", "full")


def test_final_loss_and_paired_difference(results):
    base, full = variant(results, "text/baseline"), variant(results, "text/20k/full")
    final = 20 - math.log2(1024_000) * 0.5
    assert base.final_loss.mean == pytest.approx(final + 0.05)
    assert base.final_loss.sd == pytest.approx(0.05)
    # Differences -0.20, -0.21, -0.22: the seeds' common shift is gone.
    assert full.delta.mean == pytest.approx(-0.21)
    half = 4.302653 * 0.01 / 3**0.5
    assert (full.delta.low, full.delta.high) == (pytest.approx(-0.21 - half), pytest.approx(-0.21 + half))
    assert (full.verdict, base.verdict) == ("better", "")
    assert variant(results, "text/20k/attention").verdict == "worse"


def test_readoff_and_matched_by_hand(results):
    full = variant(results, "text/20k/full")
    # 0.5 nats a doubling and 0.21 ahead: the level is reached 0.42 doublings early, exactly so in log-tokens.
    expected = 1024_000 / 2**0.42
    assert full.readoff.tokens == pytest.approx(expected)
    assert full.readoff.fraction == pytest.approx(2**-0.42)
    assert (full.readoff.state, full.readoff.at_most) == ("reached", False)
    assert full.readoff.per_seed[2] == pytest.approx(1024_000 / 2**0.44)
    # Reruns follow the same formula, so interpolation between three quarters and half finds the same place.
    assert full.matched.tokens == pytest.approx(expected, rel=1e-3)
    assert [point.fraction for point in full.points] == [0.5, 0.75]
    assert full.points[0].difference.mean == pytest.approx(-0.21 + 0.5)
    assert full.matched.seeds_reached == 3


def test_other_currencies_count_the_warm_up(results):
    full = variant(results, "text/20k/full")
    tokens = full.readoff.tokens
    assert full.readoff.total == pytest.approx(full.t1 + tokens)
    assert full.readoff.total_fraction == pytest.approx((full.t1 + tokens) / 1024_000)
    assert full.readoff.flops == pytest.approx(1000 * (full.t1 + tokens))
    assert full.readoff.flops_fraction == pytest.approx((full.t1 + tokens) / 1024_000)
    # The text has 500k tokens and the crossing lies after them: no unique token is saved.
    assert full.readoff.unique_fraction == pytest.approx(1.0)


def test_what_is_not_reached_is_none_and_says_so(results):
    behind = variant(results, "text/40k/attention")
    assert (behind.readoff.state, behind.readoff.tokens, behind.readoff.fraction) == ("not reached", None, None)
    assert (behind.matched.state, behind.matched.tokens) == ("not reached", None)
    assert (behind.readoff.seeds_reached, len(behind.readoff.per_seed)) == (0, 3)


def test_the_baseline_matches_itself_by_definition(results):
    base = variant(results, "text/baseline")
    assert (base.readoff.state, base.readoff.tokens, base.readoff.fraction) == ("baseline", 1024_000, 1.0)
    assert base.settled == pytest.approx(1024_000)


def test_a_diagnostic_is_matched_on_its_accuracy(results):
    target = results.targets[1]
    assert (target.metric, target.level) == ("accuracy", 0.99)
    base, attention = variant(results, "find/baseline"), variant(results, "find/20k/attention")
    full = variant(results, "find/20k/full")
    assert attention.levels[0.5] == pytest.approx(75_000, rel=0.01)
    assert base.levels[0.5] == pytest.approx(150_000, rel=0.01)
    assert target.level_fraction(attention) == pytest.approx(0.5, rel=0.05)
    assert (full.levels[0.99], target.level_fraction(full)) == (None, None)
    assert full.verdict == "worse"
    assert full.accuracy_delta.mean == pytest.approx(-0.2)
    assert attention.readoff.fraction == pytest.approx(base.settled / 2 / base.t2, rel=0.05)
    assert base.settled < 0.8 * base.t2


def test_with_a_constant_schedule_matched_is_the_read_off(results):
    attention = variant(results, "find/20k/attention")
    assert attention.constant
    assert attention.matched == attention.readoff


def test_json_has_the_fixed_fields_and_no_nan(results):
    value = results_json(results)
    text = json.dumps(value, allow_nan=False)
    assert {"sweep", "scale", "baseline", "variants", "failed", "skipped"} <= set(value)
    assert (value["sweep"], value["scale"], value["baseline"]) == ("tiny", "default", "text/baseline")
    full = next(v for v in json.loads(text)["variants"] if v["name"] == "text/20k/full")
    assert {"name", "n", "final_loss", "delta", "tokens_to_match", "data_fraction"} <= set(full)
    assert set(full["final_loss"]) == {"mean", "sd"}
    assert {"mean", "low", "high"} <= set(full["delta"])
    assert set(full["tokens_to_match"]) == set(full["data_fraction"]) == {"readoff", "matched"}
    assert full["seeds_reached"]["readoff"] == {"k": 3, "n": 3}
    assert [seed["seed"] for seed in full["per_seed"]] == [0, 1, 2]


def test_a_partial_sweep_compares_only_pairs(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")

    def until(phase):
        if phase.recipe.kind == "semantic" and phase.recipe.seed == 2:
            return 0.5 if mode(phase) == "none" else 1.0  # the baseline lacks seed 2
        return 0.0 if phase.recipe.seed == 1 and mode(phase) == "full" else 1.0

    fill(plan, store, until=until)
    results = summarise(plan, store)
    base, full = variant(results, "text/baseline"), variant(results, "text/20k/full")
    assert (base.n, base.state) == (2, "partial (2 of 3 seeds)")
    assert (full.n, full.delta.n) == (2, 1)  # seeds 0 and 2 finished, only 0 has a partner
    assert full.delta.mean == pytest.approx(-0.2)
    assert (full.delta.low, full.verdict) == (None, "unclear")
    assert full.readoff.tokens == pytest.approx(1024_000 / 2**0.4)
    assert not results.complete


def test_nothing_finished_is_pending(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    results = summarise(plan, store)
    full = variant(results, "text/20k/full")
    assert (full.n, full.state, full.readoff.state, full.matched.state) == (0, "waiting", "pending", "pending")
    assert full.final_loss is None
    json.dumps(results_json(results), allow_nan=False)


def test_a_missing_fraction_keeps_matched_pending_and_a_failed_one_does_not(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    rerun = [p for p in plan.phases.values() if p.variant == "text/20k/full@0.75"]
    fill(plan, store, until=lambda phase: 0.5 if phase in rerun else 1.0)
    assert variant(summarise(plan, store), "text/20k/full").matched.state == "pending"
    for phase in rerun:
        store.phase(phase.id).set_status("failed", reason="nan", step=10)
    results = summarise(plan, store)
    full = variant(results, "text/20k/full")
    # Without the point at 0.75 the line runs from half to the whole.
    share = (0.5 - 0.21) / 0.5
    assert full.matched.tokens == pytest.approx(512_000 * 2**share, rel=1e-3)
    assert len(results.failed) == 3


def test_matched_waits_for_every_seed_of_every_fraction(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    one = next(p for p in plan.phases.values() if p.label == "text/20k/full@0.5 s2")
    fill(plan, store, until=lambda phase: 0.5 if phase is one else 1.0)
    full = variant(summarise(plan, store), "text/20k/full")
    assert (full.points[0].difference.n, full.matched.state, full.readoff.state) == (2, "pending", "reached")


def test_failures_are_named_and_what_descends_from_them_is_skipped(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    warmup = next(p for p in plan.phases.values() if p.kind == "procedural" and p.recipe.seed == 1)

    def state(phase):
        if phase is warmup:
            return {"state": "failed", "reason": "loss is nan", "step": 60}
        return None

    early = warmup.marks[0] / warmup.end  # fails after the first of its two marks
    below = {
        p.id for p in plan.phases.values() if any(q.phase == warmup.id and q.step == warmup.end for q in p.parents)
    }
    fill(plan, store, until=lambda p: early if p is warmup else 0.0 if p.id in below else 1.0, state=state)
    results = summarise(plan, store)
    assert [(t.phase, t.reason) for t in results.failed] == [(warmup.id, "loss is nan")]
    assert {t.phase for t in results.skipped} == below
    assert all(t.reason == f"its parent {warmup.label} failed" for t in results.skipped)
    assert variant(results, "text/20k/full").n == 3  # the first mark was kept
    assert variant(results, "text/40k/full").state == "partial (2 of 3 seeds)"


def test_a_variant_without_any_result_says_so(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    failed = {"state": "failed", "reason": "boom", "step": 0}
    lost = [p for p in plan.phases.values() if p.variant.startswith("text/20k/full")]
    fill(plan, store, until=lambda p: 0.1 if p in lost else 1.0, state=lambda p: failed if p in lost else None)
    full = variant(summarise(plan, store), "text/20k/full")
    assert (full.n, full.state, full.readoff.state, full.matched.state) == (0, "failed", "no result", "no result")


def test_a_run_that_went_on_for_another_sweep_is_read_up_to_its_cell(tmp_path, results):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    fill(plan, store)
    phase = next(p for p in plan.phases.values() if p.label == "find/baseline s0")
    with open(store.phase(phase.id).path / "journal" / "2.jsonl", "w") as file:
        longer = {**row(phase, phase.end * 2), "accuracy": 0.0, "loss": 9.0}
        file.write(json.dumps(longer) + "\n")
    base = variant(summarise(plan, store), "find/baseline")
    assert base.final_accuracy == variant(results, "find/baseline").final_accuracy


def test_a_lost_value_is_not_a_finished_run(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")

    def formula(phase, tokens):
        value = loss_and_accuracy(phase, tokens)
        if phase.label == "text/20k/full s0" and tokens > 1_000_000:
            return {**value, "loss": None}
        return value

    fill(plan, store, formula)
    full = variant(summarise(plan, store), "text/20k/full")
    assert full.n == 2
    assert full.delta.mean == pytest.approx(-0.215)


def test_a_sweep_with_one_target_has_plain_names(tmp_path):
    head, _, rest = YAML.partition("targets:")
    one = head + "semantic:" + rest.partition("semantic:")[2].partition("  - name: find")[0]
    plan = make_plan(tmp_path, one.replace("{grid: [20k, 40k]}", "20k"))
    store = Store(tmp_path / "store")
    fill(plan, store)
    results = summarise(plan, store)
    assert [v.short for v in results.variants] == ["baseline", "attention", "full"]
    assert results.targets[0].title.startswith("files ")
    assert variant(results, "full").readoff.fraction == pytest.approx(2**-0.42)


@pytest.mark.parametrize(
    ("source", "question"),
    [("# One?\n# Two.\n\n# Three\nname: x", "One? Two."), ("name: x\n# late", ""), ("#\n# After.\nname: x", "After.")],
)
def test_the_question_is_the_first_comment(source, question):
    assert question_of(source) == question

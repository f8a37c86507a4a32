import pytest

from procray.report.numbers.headline import headline, remarks
from procray.report.numbers.summary import summarise
from procray.report.page.answer import answer
from procray.store.store import Store

from ..synthetic import YAML, fill, loss_and_accuracy, make_plan, mode


def only_text(plan, store, formula, until=lambda phase: 1.0):
    fill(plan, store, formula, until)
    return summarise(plan, store).targets[0]


def test_headline_leads_with_the_difference_then_the_fraction_with_its_interval(results):
    said = headline(results.targets[0])
    assert said.startswith(
        "40k/full, the best of 4 variants, ends −0.210 nats (95 % −0.235 to −0.185, 3 seeds) from the baseline's final "
        "loss of 10.067 nats; p = 0.0015 after Holm's correction for 4 variants; it is as good as that "
        "with 75\u202f% of the 1.02M tokens (95 % 72 to 77\u202f%, 3 of 3 planned runs; the baseline itself from "
        "100\u202f% on); schedule-matched reruns: 75\u202f%"
    )
    # 4 % of the budget: not a trifle. And without a control nothing is said to save data.
    assert said.endswith(
        "counting its 40.2k procedural tokens, 79\u202f%; not run: text of equal tokens, shuffled data, random weights "
        "of the same norm and a search of settings."
    )


def test_headline_of_a_diagnostic_compares_the_highest_level_of_the_baseline(results):
    said = headline(results.targets[1])
    assert "attention, the best of 4 variants, ends at 100.0\u202f% accuracy, the baseline at 100.0\u202f%" in said
    assert "; it stays above 99\u202f% accuracy after 52\u202f% of the tokens that the baseline" in said
    assert "geometric mean of 3 seeds" in said


def test_every_baseline_has_a_sentence_of_its_own(tmp_path):
    def formula(phase, tokens):
        accuracy = tokens / 2_000_000 + (0.01 if mode(phase) == "full" else 0.0)
        return {"loss": 4 * (1 - accuracy), "accuracy": accuracy}

    plan = make_plan(tmp_path, YAML.replace("tokens: 400k", "tokens: {grid: [200k, 400k]}"), seeds=[0])
    store = Store(tmp_path / "store")
    fill(plan, store, formula)
    found = next(target for target in summarise(plan, store).targets if target.name == "find")
    assert len(found.baselines) == 2
    said = headline(found)
    short, long = said.split(". baseline/diagnostic-400k: ")
    assert short.startswith("baseline/diagnostic-200k: no difference shown: ")
    assert "ends at 11.0\u202f% accuracy, the baseline at 10.0\u202f%: +1.0 points" in short
    assert "ends at 21.0\u202f% accuracy, the baseline at 20.0\u202f%: +1.0 points" in long


def test_a_baseline_in_mid_run_does_not_end_the_report(tmp_path):
    """The short budget has its answer; the long one, whose baseline is still out, says so."""
    plan = make_plan(tmp_path, YAML.replace("tokens: 400k", "tokens: {grid: [200k, 400k]}"))
    store = Store(tmp_path / "store")
    fill(plan, store, until=lambda p: 0.6 if p.kind == "diagnostic" and mode(p) == "none" else 1.0)
    found = next(target for target in summarise(plan, store).targets if target.name == "find")
    said = headline(found)
    assert said.startswith("So far: baseline/diagnostic-200k: ")
    assert "baseline/diagnostic-400k: no answer yet, no variant has finished a seed that it has finished too." in said
    assert said.count("the best of 4 variants") == 1


def test_a_negative_result_is_said_plainly(tmp_path):
    def formula(phase, tokens):
        return {
            "loss": loss_and_accuracy(phase, tokens)["loss"] + (0.5 if mode(phase) != "none" else 0),
            "accuracy": 0.1,
        }

    target = only_text(make_plan(tmp_path), Store(tmp_path / "store"), formula)
    said = headline(target)
    assert said.startswith("Not reached: none of 4 variants reaches the baseline's final loss within 1.02M tokens; ")
    assert "0k/full, the best of 4 variants, ends +0.290 nats (95 % +0.265 to +0.315, 3 seeds)" in said
    assert "saves" not in said
    assert "Of 4 variants the final loss is better than the baseline's in 0, worse in 4" in remarks(target)[0]


def test_a_difference_that_may_be_chance_is_not_sold_as_one(tmp_path):
    def formula(phase, tokens):
        value = loss_and_accuracy(phase, tokens)
        noise = (-0.3, 0.25, 0.02)[phase.recipe.seed] if mode(phase) == "full" else 0.0
        return {**value, "loss": value["loss"] + noise + (0.21 if mode(phase) == "full" else 0)}

    target = only_text(make_plan(tmp_path), Store(tmp_path / "store"), formula)
    assert "which includes no difference" in headline(target)
    assert "better than the baseline's in 0" in remarks(target)[0]


def test_one_seed_has_no_interval(tmp_path):
    target = only_text(make_plan(tmp_path, seeds=[0]), Store(tmp_path / "store"), loss_and_accuracy)
    assert "(one seed: no interval)" in headline(target)
    assert headline(target).startswith("No difference shown: ")
    assert "With 1 seed a difference can easily be chance: nothing is claimed." in remarks(target)


def test_without_results_there_is_no_answer(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    target = summarise(plan, store).targets[0]
    assert headline(target) == "No answer yet: the baseline has finished 0 of 3 seeds."
    fill(plan, store, until=lambda phase: 1.0 if mode(phase) == "none" else 0.5)
    assert headline(summarise(plan, store).targets[0]).startswith("No answer yet: no warmed-up variant")


def test_an_early_plateau_of_the_baseline_is_pointed_out(results):
    assert any("compare data fractions with 7" in remark for remark in remarks(results.targets[1]))
    assert not any("compare data fractions" in remark for remark in remarks(results.targets[0]))


def test_plain_text_has_every_target_row_and_the_way_on(results, tmp_path):
    text = answer(results, tmp_path / "report.html", ["curves: procray ui tiny.yaml"])
    lines = text.splitlines()
    assert lines[0].startswith("tiny@default: ")
    assert lines[-2:] == [f"report: {tmp_path / 'report.html'}", "curves: procray ui tiny.yaml"]
    row = next(line for line in lines if "20k/full" in line and "(3/3)" in line)
    assert "−0.210 [−0.235, −0.185]" in row
    assert sum("not reached (0/3)" in line for line in lines) >= 4


def test_failures_are_in_the_plain_text(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    bad = next(p for p in plan.phases.values() if p.label == "text/20k/full s1")
    nan = {"state": "failed", "reason": "loss is nan", "step": 7}
    fill(plan, store, until=lambda p: 0.1 if p is bad else 1.0, state=lambda p: nan if p is bad else None)
    text = answer(summarise(plan, store))
    assert f"failed: text/20k/full s1 [{bad.id}] at step 7: loss is nan" in text
    assert "; 20k/full lost 1 of 3 seeds and stands last" in " ".join(text.split())
    assert "So far: " not in text


def test_a_long_reason_stays_within_the_width(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    bad = next(p for p in plan.phases.values() if p.label == "text/20k/full s1")
    nan = {"state": "failed", "reason": "the loss is nan at step 4 (learning rate 1000); " * 4, "step": 7}
    fill(plan, store, until=lambda p: 0.1 if p is bad else 1.0, state=lambda p: nan if p is bad else None)
    lines = answer(summarise(plan, store), width=100).splitlines()
    assert max(len(line) for line in lines) <= 100
    first = next(index for index, line in enumerate(lines) if line.startswith("failed: "))
    assert lines[first + 1].startswith("  ")


def test_a_baseline_whose_every_seed_failed_is_waited_for_no_longer(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    bad = [p for p in plan.phases.values() if p.kind == "diagnostic" and mode(p) == "none"]
    nan = {"state": "failed", "reason": "loss is nan", "step": 7}
    fill(plan, store, until=lambda p: 0.1 if p in bad else 1.0, state=lambda p: nan if p in bad else None)
    found = next(target for target in summarise(plan, store).targets if target.name == "find")
    assert {(v.readoff.state, v.matched.state) for v in found.baselines} == {("no result", "no result")}
    waiting = next(t for t in summarise(plan, Store(tmp_path / "empty")).targets if t.name == "find")
    assert {(v.readoff.state, v.matched.state) for v in waiting.baselines} == {("pending", "pending")}


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_words_never_contain_none_or_nan(tmp_path, share):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    fill(plan, store, until=lambda phase: share)
    text = answer(summarise(plan, store))
    assert "None" not in text
    assert "nan" not in text

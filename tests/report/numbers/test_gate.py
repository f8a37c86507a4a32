"""Every question of the gate with yes, no and not run, each from a whole sweep of journals."""

import math
from dataclasses import replace

import pytest

from procray.report.numbers.answers import lasting
from procray.report.numbers.evidence import judge
from procray.report.numbers.gate import QUESTIONS, without_gate
from procray.report.numbers.headline import headline, remarks
from procray.report.numbers.interchange import results_json
from procray.report.numbers.published import compare
from procray.report.numbers.statistics import fisher_exact
from procray.report.numbers.summary import summarise
from procray.report.numbers.wording import percent
from procray.report.page.gate_table import gate_html, gate_legend, gate_text
from procray.selection import select

from ..gated import Sweep, filled, gate, made, named, planned
from ..synthetic import fill

BASE = [3.0, 3.1, 2.9, 3.05, 2.95]
NOISE = [0.004, -0.003, 0.001, 0.002, -0.004]
PERCENT = "\N{NARROW NO-BREAK SPACE}%"


def shifted(by, noise=NOISE, base=BASE):
    return [end + by + gap for end, gap in zip(base, noise, strict=True)]


ALL = {
    "baseline": BASE,
    "identity": shifted(-0.2),
    "shuffled": shifted(0.0, NOISE[::-1]),
    "text": shifted(-0.05, NOISE[1:] + NOISE[:1]),
    "random": shifted(0.01, NOISE[2:] + NOISE[:2]),
}


def without(*kinds):
    return {name: ends for name, ends in ALL.items() if name not in kinds}


def states(found, name="identity"):
    return {question: answer.state for question, answer in gate(found, name).items()}


def test_with_every_control_the_headline_may_say_saves(tmp_path):
    (found,) = made(tmp_path, Sweep(ALL)).targets
    asked = [name for name in QUESTIONS if name not in ("random_heads", "more_semantic")]
    assert states(found) == dict.fromkeys(asked, "yes") | {"tuned": "not run"}
    assert named(found, "identity").saves
    said = headline(found)
    assert f"; it saves data: it is as good as that with 80{PERCENT} of the 1.02M tokens" in said
    assert said.endswith("; not run: a search of settings.")
    assert ", by these numbers, and 1 by the gate." in remarks(found)[0]


def test_without_controls_it_reaches_but_does_not_save(tmp_path):
    (found,) = made(tmp_path, Sweep(without("shuffled", "text", "random"))).targets
    assert [name for name, state in states(found).items() if state == "not run"] == [
        "text", "shuffled", "random", "tuned",
    ]  # fmt: skip
    assert named(found, "identity").evidence.saves
    assert not named(found, "identity").saves
    said = headline(found)
    assert f"; it is as good as that with 80{PERCENT} of the 1.02M tokens" in said
    assert said.endswith(
        "; not run: text of equal tokens, shuffled data, random weights of the same norm and a search of settings."
    )
    assert "saves" not in said
    assert ", by these numbers, and 0 by the gate." in remarks(found)[0]


def test_a_saving_that_the_gate_lets_through_leads_one_of_which_it_knows_too_little(tmp_path):
    (found,) = made(tmp_path, Sweep({**ALL, "set": shifted(-0.3)})).targets
    assert headline(found).startswith("set/intact, the best of 2 variants,")
    unknown = [replace(one, state="not run") if one.question == "text" else one for one in named(found, "set").gate]
    variants = [replace(v, gate=tuple(unknown)) if v.short == "set/intact" else v for v in found.variants]
    said = headline(replace(found, variants=tuple(variants)))
    assert said.startswith("identity/intact, the best of 2 variants, ends −0.200 nats")
    assert "; it saves data: " in said


def test_text_that_does_as_well_forbids_to_say_saves(tmp_path):
    (found,) = made(tmp_path, Sweep({**ALL, "text": shifted(-0.21, NOISE[::-1])})).targets
    answer = gate(found)["text"]
    assert (answer.state, answer.number) == ("no", "+0.010")
    assert answer.values["other"].startswith("text-")
    assert (answer.values["n"], answer.values["family"]) == (5, 1)
    said = headline(found)
    assert said.startswith("identity/intact ends −0.200 nats")
    assert "saves" not in said
    assert "; but it is not shown to be better than text of equal tokens; not run: a search of settings." in said
    assert gate(found)["shuffled"].state == "yes"


def test_a_control_never_leads_the_headline_and_has_no_gate(tmp_path):
    (found,) = made(tmp_path, Sweep({**ALL, "text": shifted(-0.5)})).targets
    assert "identity/intact ends −0.200" in headline(found)
    assert "the best of" not in headline(found)  # the others are its controls
    assert [variant.short for variant in found.variants if variant.gate] == ["identity/intact"]
    assert found.ranked[0].short.startswith("text-")  # the table has them all the same


@pytest.mark.parametrize("kind", ["shuffled", "random"])
def test_shuffled_data_or_random_weights_that_do_as_well_are_said(tmp_path, kind):
    (found,) = made(tmp_path, Sweep({**ALL, kind: shifted(-0.2, NOISE[::-1])})).targets
    assert states(found)[kind] == "no"
    what = {"shuffled": "shuffled data", "random": "random weights of the same norm"}[kind]
    assert f"; but it is not shown to be better than {what}; not run: " in headline(found)
    assert "it saves data" in headline(found)  # these two restrict nothing: they are told


def test_a_warm_up_at_chance_was_not_learned(tmp_path):
    (found,) = made(tmp_path, Sweep(ALL, learned=0.1)).targets
    answer = gate(found)["learned"]
    chance = answer.values["chance"]
    assert (answer.state, answer.values["k"], answer.values["n"]) == ("no", 0, 5)
    assert chance < 0.2 < answer.values["needed"] + 0.1
    assert answer.values["needed"] == pytest.approx(chance + 0.1 * (1 - chance))
    said = headline(found)
    assert "saves" not in said
    assert "; but the warm-up was not learned; not run: " in said


def test_a_warm_up_that_one_seed_did_not_learn_was_not_learned(tmp_path):
    (found,) = made(tmp_path, Sweep(ALL, learned=lambda seed: 0.1 if seed == 3 else 0.99)).targets
    answer = gate(found)["learned"]
    assert (answer.state, answer.values["k"], answer.values["n"]) == ("no", 4, 5)
    assert f"{100 * answer.values['accuracy']:.1f}" == "81.2"
    assert "4 of 5 runs above" in answer.said


def test_text_as_a_warm_up_has_no_chance_level(tmp_path):
    """Of a sweep that asks of text alone, text is a variant and no control."""
    graph, store = planned(tmp_path, Sweep(without("shuffled", "random")))
    text = next(cell.variant.split("/")[0] for cell in graph.cells if cell.variant.startswith("text-"))
    graph.cells[:] = [cell for cell in graph.cells if cell.is_baseline or cell.variant.startswith(text)]
    filled(graph, store, Sweep(without("shuffled", "random")))
    (found,) = summarise(graph, store).targets
    assert [(one.question, one.state) for one in named(found, text).gate][:3] == [
        ("learned", "not run"), ("scratch", "yes"), ("text", "not run"),
    ]  # fmt: skip
    assert "of which no chance level is known" in named(found, text).gate[0].said


def test_nothing_better_than_scratch_is_no_and_adds_nothing_to_the_sentence(tmp_path):
    noise = [0.1, -0.12, 0.05, -0.06, 0.03]
    (found,) = made(tmp_path, Sweep({**ALL, "identity": shifted(0.0, noise)})).targets
    answers = gate(found)
    assert [answers[name].state for name in ("scratch", "text", "shuffled", "random", "size", "lasts")] == ["no"] * 6
    said = headline(found)
    assert said.startswith("No difference shown: ")
    assert "not run" not in said
    assert "; but" not in said


def test_what_has_not_finished_is_not_run(tmp_path):
    (found,) = made(tmp_path, Sweep(ALL, until={"text": 0.5})).targets
    assert states(found)["text"] == "not run"
    assert "have not finished a seed in common" in gate(found)["text"].said
    (found,) = made(tmp_path / "more", Sweep(ALL, until={"identity": 0.5})).targets
    assert set(states(found).values()) == {"yes", "not run"}
    assert states(found)["learned"] == "yes"
    assert headline(found).startswith("No answer yet: no warmed-up variant")


def test_two_seeds_answer_no_comparison(tmp_path):
    two = {name: ends[:2] for name, ends in ALL.items()}
    (found,) = made(tmp_path, Sweep(two)).targets
    assert [states(found)[name] for name in ("scratch", "text", "shuffled", "random")] == ["no"] * 4
    assert states(found)["learned"] == "yes"


def test_a_diverged_seed_is_never_better_than_a_control(tmp_path):
    (found,) = made(tmp_path, Sweep({**ALL, "identity": [*ALL["identity"][:4], None]})).targets
    assert [states(found)[name] for name in ("scratch", "text", "shuffled", "random")] == ["no"] * 4


def test_a_column_is_corrected_for_the_variants_that_have_the_control(tmp_path):
    """p = 0.04 by itself, and 0.08 of two."""
    loose = [0.1, -0.1, 0.05, -0.06, 0.01]
    ends = {**ALL, "identity": shifted(-0.16, loose), "set": shifted(-0.05, loose[::-1])}
    alone = {name: one for name, one in ends.items() if name not in ("set", "shuffled", "random")}
    (one,) = made(tmp_path, Sweep(alone)).targets
    (two,) = made(tmp_path / "two", Sweep({**alone, "set": ends["set"]})).targets
    first, second = gate(one)["text"], gate(two)["text"]
    assert (first.values["family"], second.values["family"]) == (1, 2)
    assert (first.state, second.state) == ("yes", "no")
    assert second.values["p"] == pytest.approx(2 * first.values["p"])


def test_passes_over_the_data_are_counted_at_the_end_of_the_compared_phase(tmp_path):
    (found,) = made(tmp_path, Sweep(ALL, passes=2.5)).targets
    assert (gate(found)["passes"].state, gate(found)["passes"].number) == ("no", "2.50")
    (found,) = made(tmp_path / "one", Sweep(ALL, passes=1.0)).targets
    assert (gate(found)["passes"].state, gate(found)["passes"].number) == ("yes", "1.00")


def test_a_gain_smaller_than_these_seeds_can_show_is_no(tmp_path):
    (found,) = made(tmp_path, Sweep(ALL)).targets
    answer = gate(found)["size"]
    assert answer.state == "yes"
    assert answer.values["gain"] == pytest.approx(0.2)
    assert 0.005 < answer.values["smallest"] < 0.03
    (found,) = made(tmp_path / "small", Sweep({**ALL, "identity": shifted(-0.003)})).targets
    small = gate(found)["size"]
    assert small.state == "no"
    assert small.values["smallest"] > small.values["gain"] == pytest.approx(0.003)
    (found,) = made(tmp_path / "one", Sweep({name: ends[:1] for name, ends in ALL.items()})).targets
    assert gate(found)["size"].state == "not run"
    assert "one seed shows no difference" in gate(found)["size"].said


def test_a_gain_that_is_gone_at_the_end_does_not_last(tmp_path):
    def early(end, share, name):
        ahead = 0.5 if name == "identity" and 0.05 < share < 0.5 else 0.0
        return end + 1 - share - ahead

    (found,) = made(tmp_path, Sweep({**ALL, "identity": shifted(-0.03)}, curve=early)).targets
    answer = gate(found)["lasts"]
    assert answer.state == "no"
    assert answer.values["best"] == pytest.approx(0.53)
    assert answer.values["best_at"] < 512_000
    assert answer.values["share"] == pytest.approx(0.03 / 0.53)
    assert "it does not last to the end" in headline(found)  # it is better at the end, and hardly
    (found,) = made(tmp_path / "lost", Sweep({**ALL, "identity": shifted(0.5)}, curve=early)).targets
    answer = gate(found)["lasts"]
    assert (answer.state, answer.number) == ("no", percent(0.0)), "of a gain that became a loss nothing lasts"
    assert answer.values["share"] < -1
    (found,) = made(tmp_path / "lasts", Sweep(ALL)).targets
    assert gate(found)["lasts"].state == "yes"
    assert gate(found)["lasts"].values["share"] == pytest.approx(1.0, abs=0.01)


def test_a_level_kept_sooner_is_an_answer_too(tmp_path):
    """All end at 100 %; the variant is there after half of the tokens that the others need."""
    full = [1.0] * 5
    ends = {"baseline": full, "identity": full, "text": full}

    def curve(end, share, name):
        return min(1.0, share / (0.3 if name == "identity" else 0.6))

    (found,) = made(tmp_path, Sweep(ends, kind="find", curve=curve)).targets
    answers = gate(found)
    assert [answers[name].state for name in ("learned", "scratch", "text")] == ["yes"] * 3
    assert answers["text"].values["share"] == pytest.approx(0.5, abs=0.02)
    assert answers["passes"].number == "fresh"
    assert answers["lasts"].state == "no"  # both have got there
    said = headline(found)
    assert "; it saves data: it stays above 99" in said
    assert "does not last" not in said


def test_of_plateaus_the_runs_are_counted_against_a_control_too(tmp_path):
    on, off = 0.95, 0.2
    ends = {
        "baseline": [off] * 10,
        "identity": [on] * 9 + [off],
        "text": [off] * 9 + [on],
        "shuffled": [on] * 8 + [off] * 2,
    }
    (found,) = made(tmp_path, Sweep(ends, kind="find")).targets
    assert found.all_or_nothing
    answers = gate(found)
    assert [answers[name].state for name in ("scratch", "text", "shuffled", "size")] == ["yes", "yes", "no", "yes"]
    assert (answers["size"].values["k"], answers["size"].values["n"]) == (9, 10)
    assert answers["size"].values["fewest"] <= 8
    ends["baseline"] = [off] * 8 + [on] * 2
    (found,) = made(tmp_path / "two", Sweep(ends, kind="find")).targets
    fewest = next(k for k in range(3, 11) if fisher_exact(k, 10, 2, 10) <= 0.05 / 3)  # of three variants
    assert (gate(found)["size"].values["fewest"], gate(found)["size"].state) == (fewest, "yes")
    few = {name: values[:3] for name, values in ends.items()}
    few["identity"] = [on, on, off]
    (found,) = made(tmp_path / "few", Sweep(few, kind="find")).targets
    assert gate(found)["size"].state == "no"
    assert "so few runs can show nothing" in gate(found)["size"].said


def test_what_no_accuracy_could_show_is_said_so(tmp_path):
    ends = {"baseline": [0.1, 0.12, 0.3], "identity": [0.4, 0.1, 0.12], "set": [0.5, 0.1, 0.13]}
    found = made(tmp_path, Sweep(ends, "find")).targets[0]
    assert not found.all_or_nothing
    answer = gate(found)["size"]
    assert answer.values["smallest"] > 1
    assert (answer.state, answer.number) == ("no", "none on scale")
    assert "3 seeds show nothing on the scale: it would have to be 1" in answer.said
    assert answer.said.endswith(" points")


def test_of_plateaus_crossed_donors_are_the_units_of_the_size_too(tmp_path):
    """Eight of nine runs of three donors leave the plateau: Fisher's test of three donors cannot show it."""
    ends = {"baseline": [0.2] * 3, "identity": [0.95] * 8 + [0.2]}
    (found,) = made(tmp_path, Sweep(ends, kind="find", donors=3, more="donors: [0, 1, 2]\n")).targets
    assert found.all_or_nothing
    answer = gate(found)["size"]
    assert (answer.state, answer.number) == ("no", "3 of 3")
    assert answer.said == "3 of 3 donors left the plateau; so few donors can show nothing"
    assert gate(found)["scratch"].state == "no"


def test_a_gain_of_full_size_that_no_test_shows_says_why_it_does_not_last(tmp_path):
    ends = {"baseline": [3.0, 3.0, 3.0], "identity": [2.5, 3.3, 2.6]}
    (found,) = made(tmp_path, Sweep(ends)).targets
    answer = gate(found)["lasts"]
    assert answer.state == "no"
    assert answer.values["share"] > 0.9
    assert answer.said.endswith("; by its own test the end may be no gain at all")


def test_controls_are_paired_by_donor_and_target_seed(tmp_path):
    """Donors differ by 0.1 alike in the variant and in its control: paired, the difference is clear."""
    base = [3.0, 3.2, 2.9]
    donors = [0.0, 0.1, -0.1]
    grid = [end + donor for donor in donors for end in base]
    wobble = [0.001, -0.002, 0.0, 0.002, 0.001, -0.001, 0.0, -0.001, 0.002]
    ends = {
        "baseline": base,
        "identity": [end - 0.05 + gap for end, gap in zip(grid, wobble, strict=True)],
        "text": grid,
    }
    (found,) = made(tmp_path, Sweep(ends, donors=3, more="donors: [0, 1, 2]\n")).targets
    answers = gate(found)
    assert answers["scratch"].state == "no"
    assert answers["text"].state == "yes"
    assert answers["text"].values["mean"] == pytest.approx(-0.05, abs=0.001)
    assert answers["text"].values["n"] == 3
    assert answers["learned"].values["n"] == 3


def searched(folder, rates="[1e-4, 1e-3]"):
    """A search of the learning rate that has ended, and all that follows it."""
    sweep = Sweep(without("shuffled", "random"), more="select: {axes: [semantic.optimizer.lr], seeds: [100, 101]}\n")
    graph, store = planned(folder, sweep, f"{{lr: {{grid: {rates}}}}}")
    filled(graph, store, sweep)
    whole = select.whole(graph, store)
    filled(whole, store, sweep)
    return whole, store


def test_a_search_of_both_is_as_hard(tmp_path):
    (found,) = summarise(*searched(tmp_path)).targets
    answer = gate(found)["tuned"]
    assert (answer.state, answer.values) == ("yes", {"settings": 2, "baseline_settings": 2})
    assert gate(found)["text"].state == "yes"  # the control is found beside settings that were searched
    assert "it saves data" in headline(found)
    assert headline(found).endswith("; not run: shuffled data and random weights of the same norm.")


def test_a_search_that_goes_on_answers_nothing_and_a_best_at_the_edge_is_said(tmp_path):
    whole, store = searched(tmp_path, "[1e-4, 1e-3, 1e-2]")
    (found,) = summarise(whole, store).targets
    answer = gate(found)["tuned"]
    assert (answer.state, answer.number) == ("yes", "3/3")
    assert "; the baseline's best stands at an edge of the grid: " in answer.said
    halve(store, next(trial.compared for trial in whole.trials if trial.variant == "baseline"), {"state": "running"})
    (found,) = summarise(whole, store).targets
    answer = gate(found)["tuned"]
    assert (answer.state, answer.said) == ("not run", "the search has not finished")


def test_curves_that_have_values_at_no_common_place_tell_nothing_of_lasting(tmp_path):
    (found,) = made(tmp_path, Sweep(ALL)).targets
    variant = named(found, "identity")
    gaps = tuple(
        replace(run, curve=replace(run.curve, loss=(run.curve.loss[0], *[math.nan] * (len(run.curve.loss) - 1))))
        for run in variant.runs
    )
    answer = lasting(found, replace(variant, runs=gaps))
    assert (answer.state, answer.said) == ("not run", "both curves have no place in common where they have values")


def halve(store, phase, status):
    """Takes the second half of a phase's evaluations away."""
    folder = store.phase(phase)
    journal = folder.path / "journal" / "1.jsonl"
    rows = journal.read_text().splitlines()
    journal.write_text("\n".join(rows[: len(rows) // 2]) + "\n")
    folder.set_status(**{"step": 1, **status})


def test_a_warm_up_that_failed_at_one_seed_was_not_learned(tmp_path):
    plan, store = planned(tmp_path, Sweep(ALL))
    filled(plan, store, Sweep(ALL))
    lost = next(one for one in plan.phases.values() if one.kind == "procedural" and "identity" in one.label)
    halve(store, lost.id, {"state": "failed", "reason": "loss is nan"})
    (found,) = summarise(plan, store).targets
    answer = gate(found)["learned"]
    assert (answer.state, answer.values["k"], answer.values["n"]) == ("no", 4, 5)


def test_a_baseline_with_fewer_settings_was_not_tuned_as_hard(tmp_path):
    whole, store = searched(tmp_path)
    lower = next(trial.label for trial in whole.trials if trial.variant == "baseline")
    whole.trials[:] = [one for one in whole.trials if (one.variant, one.label) != ("baseline", lower)]
    (found,) = summarise(whole, store).targets
    answer = gate(found)["tuned"]
    assert (answer.state, answer.number) == ("no", "1/2")
    assert "; but the baseline was not tuned as hard; not run: " in headline(found)


def test_json_has_every_answer_with_its_numbers(tmp_path):
    value = results_json(made(tmp_path, Sweep(without("random"))))
    (identity,) = [one for one in value["variants"] if one["short"].startswith("identity")]
    assert identity["gate"]["text"]["answer"] == "yes"
    assert identity["gate"]["text"]["mean"] == pytest.approx(-0.15, abs=0.01)
    assert identity["gate"]["random"] == {"answer": "not run", "said": ""}
    assert set(identity["controls"]) == {"text", "shuffled"}
    assert identity["saves"] is True
    assert [one["gate"] for one in value["variants"] if one["is_baseline"]] == [None]


def test_added_controls_have_no_marks_and_cost_the_table_nothing(tmp_path):
    (found,) = made(tmp_path, Sweep(ALL)).targets
    assert named(found, "identity").evidence.family == 4  # written out in the grid, they are asked about like the rest
    kinds = {name: kind for kind, name in named(found, "identity").controls.items()}
    added = replace(
        without_gate(found),
        variants=tuple(replace(one, control=kinds.get(one.name, "")) for one in found.variants),
    )
    alone = judge(added)
    assert named(alone, "identity").evidence.family == 1
    assert named(alone, "identity").verdict == "better"
    assert {one.verdict for one in alone.variants if one.control} == {""}
    assert "Of 1 variant the final loss is better than the baseline's in 1, worse in 0" in remarks(alone)[0]
    assert "the best of" not in headline(alone)


def test_a_pattern_of_a_published_value_means_no_added_control(tmp_path):
    results = made(tmp_path, Sweep(without("shuffled", "text")))
    (found,) = results.targets
    kinds = {name: kind for kind, name in named(found, "identity").controls.items()}
    variants = tuple(replace(one, control=kinds.get(one.name, "")) for one in found.variants)
    entry = {"quantity": "final_loss", "variant": "*", "value": 2.8, "tolerance": 0.1, "source": "s", "strength": "s"}
    for targets, reason in ((found, "2 variants could be meant"), (replace(found, variants=variants), "")):
        (one,) = compare(replace(results, targets=(targets,), published=(entry,)))
        assert reason in one.reason
        assert one.variant.startswith("" if reason else "identity")
    assert one.ours == pytest.approx(2.8)


def controlled(plan, store, ends):
    """The target, its only variant with a gate and that one's answers, of ends by what the word `controls` added."""
    own = {cell.compared: "baseline" if cell.is_baseline else cell.control for cell in plan.cells}
    fill(
        plan, store,
        lambda phase, tokens: {"loss": ends[own[phase.id]][phase.recipe.seed] + 1 - tokens / phase.nominal[phase.end]}
        | {"accuracy": 0.1, "epoch": 0.5} if phase.id in own else {"loss": 1.0, "accuracy": 0.98},
    )  # fmt: skip
    (found,) = summarise(plan, store).targets
    (variant,) = [one for one in found.variants if one.gate]
    answers = {answer.question: answer for answer in variant.gate}
    return found, variant, answers


@pytest.mark.parametrize(("end", "state"), [(0.0, "yes"), (-0.25, "no")])
def test_named_heads_are_compared_with_as_many_others(tmp_path, end, state):
    word = "controls: [random_heads]\n"
    heads = Sweep(without("shuffled", "text", "random"), more=word, transfer="{attention: {heads: {0: [1]}}}")
    plan, store = planned(tmp_path, heads)
    ends = {**ALL, "": ALL["identity"], "random_heads": shifted(end, NOISE[::-1])}
    found, _, answers = controlled(plan, store, ends)
    assert answers["random_heads"].state == state
    assert "than as many other heads of the same layers?" in gate_html(found)
    assert "heads" in gate_text(found, 120)[1].split()
    assert "As many other heads of the same layers?" in " ".join(" ".join(gate_legend([found], 120)).split())
    assert ("better than as many other heads of the same layers" in headline(found)) == (state == "no")


def test_the_word_controls_answers_every_comparison(tmp_path):
    word = "controls: [shuffled, text, random, more_semantic]\n"
    plan, store = planned(tmp_path, Sweep(without("shuffled", "text", "random"), more=word))
    ends = {**ALL, "": ALL["identity"], "more_semantic": shifted(-0.21, NOISE[::-1])}
    found, variant, answers = controlled(plan, store, ends)
    assert list(answers) == [name for name in QUESTIONS if name != "random_heads"], "no heads are named"
    assert {name: answers[name].state for name in ("scratch", "text", "shuffled", "random", "more_semantic")} == {
        "scratch": "yes", "text": "yes", "shuffled": "yes", "random": "yes", "more_semantic": "no",
    }  # fmt: skip
    assert answers["more_semantic"].values["mean"] == pytest.approx(0.01, abs=0.005)
    assert variant.evidence.family == 1
    assert headline(found).endswith(
        "; but it is not shown to be better than as many more tokens of the target; not run: a search of settings."
    )
    assert "it saves data" in headline(found)

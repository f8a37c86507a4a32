"""The sentences, word by word, each from a whole sweep of journals."""

import re

import pytest

from procray.report.numbers.headline import headline, leading, remarks
from procray.report.numbers.interchange import results_json
from procray.report.page.answer import answer
from procray.report.page.html_tables import variants_html

from ..claims import named, sweep, target
from ..whole_sweeps import SWEEPS

BASE = [3.0, 3.1, 2.9, 3.05, 2.95]
PERCENT = "\N{NARROW NO-BREAK SPACE}%"


def shifted(*gaps):
    return [base + gap for base, gap in zip(BASE, gaps, strict=True)]


NULL = {
    "baseline": BASE,
    "20k": shifted(-0.1, 0.05, -0.02, 0.08, -0.06),
    "21k": shifted(0.1, 0.05, -0.1, 0.06, 0.0),
    "22k": shifted(0.1, 0.05, 0.05, 0.06, 0.0),
}


def test_a_null_sweep_shows_no_difference_and_names_no_fraction(tmp_path):
    found = target(tmp_path, NULL)
    said = headline(found)
    assert said.startswith(
        "No difference shown: 20k, the best of 3 variants, ends −0.010 nats (95 % −0.103 to +0.083, "
    )
    assert "5 seeds, which includes no difference) from the baseline's final loss of 3.000 nats; p = 1" in said
    assert "after Holm's correction for 3 variants." in said
    assert "saves" not in said
    assert "reaches" not in said
    first = remarks(found)[0]
    assert "better than the baseline's in 0, worse in 0 and not told apart in 3 (t-tests at 5 %" in first
    assert first.endswith("0 may be said to save data, by these numbers.")


def test_better_but_no_sooner_than_the_baseline_claims_no_fraction(tmp_path):
    def flat(end, share, variant, seed):
        return end + (0.0 if share >= 0.3 else 1.0) + (0.2 if variant == "20k" and share < 0.55 else 0.0)

    ends = {"baseline": BASE, "20k": shifted(-0.1, -0.11, -0.09, -0.1, -0.1)}
    said = headline(target(tmp_path, ends, curve=flat))
    assert said.startswith(
        "20k ends −0.100 nats (95 % −0.109 to −0.091, 5 seeds) from the baseline's final loss of 3.000"
    )
    assert "; no data fraction is claimed: its interval, " in said
    assert f"does not lie before the baseline's own (30 to 30{PERCENT})." in said
    assert "saves" not in said


def test_the_best_is_the_surest_saving_and_says_how_many_were_tried(tmp_path):
    ends = {
        "baseline": BASE,
        "20k": shifted(-0.2, -0.21, -0.19, -0.2, -0.2),
        "21k": shifted(-0.9, -0.1, 0.1, -0.9, -0.6),  # a lower mean, and not shown
    }
    found = target(tmp_path, ends)
    assert named(found, "21k").difference.mean < named(found, "20k").difference.mean
    said = headline(found)
    assert said.startswith("20k, the best of 2 variants, ends −0.200 nats")
    assert f"; it saves data: it is as good as that with 80{PERCENT} of the 1.02M tokens (95 % 7" in said
    assert (
        f"5 of 5 planned runs; the baseline itself from 100{PERCENT} on); counting its 20.1k procedural tokens, 82"
        in said
    )
    assert leading(found, found.warmed).short == "20k"


def test_tokens_until_the_baseline_guesses_are_none_that_could_be_saved(tmp_path):
    """It ends higher and is soon as good, but what it is as good as takes no ability."""
    ends = {"baseline": [0.15, 0.16, 0.14, 0.15, 0.15], "20k": [0.95, 0.96, 0.94, 0.95, 0.96]}
    guesses = target(tmp_path / "guesses", ends, "find")
    assert guesses.cheap == pytest.approx(0.139, abs=0.001)
    (only,) = guesses.warmed
    assert (only.verdict, only.evidence.saves) == ("better", False)
    assert only.evidence.fraction.high < only.evidence.settled.low
    assert f"; no data fraction is claimed: the baseline does not get beyond guessing (13.9{PERCENT})" in headline(
        guesses
    )
    worse = target(tmp_path / "worse", {"baseline": ends["baseline"], "20k": [0.1, 0.12, 0.11, 0.1, 0.1]}, "find")
    for one in (guesses, worse):  # whatever the variants do
        assert any("where a curve passes its end says how soon one guesses" in remark for remark in remarks(one))
    learned = {"baseline": [0.25, 0.26, 0.24, 0.25, 0.25], "20k": ends["20k"]}
    found = target(tmp_path / "learned", learned, "find")
    assert found.warmed[0].evidence.saves
    assert not any("guess" in remark for remark in remarks(found) if not remark.startswith("Chance"))
    assert "it is as good as that with " in headline(found)


def test_a_diverged_seed_stands_last_and_is_called_so(tmp_path):
    ends = {"baseline": BASE, "20k": [1.0, 1.1, 0.9, 1.0, None], "21k": shifted(-0.1, 0.05, -0.02, 0.08, -0.06)}
    results = sweep(tmp_path, ends)
    (found,) = results.targets
    said = headline(found)
    assert said.startswith("No difference shown: 21k, the best of 2 variants,")
    assert said.endswith("; 20k lost 1 of 5 seeds and stands last.")
    text = answer(results)
    rows = [line.split()[0] for line in text.splitlines() if line.startswith("  2") and "±" in line]
    assert rows[:2] == ["21k", "20k"]
    assert "(4/5)" in text  # k of the planned seeds
    assert "partial (4 of 5 seeds)" in variants_html(found)
    assert "Failed, or skipped because of what failed: 20k (1 of 5 seeds)." in remarks(found)
    assert not [remark for remark in remarks(found) if "Not complete" in remark], "nothing is still to come"


def test_alone_a_variant_with_a_lost_seed_claims_nothing(tmp_path):
    said = headline(target(tmp_path, {"baseline": BASE, "20k": [1.0, 1.1, 0.9, 1.0, None]}))
    assert said.startswith("No difference shown: 20k ends −2.013 nats (95 % ")
    assert said.endswith("p < 0.001; it lost 1 of 5 seeds, so nothing good is claimed of it.")
    assert "4 of 5 seeds" in said
    assert "saves" not in said


def test_a_variant_that_lost_every_seed_is_none_of_those_with_a_result(tmp_path):
    found = target(tmp_path, {"baseline": BASE, "20k": [None] * 5, "21k": shifted(-0.1, 0.05, -0.02, 0.08, -0.06)})
    said = headline(found)
    assert said.startswith("No difference shown: 21k, the only one of 2 variants with a result, ends")
    assert said.endswith("; 20k lost 5 of 5 seeds and has no result.")
    assert remarks(found)[0].startswith("Of 1 variant with a result (of 2) the final loss is")


def test_what_was_lost_is_not_called_still_to_come(tmp_path):
    gone = target(tmp_path / "gone", {"baseline": [None] * 5, "20k": BASE})
    assert headline(gone) == "No answer: the baseline lost all of its 5 seeds."
    apart = target(tmp_path / "apart", {"baseline": [None, 3.0], "20k": [3.0, None]})
    assert headline(apart) == (
        "No answer: no warmed-up variant has finished a seed that the baseline has finished too."
    )
    some = headline(target(tmp_path / "some", {"baseline": [None, *BASE[1:]], "20k": BASE}))
    assert not some.startswith("So far")
    assert some.endswith("; the baseline lost 1 of 5 seeds.")
    running = target(tmp_path / "running", {"baseline": BASE, "20k": BASE}, until=lambda phase: 0.5)
    assert headline(running) == "No answer yet: the baseline has finished 0 of 5 seeds."


@pytest.mark.parametrize(
    ("seeds", "words"), [(1, "with 1 seed nothing"), (2, "with 2 seeds nothing"), (3, "p < 0.001")]
)
def test_below_three_seeds_nothing_is_claimed(tmp_path, seeds, words):
    ends = {"baseline": BASE[:seeds], "20k": shifted(-0.5, -0.501, -0.499, -0.5, -0.5)[:seeds]}
    found = target(tmp_path, ends)
    said = headline(found)
    assert said.startswith("No difference shown: ") == (seeds < 3)
    assert ("saves data" in said) == (seeds == 3)
    if seeds > 1:
        assert words in said
    assert any("nothing is claimed" in remark for remark in remarks(found)) == (seeds < 3)


def test_worse_is_said_also_where_a_curve_was_once_as_good(tmp_path):
    ends = {"baseline": BASE, "20k": shifted(0.1, 0.11, 0.09, 0.1, 0.12)}
    said = headline(target(tmp_path, ends))
    assert said.startswith(
        "Not reached: 20k does not reach the baseline's final loss within 1.02M tokens; it ends +0.104 nats (95 % +"
    )


def test_a_plateau_is_counted_and_not_averaged(tmp_path):
    results = sweep(tmp_path, {"baseline": [0.112, 0.13, 0.9], "20k": [0.846, 0.112, 0.915]}, "find")
    (found,) = results.targets
    said = headline(found)
    assert said.startswith("No difference shown: runs either leave a plateau or do not (above or below 57")
    assert f"of 20k 2 of 3 (95 % 9 to 99{PERCENT}), of the baseline 1 of 3 (95 % 1 to 91{PERCENT})" in said
    assert "; by seed 1 left it only with the warm-up, 0 only without; p = 1 by Fisher's exact test." in said
    assert "(Fisher's exact tests at 5 % for the whole table" in remarks(found)[0]
    page = variants_html(found)
    assert "84.6, 11.2, 91.5" in page
    assert f"2 of 3 (95 % 9 to 99{PERCENT}) left" in page
    assert f"2 of 3 (95 % 9 to 99{PERCENT}) left" in answer(results)
    assert "class='better'" not in page


def test_a_plateau_left_by_five_of_five(tmp_path):
    ends = {"baseline": [0.12] * 5, "20k": [0.9] * 5, "21k": [0.9, 0.12, 0.9, 0.12, 0.12]}
    said = headline(target(tmp_path, ends, "find"))
    assert said.startswith("runs either leave a plateau or do not")
    assert f"of 20k, the best of 2 variants, 5 of 5 (95 % 48 to 100{PERCENT}), of the baseline 0 of 5" in said
    assert (
        "by seed 5 left it only with the warm-up, 0 only without; p = 0.016 by Fisher's exact test after Holm" in said
    )


def test_a_plateau_left_less_often_is_worse(tmp_path):
    ends = {"baseline": [0.9] * 5 + [0.12], "20k": [0.12] * 6}
    found = target(tmp_path, ends, "find")
    assert found.warmed[0].verdict == "worse"
    assert headline(found).startswith("Worse: runs either leave a plateau or do not")


def test_quicker_to_the_same_end(tmp_path):
    places = {"baseline": [0.8, 0.9, 0.8, 0.8], "20k": [0.4, 0.4, 0.4, 0.5]}

    def curve(end, share, variant, seed):
        return min(1.0, share / places[variant][seed])

    said = headline(target(tmp_path, {name: [1.0] * 4 for name in places}, "find", curve))
    assert said.startswith(f"20k ends at 100.0{PERCENT} accuracy, the baseline at 100.0{PERCENT}: 0.0 points")
    assert (
        f"; it saves data: it stays above 99{PERCENT} accuracy after 51{PERCENT} of the tokens that the baseline"
        in said
    )
    assert "geometric mean of 4 seeds, p = " in said
    assert "; counting its 20.1k procedural tokens, 5" in said


def test_what_nothing_looks_like_stands_beside_it(tmp_path):
    said = remarks(target(tmp_path, {"baseline": [3.0, 3.2, 3.1], "20k": [3.0, 3.2, 3.1]}))
    (null,) = [remark for remark in said if "against another" in remark]
    assert "they end 0.141 nats apart (at most 0.200), and one reaches the end of the other in 3 of 6 cases" in null
    assert f"the earliest with 80{PERCENT} of the tokens" in null


def test_terminal_json_and_page_have_the_same_words(tmp_path):
    results = sweep(tmp_path, NULL)
    (found,) = results.targets
    text = re.sub("[ \n]+", " ", answer(results))
    (value,) = results_json(results)["targets"]
    assert value["headline"] == headline(found)
    assert value["remarks"] == remarks(found)
    for words in (value["headline"], *value["remarks"]):
        assert words in text
    evidence = next(v["evidence"] for v in results_json(results)["variants"] if v["short"] == "20k")
    assert (evidence["test"], evidence["family"], evidence["saves"]) == ("paired t", 3, False)
    assert evidence["p_corrected"] == 1.0
    assert evidence["fraction"]["high"] is None


def test_a_table_shows_the_interval_beside_every_fraction(tmp_path):
    results = sweep(tmp_path, {"baseline": [3.0, 3.2, 3.1], "20k": [2.8, 2.9, 2.7], "21k": [2.9, 3.2, 2.9]})
    text = answer(results)
    assert f"70{PERCENT} [" in text
    assert ", none] (" in text  # of the one that is not told apart


@pytest.mark.parametrize("which", ["baseline", "20k"])
def test_a_lacking_seed_is_why_nothing_is_saved(tmp_path, which):
    """And not the interval, which does lie before the baseline's own."""

    def until(phase):
        named = "baseline" if "baseline" in phase.variant else "20k"
        return 0.5 if phase.kind != "procedural" and phase.recipe.seed == 4 and named == which else 1.0

    ends = {"baseline": BASE, "20k": shifted(-0.2, -0.201, -0.199, -0.2, -0.2)}
    said = headline(target(tmp_path, ends, until=until))
    assert "; no data fraction is claimed: not every planned seed of both has finished" in said


def test_what_the_baseline_beats_with_a_shorter_schedule_saves_nothing(tmp_path):
    found = next(one for one in SWEEPS["matched"](tmp_path).targets if one.name == "text")
    said = headline(found)
    assert (
        f"; no data fraction is claimed: schedule-matched reruns need 113{PERCENT} of the baseline's best budget"
        in said
    )
    assert not any(variant.evidence.saves for variant in found.warmed)


def test_a_fraction_is_told_only_where_it_is_what_saves(tmp_path):
    """The end is better and the level is kept sooner, but as good as the baseline's end it is no sooner for sure."""
    places = {"baseline": [0.8, 0.82, 0.8, 0.78], "20k": [0.4, 0.41, 0.4, 0.39]}

    def curve(end, share, variant, seed):
        reached = 0.95 * min(1.0, share / places[variant][seed])
        late = variant == "20k" and share > 0.95
        return reached + (0.02 if late else -0.01 if variant == "20k" and share > 0.5 else 0.0) + 0.001 * seed

    found = target(tmp_path, {name: [1.0] * 4 for name in places}, "find", curve)
    (variant,) = found.warmed
    assert variant.verdict == "better"
    assert variant.evidence.saves
    said = headline(found)
    assert "it saves data: it stays above 90" in said
    assert "as good as that with" not in said

"""What may be claimed: whole sweeps of journals with ends that are given seed by seed."""

from dataclasses import replace

import numpy as np
import pytest
import scipy  # its modules come when they are needed

from procray.report.numbers.evidence import between_seeds, judge, left_of
from procray.report.numbers.headline import headline, remarks
from procray.report.numbers.matching import against_baseline
from procray.report.numbers.power import power
from procray.report.numbers.results import Target, paired
from procray.report.numbers.statistics import Difference
from procray.report.numbers.summary import summarise
from procray.store.store import Store

from ..claims import HEAD, TEXT, named, sweep, target
from ..synthetic import fill, make_plan

BASE = [3.0, 3.1, 2.9, 3.05, 2.95]


def worse_by(gaps):
    return [base + gap for base, gap in zip(BASE, gaps, strict=True)]


def test_a_mark_is_corrected_for_the_table(tmp_path):
    gaps = [-0.10, -0.04, -0.12, -0.05, -0.09]
    p = scipy.stats.ttest_1samp(gaps, 0).pvalue
    assert 0.05 / 10 < p < 0.05
    alone = target(tmp_path / "one", {"baseline": BASE, "20k": worse_by(gaps)})
    (only,) = alone.warmed
    assert only.evidence.p == pytest.approx(p, rel=1e-6)
    assert (only.evidence.corrected, only.evidence.family, only.verdict) == (pytest.approx(p), 1, "better")
    others = {f"{20 + i}k": worse_by([0.1, -0.1, 0.05, -0.05, 0.01]) for i in range(1, 10)}
    among = target(tmp_path / "ten", {"baseline": BASE, "20k": worse_by(gaps), **others})
    same = named(among, "20k")
    assert same.evidence.p == pytest.approx(p, rel=1e-6)
    assert same.evidence.corrected == pytest.approx(10 * p, rel=1e-6)
    assert (same.evidence.family, same.verdict, same.evidence.saves) == (10, "unclear", False)


def test_holm_goes_on_where_bonferroni_stops(tmp_path):
    strong, middle = [-0.10, -0.101, -0.099, -0.10, -0.1005], [-0.10, -0.02, -0.15, -0.04, -0.09]
    p = scipy.stats.ttest_1samp(middle, 0).pvalue
    assert 0.05 / 3 < p < 0.05
    ends = {"baseline": BASE, "20k": worse_by(strong), "21k": worse_by(middle), "22k": worse_by(strong)}
    found = target(tmp_path, ends)
    assert named(found, "21k").evidence.corrected == pytest.approx(p, rel=1e-6)  # the last of three steps
    assert [v.verdict for v in found.warmed] == ["better", "better", "better"]


def test_two_seeds_claim_nothing_however_clear(tmp_path):
    ends = {"baseline": [3.0, 3.1], "20k": [2.0, 2.1001]}
    (only,) = target(tmp_path, ends).warmed
    assert only.evidence.p < 0.001
    assert (only.verdict, only.evidence.saves) == ("unclear", False)


def test_worse_is_marked_as_well(tmp_path):
    (only,) = target(tmp_path, {"baseline": BASE, "20k": worse_by([0.1, 0.11, 0.09, 0.1, 0.12])}).warmed
    assert (only.verdict, only.evidence.saves) == ("worse", False)


def test_the_interval_of_the_fraction_by_hand(tmp_path):
    # The curves fall by 0.1 nats with every evaluation, and the variant is 0.2, 0.3 and 0.4 ahead: it is there at
    # 80, 70 and 60 % of the tokens, and on the mean curve at 70 %.
    base = [3.0, 3.2, 3.1]
    (only,) = target(tmp_path, {"baseline": base, "20k": [2.8, 2.9, 2.7]}).warmed
    assert only.readoff.fraction == pytest.approx(0.7)
    half = 4.302653 * 0.1 / 3**0.5  # nats, and as many tenths of the tokens
    assert only.evidence.fraction.low == pytest.approx(0.7 - half, rel=0.02)
    assert only.evidence.fraction.high == pytest.approx(0.7 + half, rel=0.02)
    assert only.evidence.settled.low == pytest.approx(1.0)
    assert only.evidence.saves


def test_without_a_difference_the_fraction_has_no_upper_limit(tmp_path):
    (only,) = target(tmp_path, {"baseline": BASE, "20k": worse_by([-0.3, 0.2, -0.25, 0.1, -0.05])}).warmed
    assert only.readoff.state == "reached"
    assert only.evidence.fraction.low < only.readoff.fraction
    assert only.evidence.fraction.high is None
    assert (only.verdict, only.evidence.saves) == ("unclear", False)


def test_a_fraction_behind_the_baselines_own_is_no_saving(tmp_path):
    # All curves stand still from 30 % of the tokens on; the variant is lower at the end and there no sooner.
    def flat(end, share, variant, seed):
        late = 0.0 if share >= 0.3 else 1.0
        dip = 0.2 if variant == "20k" and share < 0.55 else 0.0
        return end + late + dip

    ends = {"baseline": BASE, "20k": worse_by([-0.1, -0.11, -0.09, -0.1, -0.1])}
    (only,) = target(tmp_path, ends, curve=flat).warmed
    assert only.verdict == "better"
    assert only.evidence.settled.low == pytest.approx(0.3, rel=0.05)
    assert only.evidence.fraction.high > 0.3
    assert not only.evidence.saves


def test_a_lost_seed_never_wins(tmp_path):
    # The seeds that are left are all far better; the diverged one stands for the worst.
    ends = {"baseline": BASE, "20k": [1.0, 1.1, 0.9, 1.0, None], "21k": worse_by([-0.1, -0.11, -0.09, -0.1, -0.1])}
    found = target(tmp_path, ends)
    lost = named(found, "20k")
    assert (lost.verdict, lost.evidence.saves, lost.lost) == ("unclear", False, True)
    assert [variant.short for variant in found.ranked] == ["21k", "20k"]
    assert (lost.readoff.seeds_reached, len(lost.readoff.per_seed)) == (4, 5)
    assert named(found, "21k").evidence.saves


def test_what_lost_a_seed_may_still_be_worse(tmp_path):
    ends = {"baseline": BASE, "20k": [4.0, 4.1, 3.9, 4.0, None]}
    assert target(tmp_path, ends).warmed[0].verdict == "worse"


def test_a_baseline_that_lost_a_seed_is_no_ground_for_a_saving(tmp_path):
    ends = {"baseline": [3.0, 3.1, 2.9, 3.05, None], "20k": [2.0, 2.1, 1.9, 2.0, 2.0]}
    (only,) = target(tmp_path, ends).warmed
    assert (only.verdict, only.evidence.saves) == ("better", False)


# --- all or nothing --------------------------------------------------------------------------------------------------


def test_runs_that_leave_a_plateau_or_not_are_counted(tmp_path):
    found = target(tmp_path, {"baseline": [0.112, 0.13, 0.12], "20k": [0.846, 0.112, 0.915]}, "find")
    assert found.all_or_nothing
    assert found.cheap == pytest.approx(0.14, abs=0.015)  # any of the values shown
    base, only = found.variants
    assert (only.evidence.left.k, only.evidence.left.n, only.verdict) == (2, 3, "unclear")
    assert (only.evidence.left.low, only.evidence.left.high) == (
        pytest.approx(0.0943, abs=1e-3),
        pytest.approx(0.9916, abs=1e-3),
    )
    assert (base.evidence.left.k, base.evidence.left.high) == (0, pytest.approx(0.7076, abs=1e-3))
    assert only.evidence.method == "Fisher exact"
    assert only.evidence.fraction is None


def test_three_seeds_show_nothing_of_a_plateau_and_five_do(tmp_path):
    stay, go = 0.12, 0.9
    three = {"baseline": [stay] * 3, "20k": [go] * 3, "21k": [go, stay, go]}
    found = target(tmp_path / "three", three, "find")
    assert named(found, "20k").evidence.p == pytest.approx(0.1)
    assert [variant.verdict for variant in found.warmed] == ["unclear", "unclear"]
    five = {"baseline": [stay] * 5, "20k": [go] * 5, "21k": [go, stay, go, stay, stay]}
    found = target(tmp_path / "five", five, "find")
    assert named(found, "20k").evidence.p == pytest.approx(scipy.stats.fisher_exact([[5, 0], [0, 5]]).pvalue)
    assert [variant.verdict for variant in found.warmed] == ["better", "unclear"]


def test_steady_ends_far_apart_are_no_plateau(tmp_path):
    found = target(tmp_path, {"baseline": [0.30, 0.32, 0.31], "20k": [0.90, 0.91, 0.92]}, "find")
    assert not found.all_or_nothing
    (only,) = found.warmed
    assert (only.evidence.method, only.verdict, only.evidence.left) == ("paired t", "better", None)


def test_ends_of_one_variant_half_of_the_way_apart_are_the_border(tmp_path):
    cheap = target(tmp_path / "any", {"baseline": [0.5] * 3, "20k": [0.5] * 3}, "find").cheap
    half = (1 - cheap) / 2
    below = {"baseline": [0.3] * 3, "20k": [0.3, 0.3, 0.3 + half - 0.001]}
    above = {"baseline": [0.3] * 3, "20k": [0.3, 0.3, 0.3 + half + 0.001]}
    assert not target(tmp_path / "below", below, "find").all_or_nothing
    assert target(tmp_path / "above", above, "find").all_or_nothing
    losses = target(tmp_path / "loss", {"baseline": [3.0] * 3, "20k": [1.0, 9.0, 3.0]})
    assert not losses.all_or_nothing  # a loss has no plateau that is known beforehand


def test_runs_that_all_stay_at_chance_are_no_plateau_that_some_left(tmp_path):
    ends = {"baseline": [0.1, 0.45, 0.3], "20k": [0.2, 0.6, 0.15]}
    found = target(tmp_path, ends, "find")
    hard = judge(replace(found, chance={"guessing": 0.7}))
    assert not hard.all_or_nothing  # 45 points apart, and 15 are half of the way to 100 %
    assert {variant.evidence.method for variant in hard.warmed} == {"paired t"}
    left = judge(
        replace(target(tmp_path / "left", {**ends, "20k": [0.2, 0.86, 0.15]}, "find"), chance={"guessing": 0.7})
    )
    assert left.all_or_nothing
    assert [variant.evidence.left.k for variant in left.variants] == [0, 1]
    together = judge(
        replace(target(tmp_path / "all", {**ends, "20k": [0.9, 0.95, 1.0]}, "find"), chance={"guessing": 0.7})
    )
    assert not together.all_or_nothing  # all of one left, none of the other


def test_a_further_score_is_corrected_for_variants_that_have_none_yet(tmp_path):
    found = target(tmp_path, {"baseline": BASE, "20k": worse_by([-0.1] * 5), "21k": worse_by([-0.1] * 5)})
    score = Difference(0.1, 0.01, 0.19, 5, p=0.03)
    one, other = ({"exact_match": score} if short == "20k" else {} for short in ("20k", "21k"))
    base, first, second = found.variants
    known = judge(
        replace(found, variants=(base, replace(first, score_deltas=one), replace(second, score_deltas=other)))
    )
    assert named(known, "20k").score_verdicts == {"exact_match": "unclear"}  # 0.03 is 0.06 among two
    alone = judge(replace(found, variants=(base, replace(first, score_deltas=one))))
    assert named(alone, "20k").score_verdicts == {"exact_match": "better"}


# --- what can be measured --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answers", "verdict"), [(1, "unclear"), (3, "better")])
def test_differences_that_are_alike_are_no_certainty(tmp_path, answers, verdict):
    """Accuracies of 256 sequences each: every seed has the same few more of them right."""
    base = [128 / 256, 130 / 256, 129 / 256]
    ends = {"baseline": base, "20k": [end + answers / 256 for end in base]}
    (only,) = target(tmp_path, ends, "find", lambda end, share: end * share).warmed
    p = 2 * scipy.stats.t.sf(answers * 3**0.5, 2)  # one sequence is the least standard deviation
    assert only.evidence.p == pytest.approx(p)
    assert only.verdict == verdict
    half = 4.302653 / 256 / 3**0.5
    assert only.difference.low == pytest.approx(answers / 256 - half, rel=1e-5)
    assert only.difference.high == pytest.approx(answers / 256 + half, rel=1e-5)
    assert only.evidence.fraction.low < only.readoff.fraction
    assert (only.evidence.fraction.high is not None) == (verdict == "better")


def test_losses_that_differ_by_the_same_are_as_sure_as_arithmetic_leaves_them(tmp_path):
    (only,) = target(tmp_path, {"baseline": [3.0, 3.5, 2.5], "20k": [2.5, 3.0, 2.0]}).warmed
    assert only.evidence.p == pytest.approx(2 * scipy.stats.t.sf(0.5 / (3.5 * 2**-23 / 3**0.5), 2), rel=1e-3, abs=0)


def test_places_between_the_same_evaluations_are_alike_only_as_far_as_these_tell(tmp_path):
    """All runs rise between two evaluations, at 40 and 80 % of the tokens."""
    places = {"baseline": [0.8] * 3, "20k": [0.4] * 3}
    ends = {name: [1.0] * 3 for name in places}
    (only,) = target(tmp_path, ends, "find", lambda e, s, v, i: 1.0 if s > places[v][i] - 0.01 else 0.0).warmed
    speed = only.evidence.speed
    share = speed.share
    assert 0.45 < share < 0.55
    # A tenth of the tokens lies between two evaluations: even distributions of a quarter and an eighth of the place.
    own, base = 0.3 + 0.1 * 0.99, 0.7 + 0.1 * 0.99
    error = ((0.1 / own) ** 2 + (0.1 / base) ** 2) ** 0.5 / 12**0.5 / 3**0.5
    assert np.log(share / speed.low) == pytest.approx(scipy.stats.t.ppf(1 - 0.025 / 2, 2) * error, rel=0.02)
    assert speed.p == pytest.approx(4 * scipy.stats.t.sf(abs(np.log(share)) / error, 2), rel=0.05)


# --- tokens until a level --------------------------------------------------------------------------------------------


def at_place(places):
    """Accuracies that rise from 0 in a straight line to 1 at a share of the tokens."""

    def curve(end, share, variant, seed):
        return min(1.0, share / places[variant][seed])

    return curve


def test_quicker_to_the_same_end_saves_data(tmp_path):
    places = {"baseline": [0.8, 0.9, 0.8, 0.8], "20k": [0.4, 0.4, 0.4, 0.5]}
    ends = {name: [1.0] * 4 for name in places}
    (only,) = target(tmp_path, ends, "find", at_place(places)).warmed
    speed = only.evidence.speed
    assert (speed.level, only.verdict) == (0.99, "unclear")
    ratios = np.log([0.4 / 0.8, 0.4 / 0.9, 0.4 / 0.8, 0.5 / 0.8])
    assert speed.share == pytest.approx(np.exp(ratios.mean()), rel=0.02)
    # Half of the level, because the final values are tested as well.
    half = scipy.stats.t.ppf(1 - 0.025 / 2, 3) * ratios.std(ddof=1) / 2
    assert (speed.low, speed.high) == (
        pytest.approx(np.exp(ratios.mean() - half), rel=0.04), pytest.approx(np.exp(ratios.mean() + half), rel=0.04),
    )  # fmt: skip
    assert speed.p == pytest.approx(2 * scipy.stats.ttest_1samp(ratios, 0).pvalue, rel=0.2)
    assert only.evidence.saves


def test_as_quick_or_seldom_there_saves_nothing(tmp_path):
    places = {"baseline": [0.5, 0.6, 0.55, 0.5], "20k": [0.52, 0.55, 0.58, 0.49], "21k": [0.2, 0.2, 0.2, 1.2]}
    ends = {name: [1.0] * 4 for name in places}
    found = target(tmp_path, ends, "find", at_place(places))
    alike, seldom = named(found, "20k").evidence, named(found, "21k").evidence
    assert alike.speed.low < 1 < alike.speed.high
    assert not alike.saves
    assert (seldom.speed, seldom.saves) == (None, False)  # one seed never gets there


# --- one baseline seed against another -------------------------------------------------------------------------------


def test_the_baseline_against_itself(tmp_path):
    found = target(tmp_path, {"baseline": [3.0, 3.2, 3.1], "20k": [3.0, 3.2, 3.1]})
    null = between_seeds(found.baselines[0])
    assert null.typical == pytest.approx(((0.04 + 0.01 + 0.01) / 3) ** 0.5)
    # The lowest seed is at the ends of both others, the middle one at the highest's: 3 of 6, from 80 % of the tokens.
    assert (null.largest, null.tries, null.reached) == (pytest.approx(0.2), 6, 3)
    assert null.earliest == pytest.approx(0.8)
    assert between_seeds(found.warmed[0]) is not None


# --- donors crossed with target seeds --------------------------------------------------------------------------------


def crossed(results, donors, targets):
    """The same sweep, its seeds taken for donors times targets; the baseline keeps one run a target."""
    found = results.targets[0]
    base, only = found.variants
    runs = []
    for run in only.runs:
        runs.append(replace(run, seed=run.seed % targets, donor=run.seed // targets))
    base = replace(base, runs=base.runs[:targets])
    variants = tuple(against_baseline(v, base) for v in (base, replace(only, runs=tuple(runs))))
    return judge(Target(found.name, found.title, found.kind, found.metric, variants))


def test_three_donors_times_three_targets_are_not_nine(tmp_path):
    base = [3.0, 3.1, 2.9]
    donor, seed = np.array([-0.10, 0.0, 0.04]), np.array([-0.05, 0.02, 0.0])
    ends = [base[t] - 0.06 + donor[d] + seed[t] + 0.001 * ((d * t) % 2) for d in range(3) for t in range(3)]
    found = crossed(sweep(tmp_path, {"baseline": base * 3, "20k": ends}), 3, 3)
    (only,) = found.warmed
    difference = only.difference
    assert (difference.n, difference.targets, difference.units, only.evidence.method) == (3, 3, 3, "crossed t")
    assert difference.mean == pytest.approx(np.mean(np.array(ends) - np.array(base * 3)))
    assert difference.donor_sd == pytest.approx(donor.std(ddof=1), rel=0.02)
    assert difference.target_sd == pytest.approx(seed.std(ddof=1), rel=0.03)
    half = 4.302653 * ((donor.var(ddof=1) + seed.var(ddof=1)) / 3) ** 0.5
    assert difference.high - difference.mean == pytest.approx(half, rel=0.01)
    # Taken for nine independent seeds it would have been better.
    nine = scipy.stats.ttest_1samp(np.array(ends) - np.array(base * 3), 0)
    assert nine.pvalue < 0.05
    assert only.verdict == "unclear"
    assert len(only.readoff.per_seed) == 9
    said = headline(found)
    assert said.startswith("No difference shown: 20k ends −0.090 nats (95 % ")
    assert "3 donors on 3 target seeds, which includes no difference" in said
    assert difference.rest_sd == pytest.approx(0.001 / 3, rel=1e-6)  # one cell of nine by 0.001
    (spread,) = [remark for remark in remarks(found) if "between donors" in remark]
    assert spread.startswith(
        "How far an effect differs (sd, nats) between donors, between target seeds, and from one pair"
    )
    assert "beyond both: 20k 0.072, 0.036 and 0.000. 9 runs of 3 donors are not so many independent ones." in spread


def test_what_neither_donor_nor_target_seed_accounts_for_is_told(tmp_path):
    """A run here and there falls off: no donor and no seed is the worse for it on the mean, and yet nothing agrees."""
    ends = [3.0 - 0.1 + 0.2 * (d == t) for d in range(3) for t in range(3)]
    found = crossed(sweep(tmp_path, {"baseline": [3.0] * 9, "20k": ends}), 3, 3)
    difference = found.warmed[0].difference
    assert (difference.donor_sd, difference.target_sd) == (0, 0)
    assert difference.rest_sd == pytest.approx(0.2 * 0.5**0.5, rel=0.01)
    (spread,) = [remark for remark in remarks(found) if "between donors" in remark]
    assert f"20k 0.000, 0.000 and {difference.rest_sd:.3f}." in spread


def test_a_donor_that_left_with_half_of_its_targets_has_not_left_by_most(tmp_path):
    ends = [0.9, 0.1, 0.9, 0.9, 0.1, 0.1]  # of three donors, each with two targets
    found = crossed(sweep(tmp_path, {"baseline": [0.1, 0.9] * 3, "20k": ends}, "find"), 3, 2)
    found = replace(found, chance={"guessing": 0.1})
    (only,) = found.warmed
    assert left_of(found, paired(only.runs, found.baselines[0].runs)) == (1, 3, 1, 2)


def test_donors_of_a_sweep_file_are_crossed(tmp_path):
    yaml = "donors: [7, 8, 9]\n" + HEAD.format(seeds=[0, 1, 2], budgets="20k") + TEXT
    plan, store = make_plan(tmp_path, yaml), Store(tmp_path / "store")
    runs = {cell.compared: cell for cell in plan.cells}

    def formula(phase, tokens):
        cell = runs.get(phase.id)
        effect = 0.0 if cell is None or cell.donor is None else -0.06 - 0.05 * (cell.donor - 7)
        return {"loss": 4 + 0.1 * phase.recipe.seed + effect - tokens / 1_024_000, "accuracy": 0.1}

    fill(plan, store, formula)
    (only,) = summarise(plan, store).targets[0].warmed
    assert len(only.runs) == 9
    assert (only.difference.n, only.difference.targets) == (3, 3)
    assert (only.difference.mean, only.difference.donor_sd) == (pytest.approx(-0.11), pytest.approx(0.05))
    assert only.difference.target_sd == pytest.approx(0, abs=1e-6)
    assert (only.evidence.p, only.verdict) == (
        pytest.approx(scipy.stats.ttest_1samp([-0.06, -0.11, -0.16], 0).pvalue),
        "unclear",
    )
    (one,) = power(plan, store)
    assert (one.seeds, one.sd) == (3, pytest.approx(0.05))  # of three donors, not of nine runs


def test_the_unit_stays_the_donor_for_the_fraction_too(tmp_path):
    base = [3.0, 3.1, 2.9]
    ends = [base[t] - 0.2 - 0.1 * d for d in range(3) for t in range(3)]
    (only,) = crossed(sweep(tmp_path, {"baseline": base * 3, "20k": ends}), 3, 3).warmed
    half = 4.302653 * 0.1 / 3**0.5
    assert only.evidence.fraction.high == pytest.approx(0.7 + half, rel=0.02)
    assert only.evidence.saves


def test_a_variant_that_goes_on_is_ranked_behind_those_that_ended(tmp_path):
    def until(phase):
        return 0.5 if phase.variant == "20k" and phase.recipe.seed > 2 else 1.0

    ends = {"baseline": BASE, "20k": worse_by([-0.3] * 5), "21k": worse_by([-0.1] * 5)}
    assert [variant.short for variant in target(tmp_path, ends, until=until).ranked] == ["21k", "20k"]

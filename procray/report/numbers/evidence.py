"""What the numbers of a target allow to say, corrected for how many variants its table has.

The rules are in docs/claims.md, and benchmarks/calibration.py shows how often what they say is false:

- the final values are compared by a paired t-test over seeds (over donors where these are crossed with target seeds),
  or by Fisher's exact test where runs either leave a plateau or do not; Holm's correction over all warmed-up variants;
- the data fraction has the interval of places that the same test does not tell from the baseline's end;
- nothing is claimed from fewer than three seeds, or for a variant that lost one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from procray.report.numbers.crossing import Mode, tokens_to_match
from procray.report.numbers.pairs import Cells, cells
from procray.report.numbers.results import LEVELS, Evidence, Fraction, Left, Speed, Target, Variant, paired
from procray.report.numbers.runs import Curve, Run, side_by_side
from procray.report.numbers.statistics import (
    LEVEL,
    Corrected,
    Difference,
    binomial_interval,
    fisher_exact,
    holm,
    mean_and_error,
    p_value,
    t_quantile,
)

FEWEST = 3  # independent seeds (or donors) that a claim needs


def judge(target: Target) -> Target:
    """The target with `evidence` for every variant, and verdicts for further scores and phases."""
    target = replace(target, all_or_nothing=_all_or_nothing(target))
    tested = target.tested
    bases = {variant.name: target.baseline_of(variant) for variant in tested}
    tests = {
        variant.name: test_of_ends(target, variant.difference, paired(variant.runs, base.runs) if base else [])
        for variant in tested
        for base in [bases[variant.name]]
    }
    corrected = dict(zip(tests, holm([p for _, p in tests.values()], len(tested)), strict=True))
    speeds = speeds_against(target, {name: (base, paired) for name, base in bases.items() if base}, len(tested))
    settled = {base.name: _settling(base) for base in target.baselines}
    found = []
    for variant in target.variants:
        if variant.is_baseline:
            found.append(
                replace(variant, evidence=Evidence(settled=settled[variant.name], left=_left(target, variant)))
            )
            continue
        if variant.control:  # it is there to be compared with its variant: see `gate`
            found.append(replace(variant, evidence=Evidence(left=_left(target, variant))))
            continue
        method, p = tests[variant.name]
        evidence = Evidence(
            method, len(tested), p, corrected[variant.name].p, corrected[variant.name].level,
            verdict_of(variant, variant.difference, corrected[variant.name], target.mode),
            _fraction(target, variant, corrected[variant.name].level),
            settled.get(variant.baseline), speeds.get(variant.name), _left(target, variant),
        )  # fmt: skip
        found.append(replace(variant, evidence=replace(evidence, saves=_saves(target, variant, evidence))))
    return replace(target, variants=tuple(_others(target, found)))


def verdict_of(variant: Variant, difference: Difference | None, test: Corrected, mode: Mode) -> str:
    """`better` needs three units and every planned seed; what lost one may still be worse."""
    if difference is None:
        return ""
    if not test.rejected or difference.units < FEWEST:
        return "unclear"
    better = (difference.mean < 0) == (mode == "min")
    if better and variant.lost:
        return "unclear"
    return "better" if better else "worse"


# --- the final values ------------------------------------------------------------------------------------------------


def _all_or_nothing(target: Target) -> bool:
    """Whether of the runs of one variant some left the plateau and some did not, and their ends lie far apart.

    Far is more than half of the way from the best cheap strategy to 100 %. Runs that all stay below the middle, such
    as those of chance level that scatter, are one group however far they lie apart.
    """
    if target.metric != "accuracy" or target.cheap is None:
        return False
    for variant in target.variants:
        ends = [run.final("accuracy") for run in variant.finished if run.accuracy is not None]
        some_left = any(leaves(target, run) for run in variant.finished)
        if some_left and max(ends) - min(ends) > (1 - target.cheap) / 2:
            return True
    return False


def test_of_ends(
    target: Target, difference: Difference | None, pairs: Sequence[tuple[Run, Run]]
) -> tuple[str, float | None]:
    """The name of the test of the final values, and its two-sided p; None where there is nothing to test."""
    if difference is None or difference.p is None or not pairs:
        return "", None
    if not target.all_or_nothing:
        return "paired t" if difference.targets is None else "crossed t", difference.p
    most, n, others, other_n = left_of(target, pairs)
    exact = fisher_exact(most, n, others, other_n)
    # What donors share through the target seeds must show beside that.
    return "Fisher exact", exact if difference.targets is None else max(exact, difference.p)


def left_of(target: Target, pairs: Sequence[tuple[Run, Run]]) -> tuple[int, int, int, int]:
    """How many left the plateau, of how many, and the same of their partners: what Fisher's test compares.

    A donor is one unit, however many targets it was tried on: it counts by most of them.
    """
    found = cells(pairs)
    left = found.array(lambda pair: [leaves(target, pair[0]), leaves(target, pair[1])])
    if not found.crossed:
        count = len(found.pairs)
        return int(left[0].sum()), count, int(left[1].sum()), count
    donors, targets = found.shape
    most, others = (int((own.mean(axis=1) > 0.5).sum()) for own in left)
    if found.pairs[0][1].donor is None:  # one run is the partner of a whole column
        return most, donors, int(left[1][0].sum()), targets
    return most, donors, others, donors


def leaves(target: Target, run: Run) -> bool:
    """Whether a run has left the plateau: it ends above the middle between cheap strategies and everything right."""
    assert target.middle is not None, "asked only of a task with known cheap strategies"
    return run.accuracy is not None and run.accuracy > target.middle


def _left(target: Target, variant: Variant) -> Left | None:
    """Of the planned runs, those that will still come left out; a failed one has not left."""
    ended = [run for run in variant.runs if run.state in ("done", "failed", "skipped")]
    if not target.all_or_nothing or not ended:
        return None
    k = sum(leaves(target, run) for run in ended)
    return Left(k, len(ended), *binomial_interval(k, len(ended)))


# --- the data fraction -----------------------------------------------------------------------------------------------


def _fraction(target: Target, variant: Variant, level: float) -> Fraction | None:
    """Where the variant's curve is as good as the baseline's end, for good: the places that a test leaves open."""
    base = target.baseline_of(variant)
    if base is None or target.all_or_nothing:
        return None
    found = cells(paired(variant.runs, base.runs))
    if not found.pairs or found.units < 2:
        return None
    metric = target.metric
    tokens, values = beside([run.curve for run, _ in found.pairs], metric, found)
    ends = found.array(lambda pair: pair[1].final(metric))
    errors = mean_and_error(_behind(values - ends, target.mode), found.crossed, found.resolution(metric))
    return _open_places(tokens, errors, level, base.t2)


def _settling(base: Variant) -> Fraction | None:
    """The same of the baseline's own curve; pairs are then the run and itself."""
    if base.n < 2:
        return None
    found = cells([(run, run) for run in base.finished])
    tokens, values = beside([run.curve for run in base.finished], base.metric, found)
    ends = found.array(lambda pair: pair[1].final(base.metric))
    behind = _behind(values - ends, base.mode)
    open_ = _open_places(tokens, mean_and_error(behind, False, found.resolution(base.metric)), LEVEL, base.t2)
    # Its end is compared with itself: what is equal to it is surely as good.
    return replace(open_, high=_open_places(tokens, mean_and_error(behind, False), LEVEL, base.t2).high)


def _behind(gaps: np.ndarray, mode: Mode) -> np.ndarray:
    """How far values are from being good enough."""
    return gaps if mode == "min" else -gaps


def beside(curves: Sequence[Curve], metric: str, found: Cells) -> tuple[list[int], np.ndarray]:
    """The places that all curves have, and their values there, with one leading axis for the places."""
    places, values = side_by_side(curves, metric)
    return places, np.asarray(values, dtype=np.float64).reshape(len(places), *found.shape)


def _open_places(
    tokens: Sequence[int], behind: tuple[np.ndarray, np.ndarray, int], level: float, budget: int
) -> Fraction:
    """Inverts the test: at `low` the curve stops being surely worse for good, from `high` on it is surely better.

    Args:
        behind: how far the mean curve is from being good enough, as `mean_and_error` tells it.
    """
    means, errors, degrees = behind
    half = t_quantile(degrees, 1 - level / 2) * errors
    low, high = (tokens_to_match(tokens, ends.tolist(), 0.0) for ends in (means - half, means + half))
    return Fraction(None if low is None else low / budget, None if high is None else high / budget)


def _saves(target: Target, variant: Variant, evidence: Evidence) -> bool:
    """Whether "saves data" may be said: surely there before the baseline's own settling place, or surely quicker.

    Every planned seed of both has then finished, and no schedule-matched reruns say the contrary. To be as good as a
    baseline that guesses saves nothing.
    """
    base = target.baseline_of(variant)
    if base is None or variant.state != "complete" or base.state != "complete" or reruns_deny(variant):
        return False
    return (sooner(evidence) and not target.guesses(base)) or quicker(evidence.speed)


def sooner(evidence: Evidence) -> bool:
    """Whether the end is better, and the curve surely as good as the baseline's end before the baseline's own is."""
    fraction, settled = evidence.fraction, evidence.settled
    if evidence.verdict != "better" or fraction is None or settled is None:
        return False
    return fraction.high is not None and settled.low is not None and fraction.high < settled.low


def reruns_deny(variant: Variant) -> bool:
    """Whether schedule-matched reruns need no less than the baseline's best budget, or never reach what it reaches."""
    matched = variant.matched
    if variant.constant:  # every shorter run is a part of the long one: nothing was run again
        return False
    return matched.state == "not reached" or (matched.fraction is not None and matched.fraction >= 1)


def quicker(speed: Speed | None) -> bool:
    """Whether a level is surely kept sooner."""
    return speed is not None and speed.p <= LEVEL and speed.high < 1 and speed.n >= FEWEST


# --- tokens until a level --------------------------------------------------------------------------------------------


def claim_level(target: Target, base: Variant) -> float | None:
    """The highest of LEVELS, above what cheap strategies score, that every planned seed of a baseline keeps."""
    if target.metric != "accuracy" or base.state != "complete":
        return None
    for level in sorted(LEVELS, reverse=True):
        if level > (target.cheap or 0.0) and all(_place(run, level) is not None for run in base.runs):
            return level
    return None


def _place(run: Run, level: float) -> float | None:
    """Tokens from which a run stays above a level; the first evaluation after 0 where it was there from the start."""
    place = tokens_to_match(run.curve.tokens, run.curve.accuracy, level, "max")
    if place is None or place > 0:
        return place
    return next((float(tokens) for tokens in run.curve.tokens if tokens > 0), None)


def _vagueness(run: Run, level: float) -> float:
    """The relative error of a place that lies anywhere between two evaluations: the sd of an even distribution."""
    place = _place(run, level)
    assert place is not None, "asked only of what keeps the level"
    after = next(i for i, tokens in enumerate(run.curve.tokens) if tokens >= place and tokens > 0)
    before = run.curve.tokens[after - 1] if after else 0
    return (run.curve.tokens[after] - before) / (12**0.5 * place)


Pairing = Callable[[Sequence[Run], Sequence[Run]], list[tuple[Run, Run]]]


def speeds_against(target: Target, others: Mapping[str, tuple[Variant, Pairing]], family: int) -> dict[str, Speed]:
    """Of the variants whose every seed, and every one of the other, keeps their baseline's level: tests on logarithms.

    They are a second look beside the final values, so they are made at half of the level: p counts twice.

    Args:
        others: by variant, what it is compared with and how both are paired.
        family: tests of the table.
    """
    levels = {base.name: claim_level(target, base) for base in target.baselines}
    found: dict[str, tuple[float, np.ndarray, Cells]] = {}
    for variant in target.warmed:
        level = levels.get(variant.baseline)
        if variant.name not in others or level is None or variant.state != "complete":
            continue
        other, pair_up = others[variant.name]
        if other.state != "complete":
            continue
        own = cells(pair_up(variant.runs, other.runs))
        if own.units < 2 or any(_place(run, level) is None for run in (*variant.runs, *other.runs)):
            continue
        ratios = own.array(lambda pair, level=level: math.log(_place(pair[0], level) / _place(pair[1], level)))  # type: ignore[misc, operator]
        found[variant.name] = (level, ratios, own)
    if not found:
        return {}
    tests = {}
    for name, (_, ratios, own) in found.items():
        level = found[name][0]
        vague = own.array(lambda pair, level=level: sum(_vagueness(run, level) ** 2 for run in pair))  # type: ignore[misc]
        means, errors, degrees = mean_and_error(ratios, own.crossed, float(vague.mean()) ** 0.5)
        tests[name] = (float(means), float(errors), degrees)
    corrected = holm([min(1.0, 2 * p_value(*test)) for test in tests.values()], family)
    speeds = {}
    for (name, (level, _, own)), one in zip(found.items(), corrected, strict=True):
        mean, error, degrees = tests[name]
        half = t_quantile(degrees, 1 - one.level / 4) * error
        assert one.p is not None
        speeds[name] = Speed(level, math.exp(mean), math.exp(mean - half), math.exp(mean + half), one.p, own.units)
    return speeds


# --- further scores and phases ---------------------------------------------------------------------------------------


def _others(target: Target, variants: Sequence[Variant]) -> list[Variant]:
    """The verdicts of the columns of other tables, each corrected for its column."""
    names = list(dict.fromkeys(name for variant in variants for name in variant.score_deltas))
    scores: dict[str, dict[str, str]] = {variant.name: {} for variant in variants}
    for name in names:
        # Where runs leave a plateau or do not, no score of theirs has a t-interval either.
        for variant, verdict in _column(target, variants, [v.score_deltas.get(name) for v in variants], "max"):
            scores[variant.name][name] = verdict
    stages = {variant.name: list(variant.stages) for variant in variants}
    for index in range(max((len(own) for own in stages.values()), default=0)):
        there = [variant for variant in variants if index < len(variant.stages)]
        mode: Mode = "max" if there[0].stages[index].metric == "accuracy" else "min"
        for variant, verdict in _column(target, there, [v.stages[index].difference for v in there], mode):
            stages[variant.name][index] = replace(variant.stages[index], verdict=verdict)
    return [
        replace(variant, score_verdicts=scores[variant.name], stages=tuple(stages[variant.name]))
        for variant in variants
    ]


def _column(
    target: Target, variants: Sequence[Variant], differences: Sequence[Difference | None], mode: Mode
) -> list[tuple[Variant, str]]:
    known = [
        (v, d)
        for v, d in zip(variants, differences, strict=True)
        if d is not None and not v.is_baseline and not v.control
    ]
    if target.all_or_nothing and mode == "max":
        return [(variant, "unclear") for variant, _ in known]
    tests = holm([difference.p for _, difference in known], max(len(target.tested), len(known)))
    return [
        (variant, verdict_of(variant, difference, test, mode))
        for (variant, difference), test in zip(known, tests, strict=True)
    ]


# --- one baseline seed against another -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Null:
    """What no warm-up at all looks like: every seed of a baseline against every other, in the target's metric.

    Attributes:
        typical, largest: the distance between the ends of two seeds: root mean square, and the most.
        reached: in how many of the `tries` one seed reaches the end of another for good.
        earliest: the smallest share of the tokens with which one does.
    """

    typical: float
    largest: float
    tries: int
    reached: int
    earliest: float | None


def between_seeds(base: Variant) -> Null | None:
    """None for fewer than two finished seeds."""
    runs = [run for run in base.finished if run.donor is None]
    if len(runs) < 2:
        return None
    ends = [run.final(base.metric) for run in runs]
    apart = [abs(one - two) for one, two in itertools.combinations(ends, 2)]
    shares = [
        place / base.t2
        for run, (i, end) in itertools.product(runs, enumerate(ends))
        if run is not runs[i]
        and (place := tokens_to_match(run.curve.tokens, run.curve.values(base.metric), end, base.mode)) is not None
    ]
    typical = math.sqrt(sum(gap**2 for gap in apart) / len(apart))
    return Null(typical, max(apart), len(runs) * (len(runs) - 1), len(shares), min(shares, default=None))

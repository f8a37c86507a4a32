"""Comparison with published values: reproduced, not reproduced, or not comparable, always with the reason.

*Reproduced* needs all three: our effect has the published direction and its 95 % interval excludes no effect; our mean
lies within the stated tolerance of the published value, which is smaller than the published effect; and so does the
95 % interval of our mean. An entry whose file says why ours is another number is *not comparable*, however near it is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from procray.errors import did_you_mean
from procray.report.numbers.results import Match, Results, Target, Variant
from procray.report.numbers.runs import Run
from procray.report.numbers.statistics import Difference, Spread, spread, t_quantile
from procray.report.numbers.wording import MINUS, listing, percent, signed
from procray.spec.quantities import QUANTITIES, SHARES, fits, published_effect

Verdict = Literal["reproduced", "not reproduced", "not comparable"]
VERDICTS: tuple[Verdict, ...] = ("reproduced", "not reproduced", "not comparable")


@dataclass(frozen=True)
class Comparison:
    """One published value beside ours.

    Shares (accuracies, fractions) lie between 0 and 1.

    Attributes:
        variant: the one that was found, or what the entry asks for.
        strength: how good the evidence for the published value is.
        ours, sd, n: our mean and standard deviation over n seeds.
        low, high: the 95 % interval of `effect`: the paired difference from the baseline, or the fraction itself.
        note: what else the entry says.
        baseline: the published one, from which the published effect follows.
    """

    quantity: str
    variant: str
    value: float
    tolerance: float
    source: str
    strength: str
    ours: float | None
    verdict: Verdict
    reason: str
    target: str = ""
    sd: float | None = None
    n: int = 0
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""
    baseline: float | None = None


@dataclass(frozen=True)
class _Measured:
    """Our number, and the effect that it stands for with its 95 % interval.

    `lost` says why the interval of the effect is not to be trusted, and `units` how many independent values the spread
    rests on: donors crossed with target seeds are as many as the fewer of both. `least` is the smallest difference of
    two values that can be measured: no spread is taken for less.
    """

    mean: float | None = None
    sd: float | None = None
    n: int = 0
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    lost: str = ""
    units: int | None = None
    missing: str = "no finished result"
    least: float = 0.0

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean, by Student's t; None from fewer than two seeds."""
        units = self.n if self.units is None else self.units
        if self.mean is None or self.sd is None or units < 2:
            return None
        half = t_quantile(units - 1) * max(self.sd, self.least) / math.sqrt(units)
        return self.mean - half, self.mean + half


def compare(results: Results, published: Sequence[dict[str, Any]] | None = None) -> list[Comparison]:
    """One comparison for every published value; those of the plan by default."""
    return [_compare(results, entry) for entry in (results.published if published is None else published)]


def at_a_glance(comparisons: Sequence[Comparison]) -> str:
    """`2 reproduced, 1 not reproduced, 3 not comparable`."""
    found = [comparison.verdict for comparison in comparisons]
    return ", ".join(f"{found.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in found)


def _compare(results: Results, entry: dict[str, Any]) -> Comparison:
    quantity = entry.get("quantity") or "data_fraction"
    value, tolerance = float(entry["value"]), float(entry["tolerance"])
    base = None if entry.get("baseline") is None else float(entry["baseline"])
    found = _variant(results, entry)
    measured = _Measured()
    target, name = str(entry.get("target") or ""), str(entry.get("variant") or "")
    verdict: Verdict = "not comparable"
    if isinstance(found, str):
        reason = found
    elif quantity not in QUANTITIES:
        target, name = found[0].name, found[1].name
        reason = f"unknown quantity '{quantity}'"
    else:
        target, name = found[0].name, found[1].name
        measured = _measured(found[0], found[1], quantity)
        verdict, reason = _judge(measured, found[1], quantity, value, tolerance, base)
    if entry.get("comparable"):
        verdict, reason = "not comparable", str(entry["comparable"])
    return Comparison(
        quantity, name, value, tolerance, str(entry["source"]), str(entry["strength"]), measured.mean, verdict, reason,
        target, measured.sd, measured.n, measured.effect, measured.low, measured.high, str(entry.get("note") or ""),
        base,
    )  # fmt: skip


def _variant(results: Results, entry: dict[str, Any]) -> tuple[Target, Variant] | str:
    """The variant that an entry means, or why there is none."""
    targets = [t for t in results.targets if entry.get("target") in (None, t.name, t.title)]
    if not targets:
        near = did_you_mean(str(entry.get("target")), [name for t in results.targets for name in (t.name, t.title)])
        return f"this scale has no target '{entry.get('target')}'{near}"
    wanted = entry.get("variant")
    fits = [(target, variant) for target in targets for variant in target.variants if _fits(wanted, variant)]
    if not fits:
        if not wanted:
            return "this scale has no warmed-up variant"
        near = did_you_mean(wanted, [name for t in targets for v in t.variants for name in (v.name, v.short)])
        return f"this scale has no variant '{wanted}'{near}"
    if len(fits) > 1:
        names = listing([variant.name for _, variant in fits[:3]])
        return f"{len(fits)} variants could be meant: {names}{' and others' if len(fits) > 3 else ''}"
    return fits[0]


def _fits(wanted: str | None, variant: Variant) -> bool:
    return fits(wanted, variant.name, variant.short, variant.is_baseline, variant.control)


def _judge(
    measured: _Measured, variant: Variant, quantity: str, value: float, tolerance: float, base: float | None
) -> tuple[Verdict, str]:
    ours = measured.mean
    if ours is None:
        verdict: Verdict = "not reproduced" if measured.missing.endswith("not reached") else "not comparable"
        return verdict, measured.missing
    effect = published_effect(quantity, value, base)
    if not variant.is_baseline:
        if effect is None:
            return "not comparable", "the direction is not known: the entry does not state the published baseline"
        if not tolerance < abs(effect) * (1 - 1e-9):
            return (
                "not comparable",
                f"the tolerance of {number(quantity, tolerance)} is not smaller than the published effect of "
                f"{number(quantity, abs(effect))}",
            )
    if abs(ours - value) > tolerance * (1 + 1e-12):
        return (
            "not reproduced",
            f"{number(quantity, ours)} is further than {number(quantity, tolerance)} from {number(quantity, value)}",
        )
    interval = measured.interval()
    if interval is None:
        return "not reproduced", "within the tolerance, but one seed gives no interval"
    if not variant.is_baseline:
        assert effect is not None
        wrong = _against(measured, quantity, effect)
        if wrong:
            return "not reproduced", f"within the tolerance, but {wrong}"
    if any(abs(end - value) > tolerance * (1 + 1e-12) for end in interval):
        low, high = (number(quantity, end) for end in interval)
        return "not reproduced", f"the mean is within the tolerance, but its 95 % interval, {low} to {high}, is not"
    if variant.is_baseline:
        return "reproduced", "the 95 % interval is within the tolerance; a baseline has no effect to exclude"
    return "reproduced", "the 95 % interval is within the tolerance, and that of the effect excludes no effect"


def _against(measured: _Measured, quantity: str, effect: float) -> str:
    """Why our effect is not the published one, or nothing."""
    if measured.lost:
        return measured.lost
    if measured.effect is None or measured.low is None or measured.high is None:
        return "one seed gives no interval of the effect"
    none = 1.0 if quantity.startswith("data_fraction") else 0.0
    if (measured.effect - none) * effect < 0:
        return "the effect has the opposite direction"
    if measured.low <= none <= measured.high:
        return "the 95 % interval of the effect includes no effect"
    return ""


def _measured(target: Target, variant: Variant, quantity: str) -> _Measured:
    if quantity.startswith("data_fraction"):
        matched = quantity.endswith("matched") and not variant.constant
        return _fraction(variant.matched if matched else variant.readoff, _between(variant, matched))
    if quantity.startswith("last_"):
        if not variant.stages:
            return _Measured(missing="the chain has only one phase after the warm-up")
        last = variant.stages[-1]
        return _of(quantity.removeprefix("last_"), last.metric, last.final, last.difference, last.runs)
    found: dict[str, tuple[Spread | None, Difference | None]] = {
        "accuracy": (variant.final_accuracy, variant.accuracy_delta),
        "accuracy_delta": (variant.final_accuracy, variant.accuracy_delta),
        **{name: (variant.scores.get(name), variant.score_deltas.get(name)) for name in _SCORED},
    }
    if quantity in _SCORED and variant.final is not None and quantity not in variant.scores:
        return _Measured(missing=f"this phase has no {quantity.replace('_', ' ')}")
    metric = "accuracy" if quantity == "accuracy_delta" else quantity if quantity in found else "loss"
    measured = _of(quantity, metric, *found.get(quantity, (variant.final_loss, variant.delta)), variant.runs)
    if quantity in SHARES and variant.evidence.left is not None and variant.evidence.verdict not in ("better", "worse"):
        left = variant.evidence.left
        return replace(measured, lost=f"runs leave a plateau or do not, {left.k} of {left.n} here: no mean tells that")
    return measured


_SCORED = ("official_accuracy", "corrected_accuracy", "exact_match")


def _of(
    quantity: str, metric: str, final: Spread | None, difference: Difference | None, runs: Sequence[Run]
) -> _Measured:
    """A final value of the runs in a metric with its effect, or the effect itself."""
    effect = difference or Difference(0.0, None, None, 0)
    known = [run for run in runs if run.done and run.value(metric) is not None]
    least = max((run.resolution(metric) for run in known), default=0.0)
    if quantity.endswith("delta"):
        if difference is None:
            return _Measured()
        sd = None
        if difference.low is not None and difference.high is not None:
            half = (difference.high - difference.low) / 2
            sd = half / t_quantile(difference.units - 1) * math.sqrt(difference.units)
        shown = Spread(difference.mean, sd, difference.n)
    elif final is None:
        return _Measured()
    elif quantity == "perplexity":
        if final.mean > 700:
            return _Measured(missing="the perplexity overflows")
        each = spread([math.exp(min(run.final(metric), 700.0)) for run in known])
        shown = Spread(math.exp(final.mean), each.sd if each else None, final.n)
        least *= shown.mean
    else:
        shown = final
    units = None if effect.targets is None else effect.units
    mean = difference.mean if difference else None
    return _Measured(shown.mean, shown.sd, shown.n, mean, effect.low, effect.high, units=units, least=least)


def _between(variant: Variant, matched: bool) -> float:
    """The most tokens between two evaluations of a variant, or two budgets that were run, where a curve may jump.

    A loss falls smoothly, and a line between two places tells more than their distance: 0.
    """
    if variant.metric == "loss":
        return 0
    if matched:
        places = [*(point.tokens for point in variant.points), variant.t2]
    else:
        places = list(variant.finished[0].curve.tokens) if variant.finished else []
    return max((after - before for before, after in itertools.pairwise(places)), default=0)


def _fraction(match: Match, between: float) -> _Measured:
    """A data fraction; its effect is that it lies below 1, which a seed that did not get there forbids to say.

    Args:
        between: tokens between two places that were looked at; where it is between them nobody knows better than by
            an even distribution.
    """
    if match.fraction is None:
        ended = match.state == "not reached"
        return _Measured(missing="the baseline's final level is not reached" if ended else "no finished result")
    reached = {key: tokens for key, tokens in match.per_seed.items() if tokens is not None}
    own = spread([tokens / match.of for tokens in reached.values()] if match.of else [])
    crossed = [key for key in reached if isinstance(key, tuple)]
    units = min(len({key[at] for key in crossed}) for at in (0, 1)) if crossed else len(reached)
    least = between / 12**0.5 / match.of if match.of else 0.0
    sd = own.sd if own else None
    found = _Measured(match.fraction, sd, len(reached), match.fraction, units=units, least=least)
    if own is None or own.sd is None or units < 2:
        return found
    half = t_quantile(units - 1) * max(own.sd, least) / units**0.5
    low, high = own.mean - half, own.mean + half
    lost = len(match.per_seed) - len(reached)
    missing = f"{lost} of {len(match.per_seed)} seeds {'does' if lost == 1 else 'do'} not reach the level"
    return replace(found, low=low, high=high, lost=missing if lost else "")


def number(quantity: str, value: float) -> str:
    """A value of a quantity as a reader wants it: shares in percent, perplexities with two decimals, nats with 3."""
    if quantity in SHARES:
        text = percent(value, 1)
    else:
        text = f"{value:.{2 if quantity.endswith('perplexity') else 3}f}"
    return text.replace("-", MINUS)


def published_text(comparison: Comparison) -> str:
    """`99.0 ± 5.0 %`: the published value and its tolerance."""
    return _with_spread(comparison.quantity, comparison.value, comparison.tolerance)


def measured_text(comparison: Comparison) -> str:
    """`98.7 ± 0.6 % (3)`, the number of seeds in brackets; `-` where there is no number."""
    if comparison.ours is None:
        return "-"
    text = _with_spread(comparison.quantity, comparison.ours, comparison.sd)
    return f"{text} ({comparison.n})" if comparison.n else text


def _with_spread(quantity: str, value: float, spread: float | None) -> str:
    if spread is None:
        return number(quantity, value)
    mean = number(quantity, value).removesuffix("\N{NARROW NO-BREAK SPACE}%")
    return f"{mean} ± {number(quantity, spread)}"


def effect_text(comparison: Comparison) -> str:
    """`+61.4 [+59.0, +63.8] pp`: the difference from the baseline, or the fraction, with its 95 % interval."""
    if comparison.effect is None:
        return "-"
    fraction = comparison.quantity.startswith("data_fraction")
    points = comparison.quantity in SHARES
    scale, decimals, unit = (100, 1, "pp") if points else (1, 3, "nats")
    numbers = [
        percent(value, 1) if fraction else signed(scale * value, decimals)
        for value in (comparison.effect, comparison.low, comparison.high)
        if value is not None
    ]
    text = numbers[0] + (f" [{numbers[1]}, {numbers[2]}]" if len(numbers) == 3 else "")
    return text if fraction else f"{text} {unit}"

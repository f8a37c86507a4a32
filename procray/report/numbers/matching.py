"""What a variant is against its baseline: differences, and how many tokens it needs to get as far.

Both forms of *tokens to match* follow the analysis in arXiv 2601.21725 and what it leaves open:

- Differences are taken seed by seed, then averaged, so that a partial sweep compares like with like.
- *Read-off*: where the mean curve of the full-length runs reaches the baseline's final level for good.
- *Matched*: the same question asked of reruns whose schedule was made for a fraction of the budget; the smallest
  fraction that matches, interpolated between the fractions that were run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from procray.report.numbers.crossing import tokens_to_match, value_at
from procray.report.numbers.pairs import Key, difference, key_of
from procray.report.numbers.results import LEVELS, Match, MatchedPoint, MatchState, Stage, Variant, paired
from procray.report.numbers.runs import SCORES, Run, finite, mean_curve
from procray.report.numbers.statistics import Difference, ratio, spread


def against_baseline(variant: Variant, base: Variant | None) -> Variant:
    """The variant with its means and all that is known against the baseline; `base` is None where it has none."""
    finished = variant.finished
    scores = {name: [run.scores[name] for run in finished if name in run.scores] for name in SCORES}
    variant = replace(
        variant,
        final_loss=spread([run.final("loss") for run in finished]),
        final_accuracy=spread([run.accuracy for run in finished if run.accuracy is not None]),
        scores={name: found for name, values in scores.items() if (found := spread(values))},
        stages=_fill_stages(variant, base),
        levels={level: _level(variant, level) for level in LEVELS} if variant.metric == "accuracy" else {},
    )
    if base is None:
        return variant
    if variant.is_baseline:
        return _fill_baseline(variant)
    pairs = paired(variant.runs, base.runs)
    with_accuracy = [(a, b) for a, b in pairs if a.accuracy is not None and b.accuracy is not None]
    variant = replace(
        variant,
        score_deltas=_score_deltas(pairs),
        points=tuple(_fill_point(point, variant, base) for point in variant.points),
        delta=_difference(pairs, "loss"),
        accuracy_delta=_difference(with_accuracy, "accuracy"),
    )
    readoff = _readoff(variant, base, pairs)
    return replace(variant, readoff=readoff, matched=readoff if variant.constant else _matched(variant, base))


def _score_deltas(pairs: Sequence[tuple[Run, Run]]) -> dict[str, Difference]:
    found = {}
    for name in SCORES:
        both = [(a, b) for a, b in pairs if name in a.scores and name in b.scores]
        if against := difference(both, lambda run, name=name: run.scores[name]):  # type: ignore[misc]
            found[name] = against
    return found


def _fill_stages(variant: Variant, base: Variant | None) -> tuple[Stage, ...]:
    stages = []
    for index, stage in enumerate(variant.stages):
        against = None
        if base is not None and not variant.is_baseline and len(base.stages) == len(variant.stages):
            against = _difference(paired(stage.runs, base.stages[index].runs), stage.metric)
        ends = spread([run.final(stage.metric) for run in stage.runs if run.done])
        stages.append(replace(stage, final=ends, difference=against))
    return tuple(stages)


def _difference(pairs: Sequence[tuple[Run, Run]], metric: str) -> Difference | None:
    return difference(pairs, lambda run: run.final(metric))


def _fill_baseline(variant: Variant) -> Variant:
    """The baseline matches itself at its own budget, by definition."""
    if not variant.finished or variant.final is None:
        return replace(variant, matched=Match("pending"))
    spent = _spent(variant)
    own = Match(
        "baseline", variant.t2, False, 1.0, variant.t1 + variant.t2, 1.0,
        spent[0], None if spent[0] is None else 1.0, spent[1], None if spent[1] is None else 1.0,
    )  # fmt: skip
    tokens, values = mean_curve([run.curve for run in variant.finished], variant.metric)
    settled = tokens_to_match(tokens, values, variant.final.mean, variant.mode)
    return replace(variant, readoff=own, matched=own, settled=settled)


def _level(variant: Variant, level: float) -> float | None:
    tokens, values = mean_curve([run.curve for run in variant.finished], "accuracy")
    return tokens_to_match(tokens, values, level, "max")


def level_match(variant: Variant, level: float) -> Match:
    """Tokens from which the mean accuracy stays above a fixed level, and the same for every finished seed."""
    if not variant.finished:
        return Match("pending")
    tokens = variant.levels.get(level)
    per_seed = _planned(variant) | {
        key_of(run): tokens_to_match(run.curve.tokens, run.curve.accuracy, level, "max") for run in variant.finished
    }
    return Match("not reached" if tokens is None else "reached", tokens, per_seed=per_seed)


def _readoff(variant: Variant, base: Variant, pairs: Sequence[tuple[Run, Run]]) -> Match:
    if not pairs:
        return Match(_why_not(variant.runs, base))
    metric, mode = variant.metric, variant.mode
    level = sum(other.final(metric) for _, other in pairs) / len(pairs)
    tokens, values = mean_curve([run.curve for run, _ in pairs], metric)
    place = tokens_to_match(tokens, values, level, mode)
    per_seed = _planned(variant) | {
        key_of(run): tokens_to_match(run.curve.tokens, run.curve.values(metric), other.final(metric), mode)
        for run, other in pairs
    }
    if place is None:
        return Match("not reached", per_seed=per_seed)
    unique = _mean(value_at(run.curve.tokens, run.curve.unique, place) for run, _ in pairs)
    flops = _mean(_plus(value_at(run.curve.tokens, run.curve.flops, place), run.warmup_flops) for run, _ in pairs)
    return _in_all_currencies(variant, base, place, place == tokens[0], unique, flops, per_seed)


def _fill_point(point: MatchedPoint, variant: Variant, base: Variant) -> MatchedPoint:
    return replace(
        point,
        final=spread([run.final(variant.metric) for run in point.runs if run.done]),
        difference=_difference(paired(point.runs, base.runs), variant.metric),
    )


def _matched(variant: Variant, base: Variant) -> Match:
    """Interpolates between the fractions that were run; the full-length run is the fraction 1."""
    if not variant.points:
        return Match("not planned")
    full = MatchedPoint(1.0, variant.t2, variant.final, variant.difference, variant.runs)
    points = [*variant.points, full]
    # A run that may still come could change the answer, and points of unlike seeds are no curve; one that failed
    # cannot come any more.
    if any(run.state not in ("failed", "skipped", "done") for point in points for run in point.runs):
        return Match("pending")
    known = [point for point in points if point.difference is not None]
    if not known or known[-1] is not full:
        return Match(_why_not(variant.runs, base))
    tokens = [point.tokens for point in known]
    means = [point.difference.mean for point in known if point.difference is not None]
    place = tokens_to_match(tokens, means, 0.0, variant.mode)
    per_seed = _matched_per_seed(known, variant, base)
    if place is None:
        return Match("not reached", per_seed=per_seed)
    unique = value_at(tokens, [_mean_end(point.runs, "unique") for point in known], place)
    flops = value_at(tokens, [_mean_end(point.runs, "flops") for point in known], place)
    return _in_all_currencies(variant, base, place, place == tokens[0], unique, flops, per_seed)


def _why_not(runs: Sequence[Run], base: Variant) -> MatchState:
    """Whether a comparison without a single pair of finished runs can still get one."""
    lost = ("failed", "skipped")
    mine = {run.seed for run in runs if run.state not in lost}
    return "pending" if mine & {run.seed for run in base.runs if run.state not in lost} else "no result"


def _planned(variant: Variant) -> dict[Key, float | None]:
    """Every planned run, as one that has not got there: also those that failed count among them."""
    return dict.fromkeys(map(key_of, variant.runs))


def _matched_per_seed(points: Sequence[MatchedPoint], variant: Variant, base: Variant) -> dict[Key, float | None]:
    result = _planned(variant)
    levels = {run.seed: run.final(variant.metric) for run in base.finished}
    for run in variant.runs:
        mine = [(point.tokens, own) for point in points for own in point.runs if key_of(own) == key_of(run)]
        if run.seed in levels and len(mine) == len(points) and all(own.done for _, own in mine):
            values = [own.final(variant.metric) for _, own in mine]
            places = [place for place, _ in mine]
            result[key_of(run)] = tokens_to_match(places, values, levels[run.seed], variant.mode)
    return result


def _mean_end(runs: Sequence[Run], what: Literal["unique", "flops"]) -> float:
    """Unique tokens, or FLOPs with those of the warm-up, at the end of the finished runs."""
    done = [run for run in runs if run.done]
    ends = [getattr(run.curve, what)[-1] + (run.warmup_flops if what == "flops" else 0.0) for run in done]
    return sum(ends) / len(ends) if ends else math.nan


def _spent(base: Variant) -> tuple[float | None, float | None]:
    return tuple(finite(_mean_end(base.finished, what)) for what in ("unique", "flops"))  # type: ignore[return-value]


def _in_all_currencies(
    variant: Variant,
    base: Variant,
    place: float,
    at_most: bool,
    unique: float | None,
    flops: float | None,
    per_seed: dict[Key, float | None],
) -> Match:
    base_unique, base_flops = _spent(base)
    total = variant.t1 + place
    return Match(
        "reached",
        place,
        at_most,
        place / base.t2,
        total,
        total / (base.t1 + base.t2),
        unique := finite(unique),
        ratio(unique, base_unique),
        flops := finite(flops),
        ratio(flops, base_flops),
        per_seed,
    )


def _plus(value: float | None, other: float) -> float | None:
    return None if value is None else value + other


def _mean(values: Iterable[float | None]) -> float | None:
    known = list(values)
    if not known or any(value is None for value in known):
        return None
    return sum(value for value in known if value is not None) / len(known)

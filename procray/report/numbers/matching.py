"""What a variant is against its baseline: differences, and how many tokens it needs to get as far.

Both forms of *tokens to match* follow the analysis in arXiv 2601.21725 and what it leaves open:

- Differences are taken seed by seed, then averaged, so that a partial sweep compares like with like.
- *Read-off*: where the mean curve of the full-length runs reaches the baseline's final level for good.
- *Matched*: the same question asked of reruns whose schedule was made for a fraction of the budget; the smallest
  budget that matches, interpolated between those that were run. The baseline has the same reruns: the level is the
  best that it reaches with any of its budgets, and what is saved is measured against the smallest of its budgets that
  reaches it. On a small corpus the longest budget may be the worst, for the baseline and for everyone.
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
    best = _best_budget(base)
    pairs = paired(variant.runs, base.runs)
    with_accuracy = [(a, b) for a, b in pairs if a.accuracy is not None and b.accuracy is not None]
    variant = replace(
        variant,
        score_deltas=_score_deltas(pairs),
        points=tuple(_fill_point(point, variant, best) for point in variant.points),
        delta=difference(pairs, "loss"),
        accuracy_delta=difference(with_accuracy, "accuracy"),
    )
    readoff = _readoff(variant, base, pairs)
    return replace(variant, readoff=readoff, matched=readoff if variant.constant else _matched(variant, base, best))


def _score_deltas(pairs: Sequence[tuple[Run, Run]]) -> dict[str, Difference]:
    found = {}
    for name in SCORES:
        both = [(a, b) for a, b in pairs if name in a.scores and name in b.scores]
        if against := difference(both, name):
            found[name] = against
    return found


def _fill_stages(variant: Variant, base: Variant | None) -> tuple[Stage, ...]:
    stages = []
    for index, stage in enumerate(variant.stages):
        against = None
        if base is not None and not variant.is_baseline and len(base.stages) == len(variant.stages):
            against = difference(paired(stage.runs, base.stages[index].runs), stage.metric)
        ends = spread([run.final(stage.metric) for run in stage.runs if run.done])
        stages.append(replace(stage, final=ends, difference=against))
    return tuple(stages)


def _fill_baseline(variant: Variant) -> Variant:
    """The baseline matches itself, by definition: at its full length, and at its best budget."""
    best = _best_budget(variant)
    points = tuple(_fill_point(point, variant, best) for point in variant.points)
    if not variant.finished or variant.final is None:
        state = _why_not(variant.runs, variant)
        return replace(variant, readoff=Match(state), matched=Match(state), points=points)
    full = _full(variant)
    tokens, values = mean_curve([run.curve for run in variant.finished], variant.metric)
    settled = tokens_to_match(tokens, values, variant.final.mean, variant.mode)
    matched = Match("pending") if _may_change([*variant.points, full]) else _itself(variant, best)
    return replace(variant, points=points, readoff=_itself(variant, full), matched=matched, settled=settled)


def _itself(variant: Variant, point: MatchedPoint) -> Match:
    unique, flops = _spent(point)
    return Match(
        "baseline", point.tokens, False, 1.0, variant.t1 + point.tokens, 1.0,
        unique, None if unique is None else 1.0, flops, None if flops is None else 1.0, of=point.tokens,
    )  # fmt: skip


def _full(variant: Variant) -> MatchedPoint:
    """The full-length runs as one more budget."""
    return MatchedPoint(1.0, variant.t2, variant.final, variant.difference, variant.runs)


def _best_budget(base: Variant) -> MatchedPoint:
    """The budget of the baseline that ends best on the mean over seeds, the smallest of equals.

    Only seeds that finished every budget are compared. The full length where nothing is known of others.
    """
    points = [point for point in (*base.points, _full(base)) if any(run.done for run in point.runs)]
    seeds = [{run.seed for run in point.runs if run.done} for point in points]
    common = set.intersection(*seeds) if seeds else set()
    sign = 1 if base.mode == "min" else -1

    def mean(point: MatchedPoint) -> float:
        return sign * sum(run.final(base.metric) for run in point.runs if run.done and run.seed in common)

    return min(points, key=mean) if common else _full(base)


def _may_change(points: Sequence[MatchedPoint]) -> bool:
    """Whether a run may still come that could change the answer; one that failed cannot come any more."""
    return any(run.state not in ("failed", "skipped", "done") for point in points for run in point.runs)


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
        return Match("not reached", per_seed=per_seed, of=base.t2)
    unique = _mean(value_at(run.curve.tokens, run.curve.unique, place) for run, _ in pairs)
    flops = _mean(_plus(value_at(run.curve.tokens, run.curve.flops, place), run.warmup_flops) for run, _ in pairs)
    return _in_all_currencies(variant, base, _full(base), place, place == tokens[0], unique, flops, per_seed)


def _fill_point(point: MatchedPoint, variant: Variant, best: MatchedPoint) -> MatchedPoint:
    return replace(
        point,
        final=spread([run.final(variant.metric) for run in point.runs if run.done]),
        difference=None if point.runs == best.runs else difference(paired(point.runs, best.runs), variant.metric),
    )


def _matched(variant: Variant, base: Variant, best: MatchedPoint) -> Match:
    """Interpolates between the budgets that were run, up to the first one that is good enough.

    Each budget was trained by itself, so that a longer one that is worse takes nothing back.
    """
    if not variant.points:
        return Match("not planned")
    if _may_change([*variant.points, _full(variant), *base.points, _full(base)]):
        return Match("pending")
    known = [
        point
        for point in (_fill_point(point, variant, best) for point in (*variant.points, _full(variant)))
        if point.difference is not None
    ]
    if not known:
        return Match(_why_not(variant.runs, base))
    tokens = [point.tokens for point in known]
    place = _first(tokens, [point.difference.mean for point in known if point.difference], 0.0, variant.mode)
    per_seed = _matched_per_seed(known, variant, best)
    if place is None:
        return Match("not reached", per_seed=per_seed, of=best.tokens)
    unique = value_at(tokens, [_mean_end(point.runs, "unique") for point in known], place)
    flops = value_at(tokens, [_mean_end(point.runs, "flops") for point in known], place)
    return _in_all_currencies(variant, base, best, place, place == tokens[0], unique, flops, per_seed)


def _first(tokens: Sequence[float], values: Sequence[float], level: float, mode: Literal["min", "max"]) -> float | None:
    """Where separately trained budgets first reach a level."""
    reached = (value <= level if mode == "min" else value >= level for value in values)
    first = next((index for index, there in enumerate(reached) if there), None)
    return None if first is None else tokens_to_match(tokens[: first + 1], values[: first + 1], level, mode)


def _why_not(runs: Sequence[Run], base: Variant) -> MatchState:
    """Whether a comparison without a single pair of finished runs can still get one."""
    lost = ("failed", "skipped")
    mine = {run.seed for run in runs if run.state not in lost}
    return "pending" if mine & {run.seed for run in base.runs if run.state not in lost} else "no result"


def _planned(variant: Variant) -> dict[Key, float | None]:
    """Every planned run, as one that has not got there: also those that failed count among them."""
    return dict.fromkeys(map(key_of, variant.runs))


def _matched_per_seed(points: Sequence[MatchedPoint], variant: Variant, best: MatchedPoint) -> dict[Key, float | None]:
    result = _planned(variant)
    levels = {run.seed: run.final(variant.metric) for run in best.runs if run.done}
    for run in variant.runs:
        mine = [(point.tokens, own) for point in points for own in point.runs if key_of(own) == key_of(run)]
        if run.seed in levels and len(mine) == len(points) and all(own.done for _, own in mine):
            values = [own.final(variant.metric) for _, own in mine]
            places = [place for place, _ in mine]
            result[key_of(run)] = _first(places, values, levels[run.seed], variant.mode)
    return result


def _mean_end(runs: Sequence[Run], what: Literal["unique", "flops"]) -> float:
    """Unique tokens, or FLOPs with those of the warm-up, at the end of the finished runs."""
    done = [run for run in runs if run.done]
    ends = [getattr(run.curve, what)[-1] + (run.warmup_flops if what == "flops" else 0.0) for run in done]
    return sum(ends) / len(ends) if ends else math.nan


def _spent(point: MatchedPoint) -> tuple[float | None, float | None]:
    """Unique tokens and FLOPs of a budget of the baseline."""
    return finite(_mean_end(point.runs, "unique")), finite(_mean_end(point.runs, "flops"))


def _in_all_currencies(
    variant: Variant,
    base: Variant,
    against: MatchedPoint,
    place: float,
    at_most: bool,
    unique: float | None,
    flops: float | None,
    per_seed: dict[Key, float | None],
) -> Match:
    base_unique, base_flops = _spent(against)
    total = variant.t1 + place
    return Match(
        "reached",
        place,
        at_most,
        place / against.tokens,
        total,
        total / (base.t1 + against.tokens),
        unique := finite(unique),
        ratio(unique, base_unique),
        flops := finite(flops),
        ratio(flops, base_flops),
        per_seed,
        against.tokens,
    )


def _plus(value: float | None, other: float) -> float | None:
    return None if value is None else value + other


def _mean(values: Iterable[float | None]) -> float | None:
    known = list(values)
    if not known or any(value is None for value in known):
        return None
    return sum(value for value in known if value is not None) / len(known)

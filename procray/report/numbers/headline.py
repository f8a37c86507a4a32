"""What the numbers of a target say, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from procray.report.numbers.matching import level_match
from procray.report.numbers.results import Match, Target, Variant
from procray.report.numbers.wording import count, listing, percent, plural, signed


def headline(target: Target) -> str:
    """One honest sentence: the smallest data fraction found, out of how many tries, or that there is none."""
    bases = [base for base in target.baselines if base.n]
    warmed = [variant for variant in target.warmed if variant.difference]
    if not bases:
        planned = max((len(base.runs) for base in target.baselines), default=0)
        return f"No answer yet: the baseline has finished 0 of {plural(planned, 'seed')}."
    if not target.warmed:
        return "This sweep has no warmed-up variant to compare with the baseline."
    if not warmed:
        return "No answer yet: no warmed-up variant has finished a seed that the baseline has finished too."
    said = _accuracy_headline(target, warmed) if target.metric == "accuracy" else _loss_headline(target, warmed)
    return said if all(variant.state == "complete" for variant in target.variants) else f"So far: {said}"


def _loss_headline(target: Target, warmed: Sequence[Variant]) -> str:
    base = target.baseline_of(warmed[0])
    assert base is not None
    assert base.final is not None
    goal = (
        f"the baseline's final loss of {base.final.mean:.3f} nats"
        if len(target.baselines) == 1
        else "its baseline's final loss"
    )
    best = _best_match(warmed)
    if best is None:
        nearest = min(warmed, key=lambda v: v.difference.mean if v.difference else 0.0)
        who = f"none of {len(warmed)} variants reaches" if len(warmed) > 1 else f"{nearest.short} does not reach"
        nearest_one = f"the nearest, {nearest.short}," if len(warmed) > 1 else "it"
        return (
            f"Not reached: {who} {goal} within {count(base.t2)} tokens; "
            f"{nearest_one} ends {difference_text(nearest)} from it."
        )
    form, variant = best
    match = getattr(variant, form)
    other = variant.matched if form == "readoff" else variant.readoff
    best_of = f", the best of {len(warmed)} variants" if len(warmed) > 1 else ""
    alike = sum(getattr(v, form).fraction == match.fraction for v in warmed) - 1 if match.at_most else 0
    if alike:  # several reach it already at the smallest fraction that was run
        best_of = f", as {'does' if alike == 1 else 'do'} {alike} of the other {plural(len(warmed) - 1, 'variant')}"
    return (
        f"{variant.short} reaches {goal} with {_fraction(match)} of the {count(base.t2)} tokens "
        f"({form_name(form)}{_k_of_n(match)}{'' if variant.constant else _other_form(form, other)}){best_of}"
        f"{_with_warmup(variant, match.total_fraction)}; "
        f"at full length its final loss differs by {difference_text(variant)}."
    )


def _accuracy_headline(target: Target, warmed: Sequence[Variant]) -> str:
    base = target.baseline_of(warmed[0])
    assert base is not None
    assert base.final is not None
    level = target.level
    if level is None:
        top = max(warmed, key=lambda v: v.final.mean if v.final else 0.0)
        own_base = target.baseline_of(top)
        assert top.final is not None
        assert own_base is not None
        assert own_base.final is not None
        best_of = f"the best of {len(warmed)} variants, {top.short}," if len(warmed) > 1 else top.short
        if len(target.baselines) > 1:
            who = f"The best of {len(warmed)} variants, {top.short}," if len(warmed) > 1 else top.short
            return (
                f"{who} ends at {percent(top.final.mean, 1)} accuracy, its baseline at "
                f"{percent(own_base.final.mean, 1)}: {difference_text(top)}."
            )
        return (
            f"The baseline ends at {percent(own_base.final.mean, 1)} accuracy; "
            f"{best_of} ends at {percent(top.final.mean, 1)}: {difference_text(top)}."
        )
    needs = base.levels[level]
    assert needs is not None
    there = [variant for variant in warmed if variant.levels.get(level) is not None]
    best = min(there, key=lambda v: v.levels[level] or 0.0, default=None)
    if best is None:
        who = f"none of {len(warmed)} variants gets" if len(warmed) > 1 else f"{warmed[0].short} does not get"
        return (
            f"Not reached: the baseline stays above {percent(level)} accuracy from {count(needs)} tokens on; "
            f"{who} there for good within {count(base.t2)} tokens."
        )
    own = best.levels[level]
    assert own is not None
    if own >= needs:  # also where both are there before they have seen anything
        return (
            f"No data saved: the baseline stays above {percent(level)} accuracy from {count(needs)} tokens on; the "
            f"quickest of {plural(len(warmed), 'variant')}, {best.short}, needs {count(own)}."
        )
    share = own / needs
    extra = f", the best of {len(warmed)} variants" if len(warmed) > 1 else ""
    return (
        f"{best.short} stays above {percent(level)} accuracy from {count(own)} tokens on, the baseline from "
        f"{count(needs)}: {percent(share)} of the data ({_seeds_there(best, level)}){extra}"
        f"{_with_warmup(best, (own + best.t1) / needs)}; its final accuracy differs by {difference_text(best)}."
    )


def _best_match(warmed: Sequence[Variant]) -> tuple[str, Variant] | None:
    """The variant with the smallest data fraction: by the matched form where it was run, else by the read-off."""
    for form in ("matched", "readoff"):
        if form == "matched" and any(v.matched.state in ("not planned", "pending") for v in warmed):
            continue  # unlike forms are never ranked against each other
        if form == "matched" and all(v.constant for v in warmed):
            continue  # both forms are one
        there = [v for v in warmed if getattr(v, form).fraction is not None]
        if there:
            return form, min(there, key=lambda v: (getattr(v, form).fraction, v.readoff.fraction or math.inf))
    return None


def _seeds_there(variant: Variant, level: float) -> str:
    match = level_match(variant, level)
    return f"{match.seeds_reached} of {plural(len(match.per_seed), 'seed')}"


def _with_warmup(variant: Variant, share: float | None) -> str:
    """What the saving is worth when the warm-up's tokens are counted too, where they are more than a trifle."""
    if share is None or variant.t1 < 0.01 * variant.t2:
        return ""
    return f"; counting its {count(variant.t1)} procedural tokens, {percent(share)}"


def form_name(form: str) -> str:
    return {"readoff": "read-off", "matched": "schedule-matched reruns"}[form]


def _fraction(match: Match) -> str:
    assert match.fraction is not None
    return ("at most " if match.at_most else "") + percent(match.fraction)


def _k_of_n(match: Match) -> str:
    return f", {match.seeds_reached} of {plural(len(match.per_seed), 'seed')}" if match.per_seed else ""


def _other_form(form: str, other: Match) -> str:
    name = form_name("readoff" if form == "matched" else "matched")
    if other.state == "reached":
        return f"; {name}: {_fraction(other)}"
    return f"; {name}: {other.state}" if other.state in ("not reached", "pending") else ""


def difference_text(variant: Variant) -> str:
    """`−0.056 nats (95 % −0.101 to −0.012, 3 seeds)` with a word on what the interval allows to say."""
    difference = variant.difference
    if difference is None:
        return "by an amount not yet known"
    scale, unit, decimals = (100, "points", 1) if variant.metric == "accuracy" else (1, "nats", 3)
    mean = f"{signed(scale * difference.mean, decimals)} {unit}"
    if difference.low is None or difference.high is None:
        return f"{mean} (one seed: no interval)"
    low, high = signed(scale * difference.low, decimals), signed(scale * difference.high, decimals)
    remark = "" if difference.excludes_zero else ", which includes no difference"
    return f"{mean} (95 % {low} to {high}, {plural(difference.n, 'seed')}{remark})"


def remarks(target: Target) -> list[str]:
    """What a careful reader should know beside the headline."""
    said = []
    verdicts = [variant.verdict for variant in target.warmed if variant.verdict]
    if verdicts:
        better, worse, unclear = (verdicts.count(word) for word in ("better", "worse", "unclear"))
        text = (
            f"Of {plural(len(verdicts), 'variant')} the final {'accuracy' if target.metric == 'accuracy' else 'loss'}"
        )
        text += f" is better than the baseline's in {better}, worse in {worse} and not told apart in {unclear}"
        said.append(text + " (95 % interval, each taken by itself).")
    for base in target.baselines:
        if base.settled is not None and base.t2 and base.settled < 0.97 * base.t2:
            said.append(
                f"The mean curve of {base.short} itself stays at its final level from {count(base.settled)} tokens on: "
                f"compare data fractions with {percent(base.settled / base.t2)}, not only with 100 %."
            )
    tried = [variant for variant in target.warmed if variant.readoff.state in ("reached", "not reached")]
    reached = [variant for variant in tried if variant.readoff.state == "reached"]
    if tried:
        said.append(f"Read-off: {len(reached)} of {plural(len(tried), 'variant')} reach the baseline's final level.")
    rerun = [variant for variant in target.warmed if variant.matched.state in ("reached", "not reached")]
    if rerun:
        there = [variant for variant in rerun if variant.matched.state == "reached"]
        said.append(f"Matched: {len(there)} of {plural(len(rerun), 'variant')} reach it.")
    numbers = {variant.n for variant in target.variants if variant.n}
    if numbers and max(numbers) < 3:
        said.append(f"With {plural(max(numbers), 'seed')} a difference can easily be chance.")
    open_cells = [variant.short for variant in target.variants if variant.state != "complete"]
    if open_cells:
        said.append(f"Not complete: {listing(open_cells[:6])}{' and others' if len(open_cells) > 6 else ''}.")
    return said

"""What the numbers of a target say, in words: the same on the terminal, in JSON and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from procray.report.numbers.evidence import FEWEST, between_seeds, leaves, reruns_deny, sooner
from procray.report.numbers.gate import reservations
from procray.report.numbers.results import Fraction, Left, Match, Target, Variant, paired
from procray.report.numbers.statistics import Difference
from procray.report.numbers.warmups import chance_text, last_fifth, still_text
from procray.report.numbers.wording import count, listing, percent, plural, probability, share_interval, signed


def headline(target: Target) -> str:
    """One honest sentence for each baseline: the best variant's difference, and only what that allows to say."""
    none = "No answer yet" if any(variant.pending for variant in target.variants) else "No answer"
    if not any(base.n for base in target.baselines):
        planned = max((len(base.runs) for base in target.baselines), default=0)
        if any(base.pending for base in target.baselines):
            return f"{none}: the baseline has finished 0 of {plural(planned, 'seed')}."
        return f"{none}: the baseline lost {_all_of(planned)}."
    if not target.warmed:
        return "This sweep has no warmed-up variant to compare with the baseline."
    if not any(variant.difference for variant in target.warmed if variant.name not in target.in_control):
        return f"{none}: no warmed-up variant has finished a seed that the baseline has finished too."
    said = " ".join(filter(None, (_sentence(target, base) for base in target.baselines)))
    return f"So far: {said}" if any(variant.pending for variant in target.variants) else said


def _sentence(target: Target, base: Variant) -> str:
    """Of one baseline and its variants; empty where it has none."""
    group = [
        variant for variant in target.warmed if variant.baseline == base.name and variant.name not in target.in_control
    ]
    if not group:
        return ""
    several = f"{base.short}: " if len(target.baselines) > 1 else ""
    best = leading(target, group)
    if best is None:
        yet = " yet" if any(variant.pending for variant in (base, *group)) else ""
        return f"{several}no answer{yet}, no variant has finished a seed that it has finished too."
    said = (
        _left_sentence(target, base, group, best)
        if target.all_or_nothing
        else _ends_sentence(target, base, group, best)
    )
    if base.lost:
        said += f"; the baseline lost {_lost(base)}"
    said += _others_lost([variant for variant in group if variant.lost and variant is not best])
    begins_low = said.startswith(("no difference", "not reached", "worse:"))  # names of variants stay as they are
    return f"{several}{said if several or not begins_low else said[0].upper() + said[1:]}."


def _lost(variant: Variant) -> str:
    """`1 of 3 seeds`; of crossed donors runs are lost."""
    what = "seed" if all(run.donor is None for run in variant.runs) else "run"
    return f"{variant.lost_runs} of {plural(len(variant.runs), what)}"


def _all_of(seeds: int) -> str:
    return "its only seed" if seeds == 1 else f"all of its {seeds} seeds"


def _others_lost(others: Sequence[Variant]) -> str:
    """Of the variants that lost seeds, those that have a result all the same and those that have none."""
    said = ""
    known = [variant for variant in others if variant.difference]
    if len(known) == 1:
        said = f"; {known[0].short} lost {_lost(known[0])} and stands last"
    elif known:
        said = f"; {_some([variant.short for variant in known])} lost seeds and stand last"
    gone = [variant for variant in others if not variant.difference]
    if len(gone) == 1:
        said += f"; {gone[0].short} lost {_lost(gone[0])} and has no result"
    elif gone:
        said += f"; {_some([variant.short for variant in gone])} lost seeds and have no result"
    return said


def _who(group: Sequence[Variant], best: Variant) -> str:
    """The variant that a sentence is about, and of how many with a result it is the best."""
    if len(group) == 1:
        return best.short
    known = sum(variant.difference is not None for variant in group)
    if known == len(group):
        return f"{best.short}, the best of {plural(known, 'variant')},"
    if known == 1:
        return f"{best.short}, the only one of {plural(len(group), 'variant')} with a result,"
    return f"{best.short}, the best of {known} with a result of {plural(len(group), 'variant')},"


def leading(target: Target, group: Sequence[Variant]) -> Variant | None:
    """The variant that a headline tells of: of those with every seed the surest saving, then the best end.

    A saving that the gate lets through comes before one of which it does not know enough.

    Where none has every seed, those that may still get them come before those that lost some.
    """
    known = [variant for variant in group if variant.difference]
    tiers = (
        [variant for variant in known if variant.state == "complete"],
        [variant for variant in known if not variant.lost],
        known,
    )
    tier = next((tier for tier in tiers if tier), None)
    return None if tier is None else min(tier, key=lambda variant: _rank(target, variant))


def _rank(target: Target, variant: Variant) -> tuple[float, ...]:
    found = variant.evidence
    limits = [found.speed.high] if found.speed else []
    limits += [found.fraction.high] if found.fraction and found.fraction.high is not None else []
    mean = variant.difference.mean if variant.difference else 0.0
    gain = mean if target.mode == "min" else -mean
    k = -found.left.k / found.left.n if found.left else 0.0
    return (
        not variant.saves,
        not found.saves,
        min(limits, default=1.0) if found.saves else 0.0,
        found.verdict != "better",
        k,
        gain,
    )


# --- ends ------------------------------------------------------------------------------------------------------------


def _ends_sentence(target: Target, base: Variant, group: Sequence[Variant], best: Variant) -> str:
    found = best.evidence
    assert best.final is not None, "a variant with a difference has an end"
    assert base.final is not None, "and so has its baseline"
    begin = {"better": "", "worse": "worse: "}.get(found.verdict, "no difference shown: ")
    if found.saves:
        begin = ""
    elif found.verdict == "worse" and all(variant.readoff.state != "reached" for variant in group):
        none = f"none of {len(group)} variants reaches" if len(group) > 1 else f"{best.short} does not reach"
        goal = "final accuracy" if best.metric == "accuracy" else "final loss"
        begin = f"not reached: {none} the baseline's {goal} within {count(base.t2)} tokens; "
    who = _who(group, best)
    if begin.startswith("not reached") and len(group) == 1:
        who = "it"
    if best.metric == "accuracy":
        ends = (
            f"{who} ends at {percent(best.final.mean, 1)} accuracy, the baseline at {percent(base.final.mean, 1)}: "
            f"{difference_text(best)}"
        )
    else:
        ends = f"{who} ends {difference_text(best)} from the baseline's final loss of {base.final.mean:.3f} nats"
    return f"{begin}{ends}{_test_text(best)}{_saving(target, base, best)}{_reserved(best)}"


def _test_text(variant: Variant) -> str:
    found, difference = variant.evidence, variant.difference
    if difference is None or found.corrected is None:
        return ""
    if difference.units < FEWEST:
        what = "seed" if difference.targets is None else "donor"
        return f"; with {plural(difference.units, what)} nothing is claimed"
    kept = f"; it lost {_lost(variant)}, so nothing good is claimed of it" if variant.lost else ""
    return f"; {probability(found.corrected)}{_for_family(found.family)}{kept}"


def _for_family(family: int) -> str:
    return f" after Holm's correction for {family} variants" if family > 1 else ""


def _saving(target: Target, base: Variant, variant: Variant) -> str:
    """The data fraction with its interval, where one may be claimed, or why none is."""
    found = variant.evidence
    fraction, settled, speed = found.fraction, found.settled, found.speed
    if not found.saves:
        if found.verdict != "better":
            return ""
        return f"; no data fraction is claimed: {_why_no_saving(target, base, variant)}"
    said = ""
    if sooner(found) and fraction and settled and not target.guesses(base):
        at = f"{percent(variant.readoff.fraction)} " if variant.readoff.fraction is not None else ""
        limits = share_interval(fraction.low, fraction.high)
        said = (
            f"; {'it saves data: ' if variant.saves else ''}it is as good as that with {at}of the {count(base.t2)} "
            f"tokens (95 % {limits}, "
            f"{_k_of_n(variant.readoff)}; the baseline itself from {percent(settled.low or 0.0)} on)"
            f"{_matched_text(variant)}{_with_warmup(variant, variant.readoff.total_fraction)}"
        )
    if speed and speed.high < 1:
        saves = "" if said or not variant.saves else " it saves data:"
        total = speed.share + variant.t1 / _needs(base, speed.level)
        said += (
            f";{saves} it stays above {percent(speed.level)} accuracy after {percent(speed.share)} of the tokens that "
            f"the baseline needs for it (95 % {share_interval(speed.low, speed.high)}, geometric mean of "
            f"{_number(variant)}, {probability(speed.p)}{_for_family(found.family)}){_with_warmup(variant, total)}"
        )
    return said


def _why_no_saving(target: Target, base: Variant, variant: Variant) -> str:
    """Of a variant that ends better."""
    fraction, settled = variant.evidence.fraction, variant.evidence.settled
    if variant.state != "complete" or base.state != "complete":
        return "not every planned seed of both has finished"
    if reruns_deny(variant):
        reached = variant.matched.state == "reached"
        need = f"need {_fraction(variant.matched)} of" if reached else "do not reach the end of"
        return f"schedule-matched reruns {need} the baseline's best budget"
    if target.guesses(base):
        return f"the baseline does not get beyond guessing ({percent(target.cheap or 0.0, 1)}), which takes no ability"
    interval = f"its interval, {fraction_text(fraction)}," if fraction else "it"
    return f"{interval} does not lie before the baseline's own ({fraction_text(settled)})"


def _reserved(variant: Variant) -> str:
    """What the gate has to say to something good."""
    return reservations(variant) if variant.evidence.saves or variant.verdict == "better" else ""


def _needs(base: Variant, level: float) -> float:
    """Tokens that a baseline needs for a level that all of its seeds keep, read from its mean curve."""
    return base.levels.get(level) or base.t2


def fraction_text(fraction: Fraction | None) -> str:
    """`73 to 78 %`, `60 % to none within the budget`, `none within the budget`."""
    if fraction is None or fraction.low is None:
        return "none within the budget"
    return share_interval(fraction.low, fraction.high)


def _matched_text(variant: Variant) -> str:
    if variant.constant or variant.matched.state not in ("reached", "not reached", "pending"):
        return ""
    text: str = variant.matched.state
    if variant.matched.state == "reached":
        text = f"{_fraction(variant.matched)} of the baseline's best budget"
    return f"; schedule-matched reruns: {text}"


def _fraction(match: Match) -> str:
    assert match.fraction is not None
    return ("at most " if match.at_most else "") + percent(match.fraction)


def _k_of_n(match: Match) -> str:
    return f"{match.seeds_reached} of {plural(len(match.per_seed), 'planned run')}"


def _with_warmup(variant: Variant, share: float | None) -> str:
    """What the saving is worth when the warm-up's tokens are counted too, where they are more than a trifle."""
    if share is None or variant.t1 < 0.01 * variant.t2:
        return ""
    return f"; counting its {count(variant.t1)} procedural tokens, {percent(share)}"


def difference_text(variant: Variant) -> str:
    """`−0.056 nats (95 % −0.101 to −0.012, 3 seeds)` with a word on what the interval allows to say."""
    difference = variant.difference
    assert difference is not None, "asked only of what has been compared"
    scale, unit, decimals = (100, "points", 1) if variant.metric == "accuracy" else (1, "nats", 3)
    mean = f"{signed(scale * difference.mean, decimals)} {unit}"
    if difference.low is None or difference.high is None:
        return f"{mean} ({_one(difference)}: no interval)"
    low, high = signed(scale * difference.low, decimals), signed(scale * difference.high, decimals)
    remark = "" if difference.excludes_zero else ", which includes no difference"
    return f"{mean} (95 % {low} to {high}, {_number(variant)}{remark})"


def _one(difference: Difference) -> str:
    return "one seed" if difference.targets is None else "one donor" if difference.n == 1 else "one target seed"


def _number(variant: Variant) -> str:
    """`3 seeds`, `2 of 3 seeds` where some lack, `5 donors on 3 target seeds` where these are crossed."""
    difference = variant.difference
    assert difference is not None, "asked only of what has been compared"
    if difference.targets is not None:
        return f"{plural(difference.n, 'donor')} on {plural(difference.targets, 'target seed')}"
    planned = len(variant.runs)
    return plural(planned, "seed") if difference.n == planned else f"{difference.n} of {plural(planned, 'seed')}"


# --- all or nothing --------------------------------------------------------------------------------------------------


def _left_sentence(target: Target, base: Variant, group: Sequence[Variant], best: Variant) -> str:
    found, own = best.evidence, base.evidence.left
    assert target.middle is not None, "all or nothing is said only where cheap strategies are known"
    begin = {"better": "", "worse": "worse: "}.get(found.verdict, "no difference shown: ")
    who = _who(group, best)
    pairs = paired(best.runs, base.runs)
    only = sum(leaves(target, run) and not leaves(target, other) for run, other in pairs)
    without = sum(leaves(target, other) and not leaves(target, run) for run, other in pairs)
    test = (
        f"; {probability(found.corrected)} by Fisher's exact test{_for_family(found.family)}" if found.corrected else ""
    )
    if len(pairs) < FEWEST:
        test = f"; with {plural(len(pairs), 'seed')} nothing is claimed"
    return (
        f"{begin}runs either leave a plateau or do not (above or below {percent(target.middle)} accuracy): of {who} "
        f"{left_text(found.left)}, of the baseline {left_text(own)}; by seed {only} left it only with the warm-up, "
        f"{without} only without{test}{_saving(target, base, best) if found.saves else ''}{_reserved(best)}"
    )


def left_text(left: Left | None) -> str:
    """`2 of 3 (95 % 9 to 99 %)`: runs that left the plateau, of the planned ones that have ended."""
    if left is None:
        return "none has ended"
    return f"{left.k} of {left.n} (95 % {share_interval(left.low, left.high)})"


# --- remarks ---------------------------------------------------------------------------------------------------------


def remarks(target: Target) -> list[str]:
    """What a careful reader should know beside the headline."""
    said = [*_counted(target)]
    for base in target.baselines:
        said += _of_baseline(target, base)
    tried = [variant for variant in target.tested if variant.readoff.state in ("reached", "not reached")]
    reached = [variant for variant in tried if variant.readoff.state == "reached"]
    if tried:
        word = "reaches" if len(reached) == 1 else "reach"
        said.append(f"Read-off: {len(reached)} of {plural(len(tried), 'variant')} {word} the baseline's final level.")
    rerun = [variant for variant in target.tested if variant.matched.state in ("reached", "not reached")]
    if rerun:
        there = [variant for variant in rerun if variant.matched.state == "reached"]
        word = "reaches" if len(there) == 1 else "reach"
        said.append(f"Matched: {len(there)} of {plural(len(rerun), 'variant')} {word} it.")
    said += _of_donors(target)
    numbers = {variant.difference.units for variant in target.warmed if variant.difference}
    if numbers and max(numbers) < FEWEST:
        said.append(f"With {plural(max(numbers), 'seed')} a difference can easily be chance: nothing is claimed.")
    if target.chance:
        said.append(f"Chance, what cheap strategies score: {chance_text(target.chance)}.")
    if target.validation:
        said.append(f"Every run is judged on {target.validation}.")
    still = [
        variant.short
        for variant in target.variants
        if still_text(last_fifth([run.curve for run in variant.finished], target.metric))
    ]
    if still:
        rest = "more than 5 % of all that it gained came in the last fifth of the tokens"
        said.append(f"Still improving at the end: {_some(still)} ({rest}).")
    variants = [*target.baselines, *target.ranked]
    lost = [f"{variant.short} ({_lost(variant)})" for variant in variants if variant.lost]
    if lost:
        said.append(f"Failed, or skipped because of what failed: {_some(lost)}.")
    pending = [variant.short for variant in variants if variant.pending]
    if pending:
        said.append(f"Not complete: {_some(pending)}.")
    return said


def _some(names: Sequence[str]) -> str:
    return listing([*names[:6], f"{len(names) - 6} others"] if len(names) > 7 else names)


def _counted(target: Target) -> list[str]:
    verdicts = [variant.verdict for variant in target.warmed if variant.verdict]
    if not verdicts:
        return []
    better, worse, unclear = (verdicts.count(word) for word in ("better", "worse", "unclear"))
    what = "accuracy" if target.metric == "accuracy" else "loss"
    of = "" if len(verdicts) == len(target.tested) else f" with a result (of {len(target.tested)})"
    test = "Fisher's exact tests" if target.all_or_nothing else "t-tests"
    saving = sum(variant.evidence.saves for variant in target.warmed)
    passed = sum(variant.saves for variant in target.warmed if variant.gate)
    gate = f", and {passed} by the gate" if any(variant.gate for variant in target.warmed) else ""
    return [
        f"Of {plural(len(verdicts), 'variant')}{of} the final {what} is better than the baseline's in {better}, worse "
        f"in {worse} and not told apart in {unclear} ({test} at 5 % for the whole table, with Holm's correction for "
        f"{plural(len(target.tested), 'variant')}); {saving} may be said to save data, by these numbers{gate}."
    ]


def _of_baseline(target: Target, base: Variant) -> list[str]:
    """Where it settles by itself, and what one of its seeds looks like against another."""
    said = []
    if target.guesses(base):
        said.append(
            f"{base.short} does not get beyond guessing ({percent(target.cheap or 0.0, 1)}): where a curve passes its "
            "end says how soon one guesses, and is no saving."
        )
    if base.settled is not None and base.t2 and base.settled < 0.97 * base.t2:
        said.append(
            f"The mean curve of {base.short} itself stays at its final level from {count(base.settled)} tokens on: "
            f"compare data fractions with {percent(base.settled / base.t2)}, not only with 100 %."
        )
    null = between_seeds(base)
    if null:
        scale, unit, decimals = (100, "points", 1) if target.metric == "accuracy" else (1, "nats", 3)
        earliest = "" if null.earliest is None else f", the earliest with {percent(null.earliest)} of the tokens"
        said.append(
            f"One seed of {base.short} against another, where nothing is to be found: they end "
            f"{scale * null.typical:.{decimals}f} {unit} apart (at most {scale * null.largest:.{decimals}f}), and one "
            f"reaches the end of the other in {null.reached} of {null.tries} cases{earliest}."
        )
    return said


def _of_donors(target: Target) -> list[str]:
    """How far donors differ, how far target seeds do, and how far single pairs of them, where they are crossed."""
    scale, unit, decimals = (100, "points", 1) if target.metric == "accuracy" else (1, "nats", 3)
    said, crossed = [], ""
    for variant in target.warmed:
        found = variant.difference
        if found is None or found.donor_sd is None or found.target_sd is None or found.rest_sd is None:
            continue
        spreads = [f"{scale * sd:.{decimals}f}" for sd in (found.donor_sd, found.target_sd, found.rest_sd)]
        said.append(f"{variant.short} {', '.join(spreads[:2])} and {spreads[2]}")
        donors, runs = plural(len({run.donor for run in variant.runs}), "donor"), plural(len(variant.runs), "run")
        crossed = crossed or f"{runs} of {donors} are not so many independent ones."
    if not said:
        return []
    named = "; ".join(said[:6]) + (f"; and {len(said) - 6} more" if len(said) > 6 else "")
    return [
        f"How far an effect differs (sd, {unit}) between donors, between target seeds, and from one pair of them to "
        f"another beyond both: {named}. {crossed}"
    ]

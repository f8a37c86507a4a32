"""The answers of the gate that need no control: each looks at one variant, its warm-ups, its baseline or its data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from procray.planning.titles import task_among, title_of
from procray.report.numbers.evidence import beside, left_of, quicker
from procray.report.numbers.pairs import cells
from procray.report.numbers.results import TENTH, Answer, Evidence, Target, Variant, paired
from procray.report.numbers.statistics import LEVEL, Difference, fisher_exact
from procray.report.numbers.warmups import chance_of
from procray.report.numbers.wording import amount, count, listing, percent, plural, probability, share_interval

if TYPE_CHECKING:
    from procray.planning.plan import Cell, PlannedPhase
    from procray.report.numbers.power import Power
    from procray.report.numbers.runs import Reader
    from procray.selection.select import Searched


def learned(own: Sequence[Cell], reader: Reader) -> Answer:
    """Whether every run of every warm-up of a variant is a tenth of the way from the best cheap strategy to 100 %.

    Args:
        own: the variant's cells at full length.
    """
    warmups: dict[tuple[str, int], dict[str, None]] = {}
    for cell in own:
        for mark in cell.warmups:
            warmups.setdefault((reader.plan.phases[mark.phase].variant, mark.step), {})[mark.phase] = None
    found = [_learned(name, step, list(phases), reader) for (name, step), phases in warmups.items()]
    found += _learned_among(hosts(own, reader), reader)
    if not found:
        return Answer("learned", "not run", "", "it has no warm-up of this sweep")
    worst = next((one for state in ("no", "not run", "yes") for one in found if one.state == state), found[0])
    return Answer("learned", worst.state, worst.number, "; ".join(one.said for one in found), worst.values)


def hosts(own: Sequence[Cell], reader: Reader) -> list[PlannedPhase]:
    """The phases of a variant among whose text procedural data stand."""
    found = dict.fromkeys(phase for cell in own for phase in (cell.compared, *(mark.phase for mark in cell.stages)))
    return [reader.plan.phases[phase] for phase in found if task_among(reader.plan.phases[phase].recipe) is not None]


def _learned_among(phases: Sequence[PlannedPhase], reader: Reader) -> list[Answer]:
    """The same of procedural data among text: none or one."""
    data = task_among(phases[0].recipe) if phases else None
    if data is None:
        return []
    ends = {phase.id: reader.run_among(phase).accuracy for phase in phases}
    return [_judged(title_of(data), max(phase.end for phase in phases), data, ends, reader)]


def _learned(name: str, step: int, phases: Sequence[str], reader: Reader) -> Answer:
    data = reader.plan.phases[phases[0]].recipe.data
    rows = {phase: reader.values(phase, step) for phase in phases}
    return _judged(name, step, data, {phase: row[1] if row else None for phase, row in rows.items()}, reader)


def _judged(name: str, step: int, data: dict[str, Any], found: dict[str, float | None], reader: Reader) -> Answer:
    """By phase the accuracy at the end of the data, None where they have not ended."""
    phases = list(found)
    chance = max(chance_of(data).values(), default=None)
    if chance is None:
        return Answer("learned", "not run", "", f"{name} is text, of which no chance level is known")
    needed = chance + TENTH * (1 - chance)
    ends = [end for end in found.values() if end is not None]
    if not ends:
        lost = all(reader.state(phase, step)[0] in ("failed", "skipped") for phase in phases)
        return Answer(
            "learned", "not run", "", f"{name} {'failed' if lost else 'has not finished'}", {"chance": chance}
        )
    mean, above = sum(ends) / len(ends), sum(end >= needed for end in ends)
    values: dict[str, float | str | None] = {"accuracy": mean, "chance": chance, "needed": needed, "warmup": name}
    values |= {"k": above, "n": len(phases)}
    number = f"{100 * mean:.0f}/{percent(chance)}"
    said = (
        f"{name} ends at {percent(mean, 1)} accuracy, {percent(chance, 1)} by chance; {above} of "
        f"{plural(len(phases), 'run')} above {percent(needed, 1)}"
    )
    if above == len(phases):
        return Answer("learned", "yes", number, said, values)
    lost = any(reader.state(phase, step)[0] in ("failed", "skipped") for phase in phases)
    open_ = above == len(ends) and not lost
    return Answer("learned", "not run" if open_ else "no", number, f"so far {said}" if open_ else said, values)


def compared(
    question: str, variant: Variant, other: Variant | None, found: Difference | None, evidence: Evidence
) -> Answer:
    """Whether a variant is better than another one: by the end of its runs, or because it surely keeps a level sooner.

    Args:
        found: of both, paired.
        evidence: of the test of their ends, and of their speed.
    """
    who = other.short if other else "its baseline"
    values: dict[str, float | str | None] = {"other": other.name if other else None, "family": evidence.family}
    if found is None:
        yet = any(one is not None and one.pending for one in (variant, other))
        said = f"it and {who} have {'not finished a' if yet else 'no finished'} seed in common"
        return Answer(question, "not run", "", said, values)
    values |= {"mean": found.mean, "low": found.low, "high": found.high, "n": found.units, "p": evidence.corrected}
    number, said = amount(variant.metric, found.mean, unit=False), f"{amount(variant.metric, found.mean)} beside {who}"
    if evidence.corrected is not None:
        said += f", {probability(evidence.corrected)}"
    speed = evidence.speed
    if speed is not None and quicker(speed) and evidence.verdict != "better":
        values |= {"share": speed.share, "share_low": speed.low, "share_high": speed.high, "p_share": speed.p}
        number = percent(speed.share)
        said += f"; {share_interval(speed.low, speed.high)} of its tokens until {percent(speed.level)}"
    if evidence.verdict == "better" or (quicker(speed) and evidence.verdict != "worse"):
        return Answer(question, "yes", number, said, values)
    if any(one is not None and one.state != "complete" and not one.lost for one in (variant, other)):
        return Answer(question, "not run", number, f"so far {said}", values)
    return Answer(question, "no", number, said, values)


def about_tuning(variant: Variant, searched: Searched | None) -> Answer:
    """Whether the same settings were tried for the baseline, on the same seeds."""
    if searched is None:
        return Answer("tuned", "not run", "", "no search")
    own, base = ({cell.label: cell for cell in searched.of(name)} for name in (variant.name, variant.baseline))
    if not own and not base:
        return Answer("tuned", "not run", "", "no search of either")
    values: dict[str, float | str | None] = {"settings": len(own), "baseline_settings": len(base)}
    said = f"{plural(len(base), 'setting')} tried for the baseline, {len(own)} for it"
    if any(cell.state == "pending" for cell in (*own.values(), *base.values())):
        return Answer("tuned", "not run", "", "the search has not finished", values)
    edges = next((cell.edges for cell in base.values() if cell.chosen), ())
    said += f"; the baseline's best stands at an edge of the grid: {listing(edges)}" if edges else ""
    as_hard = all(label in base and base[label].planned >= cell.planned for label, cell in own.items())
    return Answer("tuned", "yes" if as_hard else "no", f"{len(base)}/{len(own)}", said, values)


def about_passes(variant: Variant, reader: Reader) -> Answer:
    """How often the compared phase has read its data at its end: yes for at most once."""
    data = reader.plan.phases[variant.runs[0].phase].recipe.data
    if not variant.finished:
        return Answer("passes", "not run", "", "no seed has finished")
    if "task" in data:
        return Answer("passes", "yes", "fresh", "every batch is drawn anew", {"passes": None})
    passes = []
    for run in variant.finished:
        epoch, seen = (reader.row(run.phase, run.last_step) or {}).get("epoch"), run.curve.unique[-1]
        # Of a stream whose length is not known it is 0 during the first pass.
        known = float(epoch) if isinstance(epoch, int | float) and epoch > 0 else None
        passes.append(known or (run.curve.tokens[-1] / seen if seen > 0 else 1.0))
    most = round(max(passes), 2)
    said = f"{most:.2f} passes over its text"
    return Answer("passes", "yes" if most <= 1 else "no", f"{most:.2f}", said, {"passes": max(passes)})


def about_size(target: Target, variant: Variant, power: Power | None) -> Answer:
    """Whether the gain is larger than the smallest one that so many seeds show in four sweeps of five.

    Of all-or-nothing outcomes: whether more runs left the plateau than the fewest for which Fisher's test rejects.
    """
    found = variant.difference
    if found is None:
        return Answer("size", "not run", "", "it and its baseline have not finished a seed in common")
    if target.all_or_nothing:
        return _size_of_counts(target, variant)
    if power is None or power.smallest is None:
        why = "one seed shows no difference" if power is not None and power.seeds < 2 else "no spread is measured yet"
        return Answer("size", "not run", "", why)
    gain = -found.mean if target.mode == "min" else found.mean
    values: dict[str, float | str | None] = {"gain": gain, "smallest": power.smallest, "n": power.seeds}
    smallest = amount(target.metric, power.smallest).lstrip("+")
    if power.beyond_scale:
        said = f"a gain of {amount(target.metric, gain)}; {plural(power.seeds, 'seed')} show nothing on the scale"
        return Answer("size", "no", "none on scale", f"{said}: it would have to be {smallest}", values)
    said = f"a gain of {amount(target.metric, gain)}; {plural(power.seeds, 'seed')} show {smallest} four times in five"
    number = f"{'>' if gain > power.smallest else '≤'}{smallest.split()[0]}"
    return Answer("size", "yes" if gain > power.smallest else "no", number, said, values)


def _size_of_counts(target: Target, variant: Variant) -> Answer:
    base = target.baseline_of(variant)
    own, other = variant.evidence.left, base.evidence.left if base else None
    if own is None or other is None:
        return Answer("size", "not run", "", "no run has ended")
    level = LEVEL / max(variant.evidence.family, 1)
    k, n, others, other_n, unit = own.k, own.n, other.k, other.n, "run"
    if base is not None and variant.difference is not None and variant.difference.targets is not None:
        (k, n, others, other_n), unit = left_of(target, paired(variant.runs, base.runs)), "donor"
    more = (many for many in range(n + 1) if many * other_n > others * n)
    fewest = next((many for many in more if fisher_exact(many, n, others, other_n) <= level), None)
    values: dict[str, float | str | None] = {"k": k, "n": n, "fewest": fewest}
    said = f"{k} of {plural(n, unit)} left the plateau"
    if fewest is None:
        return Answer("size", "no", f"{k} of {n}", f"{said}; so few {unit}s can show nothing", values)
    said += f"; {fewest} show a difference from {others} of {other_n}"
    return Answer("size", "yes" if k >= fewest else "no", f"{k}/{fewest} of {n}", said, values)


def lasting(target: Target, variant: Variant) -> Answer:
    """Whether the gain at the end excludes zero by itself, and is a tenth at least of what it was at its best place."""
    base = target.baseline_of(variant)
    found = cells(paired(variant.runs, base.runs) if base else [])
    if base is None or not found.pairs:
        return Answer("lasts", "not run", "", "it and its baseline have not finished a seed in common")
    tokens, own = beside([pair[0].curve for pair in found.pairs], target.metric, found)
    places, others = beside([pair[1].curve for pair in found.pairs], target.metric, found)
    both = [place for place in tokens if place in set(places)]
    if len(both) < 2:
        return Answer("lasts", "not run", "", "both curves have no two places in common")
    sign = -1 if target.mode == "min" else 1
    means = dict.fromkeys(both, 0.0)
    for place in both:
        gap = own[tokens.index(place)] - others[places.index(place)]
        means[place] = sign * float(gap.mean())
    known = {place: gain for place, gain in means.items() if place > 0 and not math.isnan(gain)}
    if not known:
        return Answer("lasts", "not run", "", "both curves have no place in common where they have values")
    best = max(known, key=lambda place: known[place])
    end = known[max(known)]
    values: dict[str, float | str | None] = {"end": end, "best": known[best], "best_at": best}
    unfinished = any(one.state != "complete" and not one.lost for one in (variant, base))
    if known[best] <= 0:
        said = "so far it is ahead nowhere" if unfinished else "it is ahead nowhere"
        return Answer("lasts", "not run" if unfinished else "no", percent(0.0), said, values)
    share, p = end / known[best], variant.evidence.p
    said = (
        f"a gain of {amount(target.metric, end)} at the end, of {amount(target.metric, known[best])} at its best "
        f"({count(best)} tokens)"
    )
    surely = p is not None and p <= LEVEL
    kept = percent(max(share, 0.0))  # of a gain that became a loss nothing lasts
    if unfinished:
        return Answer("lasts", "not run", kept, f"so far {said}", values)
    lasts = share >= TENTH and surely
    if not surely:
        said += "; no test can be made of the end" if p is None else "; by its own test the end may be no gain at all"
    return Answer("lasts", "yes" if lasts else "no", kept, said, {**values, "share": share})

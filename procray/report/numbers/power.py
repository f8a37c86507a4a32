"""What the planned seeds can show: for each target the smallest difference, from the spread measured so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from procray.report.numbers.results import Target
from procray.report.numbers.statistics import pooled_sd, smallest_difference
from procray.report.numbers.summary import summarise
from procray.report.numbers.wording import plural
from procray.selection.select import Searched, foreseen, read

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.store import Store


@dataclass(frozen=True)
class Power:
    """One target.

    Attributes:
        metric: `loss` (nats) or `accuracy` (a fraction), the unit of `sd` and `smallest`.
        seeds: planned.
        sd: of the paired differences; None where nothing has been measured.
        source: where `sd` comes from, in words; empty without it.
        smallest: the difference that is shown, two-sided at 5 %, with a probability of 80 %.
    """

    target: str
    title: str
    metric: str
    seeds: int
    sd: float | None
    source: str
    smallest: float | None


def power(plan: Plan, store: Store) -> list[Power]:
    """Every target of the plan, also of one whose settings are still searched."""
    searched = read(plan, store)
    results = summarise(foreseen(plan), store)
    found = []
    for target in results.targets:
        sd, source = _spread(target, searched)
        seeds = max(len(variant.runs) for variant in target.variants)
        smallest = None if sd is None else smallest_difference(sd, seeds)
        found.append(Power(target.name, target.title, target.metric, seeds, sd, source, smallest))
    return found


def _spread(target: Target, searched: Searched | None) -> tuple[float | None, str]:
    differences = [target.seed_differences(variant) for variant in target.warmed]
    sd = pooled_sd(differences)
    if sd is not None:
        count = sum(len(group) > 1 for group in differences)
        return sd, f"the paired differences of {plural(count, 'variant')}"
    sd = _tuning_sd(target, searched) if searched else None
    if sd is not None:
        return sd, "the paired differences of the tuning seeds"
    sd = pooled_sd([[run.final(target.metric) for run in base.finished] for base in target.baselines])
    if sd is not None:
        return sd * 2**0.5, "the baseline's spread x sqrt(2), as if nothing were shared by a pair"
    return None, ""


def _tuning_sd(target: Target, searched: Searched) -> float | None:
    done = {(cell.variant, cell.label): cell for cell in searched.tried if cell.state == "done"}
    differences = []
    for (variant, label), cell in done.items():
        base = done.get((cell.baseline, label))
        if cell.target == target.name and base is not None and variant != cell.baseline:
            differences.append([one - two for one, two in zip(cell.values, base.values, strict=True)])
    return pooled_sd(differences)


def power_text(one: Power) -> str:
    """`with 3 seeds a difference of 0.042 nats shows (from ...)`."""
    planned = plural(one.seeds, "seed")
    if one.seeds < 2:
        return "one seed shows no difference: there is no interval"
    if one.smallest is None:
        return f"{planned}; no spread measured yet"
    amount = f"{100 * one.smallest:.2g} points" if one.metric == "accuracy" else f"{one.smallest:.2g} nats"
    return f"{planned} show a difference of {amount} four times in five, by {one.source}"

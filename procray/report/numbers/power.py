"""What the planned seeds can show: for each target the smallest difference, from the spread measured so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from procray.garbage import keeping_everything
from procray.report.numbers.runs import Reader, finite
from procray.report.numbers.statistics import pooled_sd, smallest_difference
from procray.report.numbers.titles import title_of
from procray.report.numbers.wording import plural
from procray.selection.select import Searched, foreseen, read

if TYPE_CHECKING:
    from procray.planning.plan import Cell, Plan
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


@dataclass
class _Ends:
    """The finished runs at full length of one variant: by seed, the value at their end."""

    baseline: str
    planned: int = 0
    values: dict[int, float] = field(default_factory=dict)


@keeping_everything()
def power(plan: Plan, store: Store) -> list[Power]:
    """Every target of the plan, also of one whose settings are still searched.

    It needs the ends of runs only, so it does without the whole summary, which takes longer than the planning.
    """
    searched = read(plan, store)
    whole = foreseen(plan)
    reader = Reader(whole, store)
    by_target: dict[str, list[Cell]] = {}
    for cell in whole.cells:
        if cell.fraction is None:
            by_target.setdefault(cell.target, []).append(cell)
    found = []
    for target, cells in by_target.items():
        recipe = whole.phases[cells[0].compared].recipe
        metric = "accuracy" if recipe.kind == "diagnostic" else "loss"
        variants = _ends(cells, metric, reader)
        sd, source = _spread(target, variants, searched)
        seeds = max(variant.planned for variant in variants.values())
        smallest = None if sd is None else smallest_difference(sd, seeds)
        found.append(Power(target, target or title_of(recipe.data), metric, seeds, sd, source, smallest))
    return found


def _ends(cells: list[Cell], metric: str, reader: Reader) -> dict[str, _Ends]:
    """What every variant of a target has come to, in the plan's order."""
    variants: dict[str, _Ends] = {}
    for cell in cells:
        ends = variants.setdefault(cell.variant, _Ends(cell.baseline))
        ends.planned += 1
        row = reader.row(cell.compared, cell.step) or {}
        if finite(row.get("loss")) is not None and (value := finite(row.get(metric))) is not None:
            ends.values[cell.seed] = value
    return variants


def _spread(target: str, variants: dict[str, _Ends], searched: Searched | None) -> tuple[float | None, str]:
    differences = []
    for name, variant in variants.items():
        base = variants.get(variant.baseline)
        if name != variant.baseline and base is not None:
            both = sorted(variant.values.keys() & base.values.keys())
            differences.append([variant.values[seed] - base.values[seed] for seed in both])
    sd = pooled_sd(differences)
    if sd is not None:
        count = sum(len(group) > 1 for group in differences)
        return sd, f"the paired differences of {plural(count, 'variant')}"
    sd = _tuning_sd(target, searched) if searched else None
    if sd is not None:
        return sd, "the paired differences of the tuning seeds"
    baselines = [variant for name, variant in variants.items() if name == variant.baseline]
    sd = pooled_sd([[base.values[seed] for seed in sorted(base.values)] for base in baselines])
    if sd is not None:
        return sd * 2**0.5, "the baseline's spread x sqrt(2), as if nothing were shared by a pair"
    return None, ""


def _tuning_sd(target: str, searched: Searched) -> float | None:
    done = {(cell.variant, cell.label): cell for cell in searched.tried if cell.state == "done"}
    differences = []
    for (variant, label), cell in done.items():
        base = done.get((cell.baseline, label))
        if cell.target == target and base is not None and variant != cell.baseline:
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

"""What the planned seeds can show: for each target the smallest difference, from the spread measured so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from procray.garbage import keeping_everything
from procray.planning.titles import title_of
from procray.report.numbers.runs import Reader, finite, resolution
from procray.report.numbers.statistics import full_table, mean_and_error, pooled_sd, smallest_difference
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
        seeds: planned; where donors are crossed with target seeds, the fewer of both.
        sd: of the paired differences, never below what can be measured; None where nothing has been measured.
        source: where `sd` comes from, in words; empty without it.
        smallest: the difference that is shown with a probability of 80 %, two-sided at 5 % for the whole table.
        family: how many variants the table is corrected for.
    """

    target: str
    title: str
    metric: str
    seeds: int
    sd: float | None
    source: str
    smallest: float | None
    family: int = 1

    @property
    def beyond_scale(self) -> bool:
        """Whether no two accuracies differ by as much as would be shown."""
        return self.metric == "accuracy" and self.smallest is not None and self.smallest > 1


@dataclass
class _Ends:
    """The runs at full length of one variant: by donor (None where it is not crossed) and seed, the finished ends."""

    baseline: str
    control: str = ""
    planned: set[tuple[int | None, int]] = field(default_factory=set)
    values: dict[tuple[int | None, int], float] = field(default_factory=dict)

    @property
    def units(self) -> int:
        """Planned independent ones."""
        return min(len({donor for donor, _ in self.planned} - {None}) or len(self.planned), self.seeds)

    @property
    def seeds(self) -> int:
        return len({seed for _, seed in self.planned})


@keeping_everything()
def power(plan: Plan, store: Store) -> list[Power]:
    """Every target of the plan, also of one whose settings are still searched.

    It needs the ends of runs only, so it does without the whole summary, which takes longer than the planning.
    """
    whole = foreseen(plan)
    return powers(Reader(whole, store), read(plan, store))


def powers(reader: Reader, searched: Searched | None) -> list[Power]:
    """The same of a plan with its cells, by a reader of its store."""
    whole = reader.plan
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
        if sd is not None:
            ends = [abs(value) for variant in variants.values() for value in variant.values.values()]
            sd = max(sd, resolution(metric, recipe.evaluation.sequences, max(ends, default=0.0)))
        warmed = [variant for name, variant in variants.items() if name != variant.baseline and not variant.control]
        seeds = max(variant.units for variant in warmed or variants.values())
        family = max(len(warmed), 1)
        smallest = None if sd is None else smallest_difference(sd, seeds, family=family)
        found.append(Power(target, target or title_of(recipe.data), metric, seeds, sd, source, smallest, family))
    return found


def _ends(cells: list[Cell], metric: str, reader: Reader) -> dict[str, _Ends]:
    """What every variant of a target has come to, in the plan's order."""
    variants: dict[str, _Ends] = {}
    for cell in cells:
        ends = variants.setdefault(cell.variant, _Ends(cell.baseline, cell.control))
        key = (cell.donor, cell.seed)
        ends.planned.add(key)
        row = reader.row(cell.compared, cell.step) or {}
        if finite(row.get("loss")) is not None and (value := finite(row.get(metric))) is not None:
            ends.values[key] = value
    return variants


def _spread(target: str, variants: dict[str, _Ends], searched: Searched | None) -> tuple[float | None, str]:
    spreads = []
    for name, variant in variants.items():
        base = variants.get(variant.baseline)
        if name != variant.baseline and base is not None:
            partners = {seed: value for (_, seed), value in base.values.items()}
            both = {key: value - partners[key[1]] for key, value in variant.values.items() if key[1] in partners}
            if (own := _spread_of(both)) is not None:
                spreads.append(own)
    if degrees := sum(one for _, one in spreads):
        sd = (sum(square * one for square, one in spreads) / degrees) ** 0.5
        return sd, f"the paired differences of {plural(len(spreads), 'variant')}"
    sd = _tuning_sd(target, searched) if searched else None
    if sd is not None:
        return sd, "the paired differences of the tuning seeds"
    baselines = [variant for name, variant in variants.items() if name == variant.baseline]
    sd = pooled_sd([list(base.values.values()) for base in baselines])
    if sd is not None:
        return sd * 2**0.5, "the baseline's spread x sqrt(2), as if nothing were shared by a pair"
    return None, ""


def _spread_of(differences: dict[tuple[int | None, int], float]) -> tuple[float, int] | None:
    """Variance of one unit and its degrees of freedom: of a seed, or of donors and targets that are crossed."""
    if any(donor is None for donor, _ in differences):
        values, crossed = np.asarray([differences[key] for key in sorted(differences, key=str)]), False
    else:
        donors, targets = full_table(differences)
        crossed = True
        values = np.asarray([[differences[d, t] for t in targets] for d in donors])
    if not values.size or min(values.shape) < 2:
        return None
    _, error, degrees = mean_and_error(values, crossed)
    return float(error) ** 2 * (degrees + 1), degrees


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
    corrected = f", corrected for {one.family} variants" if one.family > 1 else ""
    if one.beyond_scale:
        needed = f"it would have to be {100 * one.smallest:.0f} points"
        return f"{planned} show no difference on the scale: {needed}{corrected}, by {one.source}"
    amount = f"{100 * one.smallest:.2g} points" if one.metric == "accuracy" else f"{one.smallest:.2g} nats"
    return f"{planned} show a difference of {amount} four times in five{corrected}, by {one.source}"

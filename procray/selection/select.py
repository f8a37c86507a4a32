"""What the search of a sweep with `select:` has found: every setting tried, and the best one of each variant.

A choice is a function of the store: the same journals give the same choice, whoever asks. A setting is tried
at all tuning seeds and judged on held-out data that no reported number is measured on; one that failed at any
seed is never chosen.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.files import write_json
from procray.planning.plan import Choices, Plan, Trial
from procray.planning.planner import plan
from procray.selection.standing import Standing

if TYPE_CHECKING:
    from procray.planning.sweep import Sweep
    from procray.store.store import Store


@dataclass(frozen=True)
class Tried:
    """One setting of one variant.

    Attributes:
        metric: what settings are judged by: `accuracy` (diagnostics) or `loss`, in nats.
        state: `done`, `pending`, or `failed` (at one seed or more).
        values, losses: of the finished seeds, at the end of the budget.
        planned: number of tuning seeds.
        edges: searched axes whose lowest or highest value the chosen setting has: `lr (highest)`.
    """

    variant: str
    baseline: str
    target: str
    setting: dict[str, Any]
    label: str
    metric: str
    state: str
    reason: str
    values: tuple[float, ...]
    losses: tuple[float, ...]
    planned: int
    chosen: bool = False
    edges: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        return statistics.stdev(self.values) if self.n > 1 else None

    @property
    def is_baseline(self) -> bool:
        return self.variant == self.baseline


@dataclass(frozen=True)
class Searched:
    """The search of a sweep as far as it is; `settled` when no setting can still change a choice."""

    axes: tuple[str, ...]
    seeds: tuple[int, ...]
    tried: tuple[Tried, ...]
    settled: bool

    @property
    def choices(self) -> Choices:
        return {cell.variant: cell.setting for cell in self.tried if cell.chosen}

    @cached_property
    def _by_variant(self) -> dict[str, list[Tried]]:
        found: dict[str, list[Tried]] = {}
        for cell in self.tried:
            found.setdefault(cell.variant, []).append(cell)
        return found

    @property
    def variants(self) -> list[str]:
        return list(self._by_variant)

    def of(self, variant: str) -> list[Tried]:
        """All settings of a variant, in the file's order."""
        return self._by_variant.get(variant, [])


def read(graph: Plan, store: Store) -> Searched | None:
    """What the search of a plan has found so far; None for a plan without one."""
    if graph.search is None:
        return None
    settings: dict[tuple[str, str], list[Trial]] = {}
    for trial in graph.trials:
        settings.setdefault((trial.variant, trial.label), []).append(trial)
    tried: dict[str, list[Tried]] = {}
    standing = Standing(graph, store)
    for trials in settings.values():
        tried.setdefault(trials[0].variant, []).append(_tried(trials, graph, store, standing))
    judged = [cell for cells in tried.values() for cell in _judge(cells)]
    return Searched(
        tuple(graph.search["axes"]),
        tuple(graph.search["seeds"]),
        tuple(judged),
        all(cell.state != "pending" for cell in judged),
    )


def staged(spec: Sweep, store: Store) -> Plan:
    """The plan of a sweep as far as it can be made: the search while that goes on, the whole after it."""
    graph = plan(spec)
    store.refresh(graph.phases)
    full = whole(graph, store)
    if full is None:
        return graph
    store.refresh(full.phases)
    return full


def whole(graph: Plan, store: Store) -> Plan | None:
    """The plan that follows a search; None while it is not settled, and for a plan without one to come."""
    found = read(graph, store)
    return graph.then(found.choices) if found and found.settled and graph.then else None


def foreseen(graph: Plan) -> Plan:
    """What a plan will be: of one that is still searched, the whole with some setting of every variant.

    Targets, seeds, corpora and numbers of phases do not depend on the choices.
    """
    return graph.then({trial.variant: trial.setting for trial in graph.trials}) if graph.then else graph


def record(graph: Plan, store: Store) -> Path | None:
    """Writes selection.json into the plan's folder, as a whole; None for a plan without a search."""
    found = read(graph, store)
    if found is None:
        return None
    path = store.plan_folder(graph.title, graph.digest) / "selection.json"
    write_json(path, {"sweep": graph.name, "scale": graph.scale, **to_json(found)})
    store.publish(path)
    return path


def to_json(found: Searched) -> dict[str, Any]:
    """Plain data: for every variant every setting tried, its seeds, mean, spread, and whether it is chosen."""
    return {
        "axes": list(found.axes),
        "seeds": list(found.seeds),
        "settled": found.settled,
        "variants": [
            {
                "name": variant,
                "target": cells[0].target,
                "is_baseline": cells[0].is_baseline,
                "metric": cells[0].metric,
                "budget": {"settings": len(cells), "seeds": cells[0].planned},
                "chosen": next((cell.setting for cell in cells if cell.chosen), None),
                "edges": next((list(cell.edges) for cell in cells if cell.chosen), []),
                "tried": [
                    {
                        "setting": cell.setting,
                        "label": cell.label,
                        "state": cell.state,
                        "reason": cell.reason or None,
                        "n": cell.n,
                        "mean": cell.mean,
                        "sd": cell.sd,
                        "loss": statistics.fmean(cell.losses) if cell.losses else None,
                        "chosen": cell.chosen,
                    }
                    for cell in cells
                ],
            }
            for variant in found.variants
            for cells in [found.of(variant)]
        ],
    }


def _tried(trials: list[Trial], graph: Plan, store: Store, standing: Standing) -> Tried:
    first = trials[0]
    metric = "accuracy" if graph.phases[first.compared].kind == "diagnostic" else "loss"
    values, losses, states, reasons = [], [], [], []
    for trial in trials:
        state, reason, row = _result(trial, store, standing)
        states.append(state)
        if row is not None:
            values.append(float(row[metric]))
            losses.append(float(row["loss"]))
        elif state == "failed":
            reasons.append(f"seed {trial.seed}: {reason}")
    return Tried(
        variant=first.variant,
        baseline=first.baseline,
        target=first.target,
        setting=first.setting,
        label=first.label,
        metric=metric,
        state=next((state for state in ("pending", "failed") if state in states), "done"),
        reason="; ".join(reasons),
        values=tuple(values),
        losses=tuple(losses),
        planned=len(trials),
    )


def _result(trial: Trial, store: Store, standing: Standing) -> tuple[str, str, dict[str, Any] | None]:
    """State, reason and the row of the journal that holds at the end of the budget."""
    last = next((row for row in reversed(store.phase(trial.compared).curve()) if row["step"] <= trial.step), None)
    # A phase that was solved before its end keeps its last value.
    if last and (last["step"] == trial.step or last.get("solved")) and _finite(last.get("loss")):
        return "done", "", last
    state, reason = standing.of(trial.compared, trial.step)
    return ("failed", reason or state, None) if state in ("failed", "skipped") else ("pending", "", None)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _judge(cells: list[Tried]) -> list[Tried]:
    """The settings of one variant with the best one marked; none before all of them have come to an end."""
    whole = [cell for cell in cells if cell.state == "done"]
    if not whole or any(cell.state == "pending" for cell in cells):
        return cells
    better = 1 if whole[0].metric == "accuracy" else -1
    # Of equal accuracies the lower loss wins, of equal settings the first in the file.
    best = min(whole, key=lambda cell: (-better * (cell.mean or 0.0), statistics.fmean(cell.losses)))
    return [replace(cell, chosen=True, edges=_edges(cell, cells)) if cell is best else cell for cell in cells]


def _edges(chosen: Tried, cells: list[Tried]) -> tuple[str, ...]:
    """The axes on which a better value may lie outside of what was tried. Below zero there is nothing to try."""
    found = []
    for name, value in chosen.setting.items():
        values = [cell.setting[name] for cell in cells if name in cell.setting]
        if any(isinstance(other, bool) or not isinstance(other, int | float) for other in values):
            continue
        short = name.rpartition(".")[2]
        if len(set(values)) > 1 and value == max(values):
            found.append(f"{short} {value:g} (highest)")
        elif len(set(values)) > 1 and value == min(values) and value != 0:
            found.append(f"{short} {value:g} (lowest)")
    return tuple(found)

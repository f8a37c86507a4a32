"""What a sweep was asked to do and what it ran on, gathered for the report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from procray.files import canonical_json
from procray.model.families import DEFAULT, family
from procray.planning.titles import title_of
from procray.redaction import redact, redacted
from procray.report.numbers.runs import Reader
from procray.report.numbers.wording import count, distinct, listing, plural
from procray.training.recipe import Optimizer, PhaseRecipe

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.store import Store

# Facts that differ from attempt to attempt without a meaning for the result.
_IGNORED = ("pid", "time", "started", "attempt")


@dataclass(frozen=True)
class Settings:
    """What was asked for and what it ran on: `(name, value)` rows, and the files to repeat it."""

    rows: tuple[tuple[str, str], ...]
    machine: tuple[tuple[str, str], ...]
    source: str
    resolved: dict[str, Any]
    commands: tuple[str, ...]


def settings_of(plan: Plan, store: Store, file: str) -> Settings:
    """Settings from the plan, machines and versions from what each phase recorded."""
    recipes = [phase.recipe for phase in plan.phases.values()]
    totals = plan.totals or {}
    tuning = set(plan.search["seeds"]) if plan.search else set()
    rows = [
        ("setting", plan.setting),
        ("seeds", _seeds({recipe.seed for recipe in recipes} - tuning) or "after the search"),
        ("model", "; ".join(distinct(_shape(recipe) for recipe in recipes))),
        ("precision", ", ".join(distinct(recipe.precision for recipe in recipes))),
        *_by_kind(recipes),
    ]
    if plan.search:
        axes = listing(plan.search["axes"])
        rows.append(("settings searched", f"{axes} on seeds {_seeds(tuning)} and held-out data of their own"))
    if plan.matched:
        rows.append(("matched fractions", ", ".join(f"{fraction:g}" for fraction in plan.matched)))
    if totals:
        rows.append(
            ("size", f"{plural(totals['phases'], 'phase')} ({totals['naive_phases']} without sharing), "
             f"{count(totals['tokens'])} tokens, {totals['flops']:.2g} FLOPs planned")
        )  # fmt: skip
    seconds = _seconds(plan, store)
    if seconds:
        rows.append(("training time", f"{seconds / 60:.1f} min, summed over phases"))
    scale = "" if plan.scale == "default" else f" --scale {plan.scale}"
    if plan.settings:
        rows.append(("changed by --set", plan.settings))
        scale += " --set ..."
    commands = (
        f"procray sweep {file}{scale}      # runs what is missing; a finished sweep trains nothing",
        f"procray report {file}{scale}     # this report",
        f"procray lineage {file}{scale}",
        f"procray ui {file}{scale}         # the curves in MLflow",
    )
    resolved = json.loads(canonical_json(redacted(plan.spec)))  # in one order, also of a plan read back from the store
    return Settings(tuple(rows), _machine(plan, store), redact(plan.source), resolved, commands)


def _seeds(seeds: set[int]) -> str:
    return listing([str(seed) for seed in sorted(seeds)])


def _by_kind(recipes: list[PhaseRecipe]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for kind in dict.fromkeys(recipe.kind for recipe in recipes):
        own = [recipe for recipe in recipes if recipe.kind == kind]
        data = distinct(title_of(recipe.data) for recipe in own)
        shown = listing(data[:6]) + (f" and {len(data) - 6} more" if len(data) > 6 else "")
        steps = "; ".join(
            distinct(f"{recipe.batch} sequences a step, {_optimizer(recipe.optimizer)}" for recipe in own)
        )
        rows.append((kind, f"{shown}: {steps}"))
    return rows


def _shape(recipe: PhaseRecipe) -> str:
    shape = recipe.model
    head = "tied" if shape.tied else "untied"
    dropout = f", dropout {shape.dropout:g}" if shape.dropout else ""
    own = "" if shape.family == DEFAULT else f"{family(shape.family).title}, "
    more = "".join(f", {name} {value}" for name, value in shape.more)
    size = f"{shape.layers} layers, {shape.heads} heads, width {shape.width}, context {shape.context}"
    return f"{own}{size}, {head}{dropout}{more}"


def _optimizer(optimizer: Optimizer) -> str:
    floor = f" to {optimizer.min_lr:g} of it" if optimizer.schedule != "constant" and optimizer.min_lr else ""
    warmup = f", {optimizer.warmup_steps} warm-up steps" if optimizer.warmup_steps else ""
    return f"AdamW lr {optimizer.lr:g} {optimizer.schedule}{floor}{warmup}, weight decay {optimizer.weight_decay:g}"


def _seconds(plan: Plan, store: Store) -> float:
    reader = Reader(plan, store)
    return sum(float(rows[-1].get("seconds") or 0.0) for phase in plan.phases if (rows := reader.rows(phase)))


def _machine(plan: Plan, store: Store) -> tuple[tuple[str, str], ...]:
    """Every recorded fact with its distinct values; `(n phases)` where not all phases share it."""
    values: dict[str, dict[str, int]] = {}
    for phase in plan.phases:
        description = store.phase(phase).description() or {}
        for provenance in description.get("attempts", {}).values():
            for name, value in _flat(provenance):
                seen = values.setdefault(name, {})
                seen[value] = seen.get(value, 0) + 1
    return tuple(
        (name, ", ".join(list(seen)[:4]) + (f" and {len(seen) - 4} others" if len(seen) > 4 else ""))
        for name, seen in sorted(values.items())
    )


def _flat(facts: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in facts.items():
        if name in _IGNORED or value is None:
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield prefix + name.replace("_", " "), str(value)

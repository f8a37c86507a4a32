"""Whole sweeps whose ends are given seed by seed, so that what may be claimed of them is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from procray.planning import PlannedPhase
from procray.report.numbers.gate import without_gate
from procray.report.numbers.results import Results, Target, Variant
from procray.report.numbers.summary import summarise
from procray.store.store import Store

from .synthetic import fill, make_plan

HEAD = """name: claims
seeds: {seeds}
model: {{layers: 1, heads: 2, width: 16, context: 64}}
procedural: {{task: identity, length: 8, batch: 16, tokens: {{grid: [{budgets}]}}, optimizer: {{lr: 1e-3}}}}
transfer: full
"""
TEXT = """semantic:
  corpus: {files: [CORPUS]}
  tokenizer: byte
  tokens: 1024k
  batch_tokens: 1024
  optimizer: {lr: 1e-3}
  evaluate: {every: 102400}
"""
FIND = """diagnostic:
  task: haystack
  pairs: 30
  tokens: 1008k
  batch: 100
  optimizer: {lr: 1e-3}
  evaluate: {every: 100800}
"""
Ends = dict[str, Sequence[float | None]]


def falling(end: float, share: float) -> float:
    """One nat above its end at the start, and from there down in a straight line."""
    return end + 1 - share


def rising(end: float, share: float) -> float:
    """At its end from half of the tokens on."""
    return min(end, 2 * end * share)


def sweep(folder: Path, ends: Ends, kind: str = "text", curve: Any = None, until: Any = None) -> Results:
    """A summarised sweep of journals, without the gate: what its numbers alone allow to say.

    Args:
        ends: by variant (`baseline`, then budgets such as `20k`) the end of every seed, a loss or, for `find`, an
            accuracy; None for one that failed half way.
        curve: the value after a share of the tokens, of (end, share), or of (end, share, variant, seed).
        until: as that of `fill`.
    """
    curve = curve or (falling if kind == "text" else rising)
    seeds = list(range(len(ends["baseline"])))
    budgets = [name for name in ends if name != "baseline"]
    yaml = HEAD.format(seeds=seeds, budgets=", ".join(budgets)) + (TEXT if kind == "text" else FIND)
    plan, store = make_plan(folder, yaml), Store(folder / "store")
    names = {phase.id: _name(phase, budgets) for phase in plan.phases.values()}

    def formula(phase: PlannedPhase, tokens: float) -> dict[str, float]:
        if names[phase.id] is None:
            return {"loss": 2.0 - tokens / 40_000, "accuracy": 0.5}
        end = ends[names[phase.id]][phase.recipe.seed]
        share = tokens / phase.nominal[phase.end]
        more = (names[phase.id], phase.recipe.seed) if curve.__code__.co_argcount == 4 else ()
        value = curve(0.0 if end is None else end, share, *more)
        return {"loss": value, "accuracy": 0.1} if kind == "text" else {"loss": 4 * (1 - value), "accuracy": value}

    def lost(phase: PlannedPhase) -> bool:
        name = names[phase.id]
        return name is not None and ends[name][phase.recipe.seed] is None

    failed = {"state": "failed", "reason": "loss is nan", "step": 1}
    fill(
        plan, store, formula,
        until=until or (lambda phase: 0.5 if lost(phase) else 1.0),
        state=lambda phase: failed if lost(phase) else None,
    )  # fmt: skip
    found = summarise(plan, store)
    return replace(found, targets=tuple(map(without_gate, found.targets)))


def _name(phase: PlannedPhase, budgets: Sequence[str]) -> str | None:
    if phase.kind == "procedural":
        return None
    if "baseline" in phase.variant:
        return "baseline"
    return phase.variant if len(budgets) > 1 else budgets[0]


def target(folder: Path, ends: Ends, kind: str = "text", curve: Any = None, until: Any = None) -> Target:
    return sweep(folder, ends, kind, curve, until).targets[0]


def named(found: Target, short: str) -> Variant:
    return next(variant for variant in found.variants if variant.short == short)

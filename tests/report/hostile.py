"""A store in which names and reasons were chosen to be obeyed: markup, escape sequences, more lines, formulas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from procray.planning import Plan
from procray.planning.plan_json import read_plan
from procray.store.store import Store

from .synthetic import fill, make_plan

TEXT = "<script>alert(1)</script>\x1b[2J\x9b31m\rdone\nprocray: all is well\u202e$\\frac{$"
OBEYED = ("\x1b", "\x9b", "\r", "\u202e", "\nprocray: all is well")
_NAMES = ("label", "variant", "baseline", "variants")


def make(folder: Path) -> tuple[Plan, Store]:
    """A sweep whose every name holds the text, with a phase that failed and one that was skipped for such a reason."""
    plan, store = make_plan(folder), Store(folder / "store")
    path = store.write_plan(plan)
    path.write_text(json.dumps(_renamed(json.loads(path.read_text()))))
    plan = read_plan(path)
    bad = next(phase for phase in plan.phases.values() if phase.label.startswith("text/20k/full"))
    skipped = next(phase for phase in plan.phases.values() if phase.label.startswith("find/40k/attention"))
    states = {bad.id: {"state": "failed", "reason": TEXT, "step": 1}, skipped.id: {"state": "skipped", "reason": TEXT}}
    fill(plan, store, until=lambda p: 0.1 if p.id in states else 1.0, state=lambda p: states.get(p.id))
    return plan, store


def _renamed(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _renamed(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, key) for one in value]
    return value + TEXT if isinstance(value, str) and key in _NAMES else value

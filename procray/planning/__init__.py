"""From a sweep file to a plan: the graph of unique phases, what each begins with, and what it costs.

sweep = procray.load_sweep("sweeps/substitutive.yaml", scale="laptop")
graph = procray.plan(sweep)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.planning.plan import Cell, Plan, PlannedPhase, Segment
from procray.planning.planner import plan

if TYPE_CHECKING:
    from procray.planning.sweep import Sweep

__all__ = ["Cell", "Plan", "PlannedPhase", "Segment", "load_sweep", "plan"]


def load_sweep(path: str | Path, scale: str | None = None, set: dict[str, Any] | list[str] | None = None) -> Sweep:
    """A sweep file at one scale, checked.

    Args:
        path: the YAML file.
        scale: the name of an overlay; the first by default.
        set: `key=value` texts, or a mapping of dotted keys to values, laid upon everything else.

    Raises:
        SpecError: every problem of the file, of all its scales and of `set` at once.
    """
    from procray.planning.load import load_sweep as load  # pydantic: only readers of YAML need it

    return load(path, scale, set)

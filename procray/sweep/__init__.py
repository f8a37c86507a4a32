"""Sweeps: from a YAML file to a plan of unique phases, and the store that holds what they produce.

spec = procray.load_sweep("sweeps/substitutive.yaml", scale="laptop")
graph = procray.plan(spec)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.sweep.plan import Cell, Plan, PlannedPhase, Segment, plan

if TYPE_CHECKING:
    from procray.sweep.spec import SweepSpec

__all__ = ["Cell", "Plan", "PlannedPhase", "Segment", "json_schema", "load_sweep", "plan"]


def load_sweep(path: str | Path, scale: str | None = None, set: dict[str, Any] | list[str] | None = None) -> SweepSpec:
    """A sweep file at one scale, checked.

    Args:
        path: the YAML file.
        scale: the name of an overlay; the first by default.
        set: `key=value` texts, or a mapping of dotted keys to values, laid upon everything else.

    Raises:
        SpecError: every problem of the file, of all its scales and of `set` at once.
    """
    from procray.sweep.load import load_sweep as load  # pydantic: only readers of YAML need it

    return load(path, scale, set)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a sweep file, for editors."""
    from procray.sweep.schema import json_schema as build

    return build()

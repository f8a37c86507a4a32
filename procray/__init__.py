"""procray measures what procedural pretraining saves: sweeps of short GPT-2 training chains.

The names below are the Python interface; each is imported when it is first used, so that
`import procray` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from procray import corpora as corpora
    from procray import model as model
    from procray import report as report
    from procray import tasks as tasks
    from procray.execution import run as run
    from procray.planning import load_sweep as load_sweep
    from procray.planning.planner import plan as plan

__version__ = "0.1.0"
__all__ = ["__version__", "corpora", "load_sweep", "model", "plan", "report", "run", "tasks"]

_FUNCTIONS = {"load_sweep": "procray.planning", "plan": "procray.planning", "run": "procray.execution"}


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    if name in ("corpora", "model", "report", "tasks"):
        return importlib.import_module(f"procray.{name}")
    raise AttributeError(f"module 'procray' has no attribute {name!r}")

"""One phase on one process group: loop, optimiser, schedule, evaluation, runtime.

`recipe` says what a phase is and `schedule` its learning rates, both without torch; the rest is imported
when it is first used, so that planning stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from procray.training.context import Context, FolderContext
    from procray.training.loop import Outcome, train
    from procray.training.source import Source, task_source, text_source

__all__ = ["Context", "FolderContext", "Outcome", "Source", "task_source", "text_source", "train"]

_MODULES = {
    "Context": "context",
    "FolderContext": "context",
    "Outcome": "loop",
    "train": "loop",
    "Source": "source",
    "task_source": "source",
    "text_source": "source",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

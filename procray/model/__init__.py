"""GPT-2, its checkpoints, its components and what transfer copies of them.

Shapes, component names and transfer modes are known without torch; the rest imports torch when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from procray.model.components import COMPONENTS, NAMES, component_of, parse_mode
from procray.model.perturb import Perturbation
from procray.model.shape import GPT2Config, flops_per_token, parameter_shapes, parameters
from procray.model.transfer import Piece, compose, transfer

if TYPE_CHECKING:
    from procray.model.checkpoint import load_model, load_weights, save_weights
    from procray.model.gpt2 import GPT2, initialise
    from procray.model.official import import_official

__all__ = [
    "COMPONENTS",
    "GPT2",
    "NAMES",
    "GPT2Config",
    "Perturbation",
    "Piece",
    "component_of",
    "compose",
    "flops_per_token",
    "import_official",
    "initialise",
    "load_model",
    "load_weights",
    "parameter_shapes",
    "parameters",
    "parse_mode",
    "save_weights",
    "transfer",
]

_NEEDS_TORCH = {
    "GPT2": "gpt2",
    "initialise": "gpt2",
    "load_model": "checkpoint",
    "load_weights": "checkpoint",
    "save_weights": "checkpoint",
    "import_official": "official",
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NEEDS_TORCH[name]}"), name)

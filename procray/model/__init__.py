"""Models, their checkpoints, their components and what transfer copies of them.

Shapes, component names and transfer modes are known without torch; the rest imports torch when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from procray.model.components import COMPONENTS, NAMES, parse_mode
from procray.model.families import FAMILIES, PRESETS, build, component_of, family, family_of
from procray.model.family import Family, ModelConfig
from procray.model.gpt2.shape import GPT2Config
from procray.model.perturb import Perturbation
from procray.model.shape import flops_per_token, parameter_shapes, parameters
from procray.model.transfer import Piece, compose, transfer

if TYPE_CHECKING:
    from procray.model.checkpoint import load_model, load_weights, save_weights
    from procray.model.gpt2.network import GPT2
    from procray.model.gpt2.official import import_official
    from procray.model.network import Network, initialise

__all__ = [
    "COMPONENTS",
    "FAMILIES",
    "GPT2",
    "NAMES",
    "PRESETS",
    "Family",
    "GPT2Config",
    "ModelConfig",
    "Network",
    "Perturbation",
    "Piece",
    "build",
    "component_of",
    "compose",
    "family",
    "family_of",
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
    "GPT2": "gpt2.network",
    "Network": "network",
    "initialise": "network",
    "load_model": "checkpoint",
    "load_weights": "checkpoint",
    "save_weights": "checkpoint",
    "import_official": "gpt2.official",
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NEEDS_TORCH[name]}"), name)

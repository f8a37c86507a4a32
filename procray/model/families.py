"""The families of models that there are. A new one is a folder beside this file, and a line here."""

from __future__ import annotations

from typing import Any

from procray.errors import ProcrayError, TransferError, did_you_mean
from procray.model.components import component_with
from procray.model.family import Family, ModelConfig
from procray.model.gpt2.family import FAMILY as GPT2
from procray.model.llama.family import FAMILY as LLAMA
from procray.model.neox.family import FAMILY as NEOX

DEFAULT = GPT2.name
FAMILIES = {one.name: one for one in (GPT2, NEOX, LLAMA)}
PRESETS = {
    name: {"family": family.name, **shape} for family in FAMILIES.values() for name, shape in family.presets.items()
}


def family(name: str) -> Family:
    """A family by name.

    Raises:
        ProcrayError: an unknown one, with the nearest valid name.
    """
    if name not in FAMILIES:
        raise ProcrayError(f"unknown family '{name}'{did_you_mean(name, FAMILIES)} (families: {', '.join(FAMILIES)})")
    return FAMILIES[name]


def family_of(config: ModelConfig) -> Family:
    """The family of a shape."""
    return FAMILIES[config.family]


def build(config: ModelConfig, seed: int | None = None, role: str = "") -> Any:
    """The network of a shape with its first weights; see `Network`. Imports torch."""
    return family_of(config).network()(config, seed, role)


def family_with(parameter: str) -> Family:
    """A family whose models have a parameter of this name; where several do, it means the same in all.

    Raises:
        TransferError: there is none.
    """
    found = next((one for one in FAMILIES.values() if one.parts_in(parameter, missing=())), None)
    if found is None:
        raise TransferError(f"'{parameter}' is no parameter of any model of ours, so it belongs to no component")
    return found


def component_of(parameter: str) -> str:
    """The one component that a parameter of any family belongs to.

    Raises:
        TransferError: no model of ours has a parameter of this name.
    """
    return component_with(family_with(parameter).parts_in(parameter)[0])


def to_json(config: ModelConfig) -> dict[str, Any]:
    """A shape as plain data; that of a GPT-2 without its family's name, as in earlier versions."""
    named = {} if config.family == DEFAULT else {"family": config.family}
    return {**named, **vars(config)}


def from_json(value: dict[str, Any]) -> ModelConfig:
    """What `to_json` gave.

    Raises:
        ProcrayError: no possible shape.
    """
    value = dict(value)
    try:
        found: ModelConfig = family(value.pop("family", DEFAULT)).config(**value)
    except TypeError as error:
        raise ProcrayError(f"not the shape of a model: {error}") from error
    return found

"""What a transfer carries into a model, tensor by tensor, and what its manifest says of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from procray.model.components import component_with
from procray.model.families import family_of
from procray.model.family import ModelConfig
from procray.model.regions import region

if TYPE_CHECKING:
    from torch import Tensor

DRAWN = "drawn anew"


@dataclass
class Carried:
    """Values for a parameter, in its shape or broadcast to it.

    Attributes:
        parts: those of the parameter's parts that the values are for.
        heads: those of the model's heads, where they are not all.
        about: what the manifest says of it.
    """

    value: Tensor
    about: dict[str, Any]
    parts: tuple[str, ...] = ()
    heads: tuple[int, ...] | None = None


Plan = dict[str, Carried]


def entry(config: ModelConfig, name: str, parameter: Tensor, several: Sequence[Carried]) -> dict[str, Any]:
    """What the manifest says of a parameter."""
    inside, shape = family_of(config).parts_in(name), list(parameter.shape)
    about: dict[str, Any] = {"component": component_with(inside[0]), "shape": shape}
    if not several:
        return about | {"from": DRAWN}
    if len(several) == 1 and several[0].parts == inside and several[0].heads is None:
        return about | several[0].about
    pieces = []
    for one in several:
        here = region(config, name, one.parts, one.heads)
        values = math.prod(shape) if here is None else int(here.sum())
        named = {"parts": list(one.parts)} | ({} if one.heads is None else {"heads": list(one.heads)})
        pieces.append({**one.about, **named, "values": values})
    sources = dict.fromkeys(str(one.about["from"]) for one in several)
    return about | {"from": " and ".join(sources), "how": "in parts", "pieces": pieces}


def counts(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    counts = {"tensors_carried": 0, "tensors_drawn": 0, "values_carried": 0, "values_drawn": 0}
    for entry in entries.values():
        kind = "drawn" if entry["from"] == DRAWN else "carried"
        values = math.prod(entry["shape"])
        carried = sum(piece["values"] for piece in entry["pieces"]) if "pieces" in entry else values
        counts[f"tensors_{kind}"] += 1
        counts[f"values_{kind}"] += carried
        counts["values_drawn"] += values - carried
    return counts

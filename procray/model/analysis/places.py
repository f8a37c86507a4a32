"""Where the tensors of a model stand: component, layer and part of the block."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from procray.model.components import COMPONENTS, component_with, whole
from procray.model.families import family_with


@dataclass(frozen=True)
class Place:
    """Which component a tensor belongs to, its layer (None outside the blocks) and its part: `qkv`, `mlp_in`."""

    component: str
    layer: int | None
    part: str


def place_of(parameter: str) -> Place:
    """Where a parameter of any family stands.

    Raises:
        TransferError: no model of ours has a parameter of this name.
    """
    own = family_with(parameter)
    parts = own.parts_in(parameter)
    layer = own.layer_of(parameter)
    name = whole(parts, own.parts)[0] if layer is not None else parameter.split(".")[-2]
    return Place(component_with(parts[0]), layer, "head" if parameter == own.head else _ALONE.get(parts[0], name))


# Outside of the blocks a module's own name says more than `embeddings` does; the last normalisation has one name.
_ALONE = {"ln_f": "ln_f"}


def groups_of(weights: Mapping[str, Tensor]) -> dict[tuple[str, int | None], dict[str, Tensor]]:
    groups: dict[tuple[str, int | None], dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        place = place_of(name)
        groups.setdefault((place.component, place.layer), {})[name] = tensor
    order = {component: index for index, component in enumerate(COMPONENTS)}
    # ln_f, which stands in no layer, comes after those that do.
    return dict(
        sorted(groups.items(), key=lambda item: (order[item[0][0]], math.inf if item[0][1] is None else item[0][1]))
    )

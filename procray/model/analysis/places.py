"""Where the tensors of a GPT-2 stand: component, layer and part of the block."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from procray.model.components import COMPONENTS, component_of

_PARTS = {
    "attn.c_attn": "qkv",
    "attn.c_proj": "proj",
    "mlp.c_fc": "mlp_in",
    "mlp.c_proj": "mlp_out",
    "ln_1": "ln_1",
    "ln_2": "ln_2",
    "ln_f": "ln_f",
    "wte": "wte",
    "wpe": "wpe",
    "lm_head": "head",
    "row_in": "row_in",
    "row_out": "row_out",
}
_NAME = re.compile(r"(?:transformer\.)?(?:h\.(\d+)\.)?(.+)\.(?:weight|bias)")


@dataclass(frozen=True)
class Place:
    """Which component a tensor belongs to, its layer (None outside the blocks) and its part: `qkv`, `mlp_in`."""

    component: str
    layer: int | None
    part: str


def place_of(parameter: str) -> Place:
    """Where a parameter of a GPT-2 stands.

    Raises:
        TransferError: no GPT-2 of ours has a parameter of this name.
    """
    component = component_of(parameter)
    match = _NAME.fullmatch(parameter)
    assert match is not None, "component_of knows the name"
    layer, part = match.groups()
    return Place(component, int(layer) if layer else None, _PARTS[part])


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

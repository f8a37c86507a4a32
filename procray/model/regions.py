"""Where in a tensor its parts and heads lie, for matrices that hold several side by side."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from procray.model.families import family_of
from procray.model.family import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor


def region(config: ModelConfig, parameter: str, parts: Collection[str]) -> Tensor | None:
    """Where the values of some parts lie in a parameter: true there, in the parameter's shape.

    None stands for all of it. The parameter holds at least one of the parts.
    """
    import torch

    own = family_of(config)
    inside = own.parts_in(parameter)
    wanted = [part in parts for part in inside]
    if all(wanted):
        return None
    cut = own.cut(config, parameter)
    assert cut is not None
    assert cut.parts is not None
    sides = [1] * len(cut.shape)
    sides[cut.parts] = len(inside)
    shape = own.shapes(config)[parameter]
    return torch.tensor(wanted).view(sides).expand(cut.shape).reshape(shape)


def apart(config: ModelConfig, parameter: str, tensor: Tensor) -> dict[str, Tensor]:
    """The parts of a matrix by name, each a matrix of its own that still lies in the same direction."""
    own = family_of(config)
    inside = own.parts_in(parameter)
    cut = own.cut(config, parameter)
    if len(inside) == 1 or cut is None or cut.parts is None:
        return dict.fromkeys(inside, tensor)
    before = len(inside) if _length(cut.shape[: cut.parts + 1]) <= tensor.shape[0] else 1
    rows = tensor.shape[0] // before
    seen = tensor.reshape(cut.shape)
    return {part: seen.select(cut.parts, i).reshape(rows, -1) for i, part in enumerate(inside)}


def _length(shape: tuple[int, ...]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product

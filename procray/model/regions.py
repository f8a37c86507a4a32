"""Where in a tensor its parts and heads lie, for matrices that hold several side by side."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from procray.model.families import family_of
from procray.model.family import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor


def region(
    config: ModelConfig, parameter: str, parts: Collection[str], heads: Collection[int] | None = None
) -> Tensor | None:
    """Where the values of some parts lie in a parameter: true there, in the parameter's shape.

    None stands for all of it. The parameter holds at least one of the parts.

    Args:
        heads: only these of the model's heads; the parameter is one that has heads.
    """
    import torch

    own = family_of(config)
    inside = own.parts_in(parameter)
    wanted = [part in parts for part in inside]
    if all(wanted) and heads is None:
        return None
    cut = own.cut(config, parameter)
    assert cut is not None
    here = torch.ones(cut.shape, dtype=torch.bool)
    if not all(wanted):
        assert cut.parts is not None
        here &= _along(cut.shape, cut.parts, torch.tensor(wanted))
    if heads is not None:
        assert cut.heads is not None
        count = cut.shape[cut.heads]
        served = {head * count // config.heads for head in heads}
        here &= _along(cut.shape, cut.heads, torch.tensor([head in served for head in range(count)]))
    return here.reshape(own.shapes(config)[parameter])


def has_heads(config: ModelConfig, parameter: str) -> bool:
    """Whether the values of a parameter belong to heads."""
    cut = family_of(config).cut(config, parameter)
    return cut is not None and cut.heads is not None


def cut_groups(config: Any, parts: Collection[str], layer: int, heads: Collection[int]) -> list[str]:
    """What is wrong with heads whose keys or values are chosen too, but not all heads that share them."""
    count = getattr(config, "kv_heads", config.heads) or config.heads
    if count == config.heads or not {"k", "v"}.intersection(parts):
        return []
    shared = config.heads // count
    torn = {
        head // shared
        for head in heads
        if not {*range(head // shared * shared, (head // shared + 1) * shared)} <= {*heads}
    }
    return [
        f"layer {layer}: heads {group * shared} to {group * shared + shared - 1} share keys and values,"
        " so all of them are chosen, or q and proj alone"
        for group in sorted(torn)
    ]


def _along(shape: tuple[int, ...], axis: int, values: Tensor) -> Tensor:
    sides = [1] * len(shape)
    sides[axis] = shape[axis]
    return values.view(sides)


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

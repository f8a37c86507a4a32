"""Rotary positions: queries and keys are turned by angles that grow with their position.

The first 2 R values of a head are turned in pairs (i, i + R), as transformers lays them out; the rest stays.

Shape suffixes: B sequences, T positions, H heads, E width of one head, R pairs that are turned, N chosen positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NARROW = 32  # values of a head; from measurements

Views = Callable[[Tensor], Sequence[Tensor]]


@lru_cache(maxsize=256)  # a task may draw its length anew for every batch
def rotary_tables(T: int, dims: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos_TR and sin_TR of the angles of T positions, float32.

    Args:
        dims: values of a head that are turned; an odd number turns one more, as in transformers.
        base: the longest wave is 2 pi times this.
    """
    with torch.inference_mode(False):  # made in an evaluation they serve training too
        frequencies_R = 1.0 / base ** (torch.arange(0, dims, 2, dtype=torch.float) / dims)
        angles_TR = torch.arange(T, dtype=torch.float)[:, None] * frequencies_R
        return angles_TR.cos().to(device), angles_TR.sin().to(device)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Values (..., E) turned by angles (..., R)."""
    cos, sin, R = cos.to(x.dtype), sin.to(x.dtype), cos.shape[-1]
    one, other, rest = x[..., :R], x[..., R : 2 * R], x[..., 2 * R :]
    return torch.cat((one * cos - other * sin, other * cos + one * sin, rest), -1)


def projected(x_BTD: Tensor, weight: Tensor, bias: Tensor | None, *slots: int) -> Tensor:
    """The projection of a stream, (B, T, *slots, E), for `split_heads`.

    With narrow heads on a CPU it is laid out with positions innermost: loops over the few values of a head would cost
    more than what they do.
    """
    B, T, D = x_BTD.shape
    E = weight.shape[0] // math.prod(slots)
    if E >= NARROW or x_BTD.device.type != "cpu" or torch.compiler.is_compiling():
        return F.linear(x_BTD, weight, bias).view(B, T, *slots, E)
    x_DN = x_BTD.reshape(-1, D).t()
    y_N = torch.mm(weight, x_DN) if bias is None else torch.addmm(bias[:, None], weight, x_DN)
    return y_N.view(*slots, E, B, T).movedim((-2, -1), (0, 1))


def split_heads(x: Tensor, views: Views, count: int, cos_TR: Tensor, sin_TR: Tensor) -> list[Tensor]:
    """Queries, keys and values (B, H, T, E) that lie side by side in one tensor, the first `count` of them turned.

    Args:
        views: the parts of a tensor like `x`, as views (B, T, H, E) of it that together cover it once.
    """
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        # The turn writes where attention wants its values, which it would copy there otherwise.
        return list(_Split.apply(x, views, count, cos_TR, sin_TR))
    parts = [part.transpose(1, 2) for part in views(x)]
    return [turned(part, cos_TR, sin_TR) if i < count else part for i, part in enumerate(parts)]


class _Split(torch.autograd.Function):
    """`split_heads` without copies; the gradient of a turn is the turn back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, views: Views, count: int, cos_TR: Tensor, sin_TR: Tensor) -> tuple[Tensor, ...]:
        ctx.shape, ctx.stride, ctx.views, ctx.count = x.shape, x.stride(), views, count
        cos_TR, sin_TR = cos_TR.to(x.dtype), sin_TR.to(x.dtype)
        ctx.save_for_backward(cos_TR, sin_TR)
        found = []
        for i, part_BTHE in enumerate(views(x)):
            part_BHTE = part_BTHE.transpose(1, 2)
            y_BHTE = torch.empty(part_BHTE.shape, dtype=x.dtype)
            _turn(part_BHTE, y_BHTE, cos_TR, sin_TR, 1.0 if i < count else 0.0)
            found.append(y_BHTE)
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cos_TR, sin_TR = ctx.saved_tensors
        dx = torch.empty_strided(ctx.shape, ctx.stride, dtype=cos_TR.dtype)
        for i, (part_BTHE, g_BHTE) in enumerate(zip(ctx.views(dx), gradients, strict=True)):
            _turn(g_BHTE, part_BTHE.transpose(1, 2), cos_TR, sin_TR, -1.0 if i < ctx.count else 0.0)
        return dx, None, None, None, None


def _turn(x_BHTE: Tensor, y_BHTE: Tensor, cos_TR: Tensor, sin_TR: Tensor, sign: float) -> None:
    """Writes x turned (backwards with sign -1, not at all with 0) into y."""
    if sign == 0.0:
        y_BHTE.copy_(x_BHTE)
        return
    R, E = cos_TR.shape[-1], x_BHTE.shape[-1]
    if x_BHTE.stride(-1) != y_BHTE.stride(-1):  # turned with positions innermost, and copied before or behind
        narrow = y_BHTE if x_BHTE.stride(-1) == 1 else x_BHTE
        between = torch.empty_like(narrow)
        if narrow is y_BHTE:
            _turn(between.copy_(x_BHTE), y_BHTE, cos_TR, sin_TR, sign)
        else:
            _turn(x_BHTE, between, cos_TR, sin_TR, sign)
            y_BHTE.copy_(between)
        return
    if x_BHTE.stride(-1) != 1:
        cos_TR, sin_TR = (angles.t().contiguous().t() for angles in (cos_TR, sin_TR))
    one, other = x_BHTE[..., :R], x_BHTE[..., R : 2 * R]
    torch.mul(one, cos_TR, out=y_BHTE[..., :R]).addcmul_(other, sin_TR, value=-sign)
    torch.mul(other, cos_TR, out=y_BHTE[..., R : 2 * R]).addcmul_(one, sin_TR, value=sign)
    if 2 * R < E:
        y_BHTE[..., 2 * R :].copy_(x_BHTE[..., 2 * R :])

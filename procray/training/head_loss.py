"""The head and the cross-entropy in one, so that logits are computed once, in pieces, and kept nowhere.

Shape suffixes: N scored positions, n those of one piece, D width, V vocabulary (rows of padding included).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Entropy = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def cross_entropy(logits_nV: Tensor, targets_n: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the cross-entropy in nats, and its gradient dlogits_nV; both computed in float32."""
    logits_nV, targets_n1 = logits_nV.float(), targets_n[:, None]
    found_n1, highest_n1 = logits_nV.gather(1, targets_n1), logits_nV.amax(1, keepdim=True)
    p_nV = logits_nV.softmax(1)
    # The largest probability is at least 1 / V: it has a logarithm where the target's may be 0.
    loss = (highest_n1 - p_nV.amax(1, keepdim=True).log() - found_n1).sum()
    return loss, p_nV.scatter_add_(1, targets_n1, p_nV.new_full((1, 1), -1.0).expand_as(targets_n1))


class HeadLoss(torch.autograd.Function):
    """The sum of the cross-entropy over N positions, in nats.

    The gradient of a cross-entropy is known as soon as the logits are, so each piece gives its loss and its share of
    the gradients before the next one begins. Kept are the gradients alone: N x D and V x D values in place of N x V.
    The products run in bfloat16 where autocast says so; the head's gradient is added up in its own precision.

    Arguments of `apply`:
        entropy: `cross_entropy`, or the same compiled.
        size: positions of one piece.
        targets_N: int64.
        x_ND: hidden states.
        weight_VD, bias_V: the head; the bias is a constant.
    """

    @staticmethod
    def forward(
        ctx: Any,
        entropy: Entropy,
        size: int,
        targets_N: Tensor,
        x_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
    ) -> Tensor:
        device = x_ND.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight_VD.dtype
        need_x, need_weight = ctx.needs_input_grad[3:5]
        total = torch.zeros((), device=x_ND.device)
        dx_ND = torch.empty_like(x_ND) if need_x else None
        dweight_VD = torch.zeros_like(weight_VD) if need_weight else None
        with torch.autocast(device, enabled=False):
            head_VD, bias_V = weight_VD.to(dtype), None if bias_V is None else bias_V.to(dtype)
            for first in range(0, len(x_ND), size):
                part = slice(first, first + size)
                x_nD = x_ND[part].to(dtype)
                loss, dlogits_nV = entropy(F.linear(x_nD, head_VD, bias_V), targets_N[part])
                total += loss
                dlogits_nV = dlogits_nV.to(dtype)
                if dx_ND is not None:
                    dx_ND[part] = dlogits_nV @ head_VD
                if dweight_VD is None:
                    continue
                if dtype == dweight_VD.dtype:
                    dweight_VD.addmm_(dlogits_nV.t(), x_nD)
                else:
                    dweight_VD += dlogits_nV.t() @ x_nD
        ctx.gradients = [dx_ND, dweight_VD]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # may be taken once, so they may be overwritten
        return None, None, None, *(None if found is None else found.mul_(outer) for found in gradients), None

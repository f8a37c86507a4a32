"""The head and the cross-entropy in one, so that logits are computed once, in pieces, and kept nowhere.

Shape suffixes: N scored positions, n those of one piece, D width, V vocabulary (rows of padding included).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class HeadLoss(torch.autograd.Function):
    """The sum of the cross-entropy over N positions, in nats, computed in float32.

    The gradient of a cross-entropy is known as soon as the logits are, so each piece gives its loss and its share of
    the gradients before the next one begins. Kept are the gradients alone: N x D and V x D values in place of N x V.
    The products run in bfloat16 where autocast says so.

    Arguments of `apply`:
        x_ND: hidden states.
        weight_VD: the head.
        targets_N: int64.
        rows: positions of one piece.
        missing: rows of padding that are added to the head; no target names one.
    """

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, rows: int, missing: int) -> Tensor:
        device = x_ND.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight_VD.dtype
        need_x, need_weight = ctx.needs_input_grad[:2]
        total = torch.zeros((), device=x_ND.device)
        dx_ND = torch.empty_like(x_ND) if need_x else None
        dweight_VD = torch.zeros_like(weight_VD) if need_weight else None
        with torch.autocast(device, enabled=False):
            head_VD = F.pad(weight_VD, (0, 0, 0, missing)).to(dtype) if missing else weight_VD.to(dtype)
            vocab = len(weight_VD)
            for first in range(0, len(x_ND), rows):
                part = slice(first, first + rows)
                x_nD, targets_n1 = x_ND[part].to(dtype), targets_N[part, None]
                logits_nV = F.linear(x_nD, head_VD).float()
                logits_nV[:, vocab:] = -torch.inf
                found_n1, highest_n1 = logits_nV.gather(1, targets_n1), logits_nV.amax(1, keepdim=True)
                p_nV = logits_nV.softmax(1)
                # The largest probability is at least 1 / V: it has a logarithm where the target's may be 0.
                total += (highest_n1 - p_nV.amax(1, keepdim=True).log() - found_n1).sum()
                if not (need_x or need_weight):
                    continue
                p_nV.scatter_add_(1, targets_n1, p_nV.new_full((1, 1), -1.0).expand_as(targets_n1))
                dlogits_nV = p_nV.to(dtype)
                if dx_ND is not None:
                    dx_ND[part] = dlogits_nV @ head_VD
                if dweight_VD is not None:
                    if dtype == dweight_VD.dtype and not missing:
                        dweight_VD.addmm_(dlogits_nV.t(), x_nD)
                    else:
                        dweight_VD += (dlogits_nV.t() @ x_nD)[:vocab]
        ctx.save_for_backward(*(gradient for gradient in (dx_ND, dweight_VD) if gradient is not None))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (g,) = gradients
        kept = list(ctx.saved_tensors)
        dx_ND = kept.pop(0) * g if ctx.needs_input_grad[0] else None
        dweight_VD = kept.pop(0) * g if ctx.needs_input_grad[1] else None
        return dx_ND, dweight_VD, None, None, None

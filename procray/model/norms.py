"""Normalisations.

Shape suffixes: B sequences, T positions, D width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from procray.model.steady import steady_products


class Norm(nn.LayerNorm):
    """LayerNorm whose gradients do not depend on the number of threads where that was asked for.

    On a CPU torch's own kernel adds the gradients of scale and shift up in as many parts as there are threads. With
    scale and shift apart from the normalisation every column is added up in one order.
    """

    def forward(self, x_BTD: Tensor) -> Tensor:
        if x_BTD.device.type != "cpu" or not steady_products():
            return super().forward(x_BTD)
        return torch.addcmul(self.bias, F.layer_norm(x_BTD, self.normalized_shape, eps=self.eps), self.weight)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) times a gain, computed in float32, as Llama does."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x_BTD: Tensor) -> Tensor:
        if x_BTD.device.type != "cpu" or torch.compiler.is_compiling():
            return F.rms_norm(x_BTD, self.weight.shape, self.weight, self.eps)
        found: Tensor = _RMS.apply(x_BTD.float(), self.weight, self.eps)
        return found.to(x_BTD.dtype)


class _RMS(torch.autograd.Function):
    """By fewer passes over the values than torch makes of the formula."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = size.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight_D, scale)
        return (x * scale).mul_(weight_D)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,), (x, weight_D, scale) = gradients, ctx.saved_tensors
        even = x * scale
        product_ND = (g * even).flatten(0, -2)
        mean = torch.mv(product_ND, weight_D).div_(-x.shape[-1]).view(scale.shape)
        return (g * weight_D).addcmul_(even, mean).mul_(scale), product_ND.sum(0), None

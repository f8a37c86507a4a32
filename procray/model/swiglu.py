"""SwiGLU, the gate of Llama's MLP.

Shape suffixes: I inner width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def swiglu(both: Tensor) -> Tensor:
    """silu(gate) * up of (..., 2 I), the gate in the first half and `up` in the second."""
    if both.device.type == "cpu" and not torch.compiler.is_compiling():
        found: Tensor = _SwiGLU.apply(both)
        return found
    gate, up = both.chunk(2, -1)
    return F.silu(gate) * up


class _SwiGLU(torch.autograd.Function):
    """Writes both gradients side by side."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        gate, up = both.chunk(2, -1)
        active = F.silu(gate)
        ctx.save_for_backward(both, active)
        return active * up

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (g,), (both, active) = gradients, ctx.saved_tensors
        gate, up = both.chunk(2, -1)
        found = torch.empty_like(both)
        dgate, dup = found.chunk(2, -1)
        torch.ops.aten.silu_backward.grad_input(g * up, gate, grad_input=dgate)
        torch.mul(active, g, out=dup)
        return found

"""SwiGLU, the gate of Llama's MLP."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up."""
    if gate.device.type == "cpu" and not torch.compiler.is_compiling():
        found: Tensor = _SwiGLU.apply(gate, up)
        return found
    return F.silu(gate) * up


class _SwiGLU(torch.autograd.Function):
    """By fewer passes over the values than torch makes of the formula."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        active = F.silu(gate)
        ctx.save_for_backward(gate, up, active)
        return active * up

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (g,), (gate, up, active) = gradients, ctx.saved_tensors
        dgate = g * up
        torch.ops.aten.silu_backward.grad_input(dgate, gate, grad_input=dgate)
        return dgate, active * g

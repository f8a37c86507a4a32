"""GELU in the tanh form, whose bits do not depend on the number of threads where that was asked for.

On a CPU torch's kernel computes whole vectors by one formula and what is left over at the end of each thread's share
by another, which rounds otherwise. So the share of every thread is made of whole vectors, and only the end of the
tensor is left over, as on one thread.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from procray.model.steady import steady_products

VECTORS = 32  # elements that the kernel takes at once, in float32 and with the widest registers
# Torch shares out more elements than these: those of the function equally among all threads, those of its gradient
# among as many as get so many each.
SHARED, SHARE = 0x4000, 0x8000


def gelu(x: Tensor) -> Tensor:
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), of any shape."""
    count, threads = x.numel(), torch.get_num_threads()
    steady = steady_products() and x.device.type == "cpu" and x.dtype == torch.float32
    if not steady or _there(count, threads) == _back(count, threads) == count:
        return F.gelu(x, approximate="tanh")
    found: Tensor = _Gelu.apply(x)
    return found


def _there(count: int, threads: int) -> int:
    """How many of the first elements all threads share in whole vectors; all where one thread has them."""
    return count if threads == 1 or count <= SHARED else count - count % (threads * VECTORS)


def _back(count: int, threads: int) -> int:
    """The same for the gradient."""
    while threads > 1 and count > SHARE and (rest := count % (min(threads, -(-count // SHARE)) * VECTORS)):
        count -= rest
    return count


class _Gelu(torch.autograd.Function):
    """In two calls: what is shared out evenly, and the rest."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x)
        y = torch.empty_like(x)
        cut = _there(x.numel(), torch.get_num_threads())
        for x_N, y_N in zip(_parts(x, cut), _parts(y, cut), strict=True):
            torch.ops.aten.gelu.out(x_N, approximate="tanh", out=y_N)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (g,), (x,) = gradients, ctx.saved_tensors
        g = g.contiguous()
        dx = torch.empty_like(x)
        cut = _back(x.numel(), torch.get_num_threads())
        for g_N, x_N, dx_N in zip(_parts(g, cut), _parts(x, cut), _parts(dx, cut), strict=True):
            torch.ops.aten.gelu_backward.grad_input(g_N, x_N, approximate="tanh", grad_input=dx_N)
        return dx


def _parts(x: Tensor, cut: int) -> tuple[Tensor, Tensor]:
    x_N = x.view(-1)
    return x_N[:cut], x_N[cut:]

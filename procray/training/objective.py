"""What is minimised: the loss at scored positions, with logits computed nowhere else.

Shape suffixes: B sequences, T positions, D width, V vocabulary, W cells, N scored positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from procray.batch import Batch, RowBatch
from procray.model import GPT2


@dataclass(frozen=True)
class Scored:
    """A batch on the device, reduced to what the loss needs."""

    inputs: Tensor  # tokens_BT int64, or rows_BTW uint8
    targets: Tensor  # targets_N int64, or targets_NW uint8
    index_N: Tensor | None  # flat positions b * T + t that are scored; None when all are
    values: int  # targets in all: N, or N x W cells


def scored_values(batch: Batch | RowBatch) -> int:
    """How many values a batch scores: tokens, or cells of the row form."""
    positions = int(np.count_nonzero(batch.mask_BT))
    return positions * batch.targets_BTW.shape[2] if isinstance(batch, RowBatch) else positions


def to_device(batch: Batch | RowBatch, device: torch.device) -> Scored:
    """Moves a batch to the device. The mask becomes an index here, where that needs no synchronisation."""
    inputs: np.ndarray
    targets: np.ndarray
    if isinstance(batch, RowBatch):
        cells = batch.targets_BTW.shape[2]
        inputs, targets = batch.rows_BTW, batch.targets_BTW.reshape(-1, cells)
    else:
        cells = 1
        inputs, targets = batch.tokens_BT.astype(np.int64, copy=False), batch.targets_BT.reshape(-1)
    index = np.flatnonzero(batch.mask_BT)
    everything = len(index) == batch.mask_BT.size
    if not everything:
        targets = targets[index]
    if isinstance(batch, Batch):
        targets = targets.astype(np.int64, copy=False)
    return Scored(
        send(inputs, device), send(targets, device), None if everything else send(index, device), len(index) * cells
    )


def send(array: np.ndarray, device: torch.device) -> Tensor:
    """Begins to copy an array to the device; the host does not wait for it."""
    tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


Loss = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


class Objective(nn.Module):
    """The loss of a model over a batch, as one module: what DistributedDataParallel wraps.

    Args:
        model: the network.
        logits_bound: logits are computed in pieces of at most this many elements, and each piece gives its
            gradients before the next one is made, so that a large vocabulary does not decide the memory.
        autocast: run matrix products in bfloat16.
        compile: compile the head with its loss, so that the logits are read and written as seldom as possible.
    """

    def __init__(self, model: GPT2, logits_bound: int, autocast: bool, compile: bool = False):
        super().__init__()
        self.model = model
        self.logits_bound = logits_bound
        self.autocast = autocast
        loss = _token_loss if model.config.rows is None else _cell_loss
        self.loss: Loss = torch.compile(loss) if compile else loss

    def forward(self, inputs: Tensor, targets: Tensor, index_N: Tensor | None, weight: float) -> Tensor:
        """`weight` times the sum of the loss over the scored values, in nats."""
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.autocast):
            x_ND = self._states(inputs, index_N)
            pieces = self.pieces(x_ND, targets)
            if len(pieces) == 1:
                return self.loss(x_ND, targets, *self.model.head()) * weight
            dtype = torch.bfloat16 if self.autocast else torch.float32
            total: Tensor = _InPieces.apply(self.loss, dtype, len(pieces[0][1]), targets, x_ND, *self.model.head())
            return total * weight

    def states(self, inputs: Tensor, index_N: Tensor | None) -> Tensor:
        """Hidden states of the scored positions, (N, D): where an evaluation enters, as training does in `forward`."""
        return self._states(inputs, index_N)

    def _states(self, inputs: Tensor, index_N: Tensor | None) -> Tensor:
        return self.model.hidden(inputs).flatten(0, 1) if index_N is None else self.model.hidden(inputs, index_N)

    def pieces(self, x_ND: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Splits scored positions evenly so that the logits of each piece stay within the bound."""
        config = self.model.config
        most = max(1, self.logits_bound // (config.rows or config.vocab))
        count = max(1, -(-len(targets) // most))
        rows = max(1, -(-len(targets) // count))
        return list(zip(x_ND.split(rows), targets.split(rows), strict=True))

    def loss_of(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Sum of the loss, cross-entropy per token or binary cross-entropy per cell, in float32."""
        return (_cross_entropy if self.model.config.rows is None else _cell_entropy)(logits, targets)


def _cross_entropy(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    return F.cross_entropy(logits_NV.float(), targets_N, reduction="sum")


def _cell_entropy(logits_NW: Tensor, targets_NW: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits_NW.float(), targets_NW.float(), reduction="sum")


def _token_loss(x_ND: Tensor, targets_N: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> Tensor:
    return _cross_entropy(F.linear(x_ND, weight_VD, bias_V), targets_N)


def _cell_loss(x_ND: Tensor, targets_NW: Tensor, weight_WD: Tensor, bias_W: Tensor | None) -> Tensor:
    return _cell_entropy(F.linear(x_ND, weight_WD, bias_W), targets_NW)


class _InPieces(torch.autograd.Function):
    """The sum of the losses of several pieces, each of which gives its gradients at once.

    So the logits of one piece exist at a time and none are computed twice. The gradient of the head is added up
    in float32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        loss: Loss,
        dtype: torch.dtype,
        rows: int,
        targets: Tensor,
        x_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
    ) -> Tensor:
        given = (x_ND, weight_VD, bias_V)
        wanted = [place for place, needed in enumerate(ctx.needs_input_grad[4:]) if needed]
        gradients = {
            place: torch.zeros_like(value)
            for place, value in enumerate(given)
            if value is not None and place in wanted and place > 0
        }
        found_x: list[Tensor] = []
        # Cast once; every piece would do it anew.
        head = [None if value is None else value.detach().to(dtype) for value in (weight_VD, bias_V)]
        total = torch.zeros((), device=x_ND.device)
        for x_nD, targets_n in zip(x_ND.split(rows), targets.split(rows), strict=True):
            leaves = [x_nD.detach(), *head]
            for place in wanted:
                leaves[place].requires_grad_()
            with torch.set_grad_enabled(bool(wanted)):
                value = loss(leaves[0], targets_n, *leaves[1:])
            total += value.detach()
            if not wanted:
                continue
            for place, found in zip(wanted, torch.autograd.grad(value, [leaves[p] for p in wanted]), strict=True):
                if place == 0:
                    found_x.append(found)
                else:
                    gradients[place] += found
        if found_x:
            gradients[0] = torch.cat(found_x)
        ctx.gradients = [gradients.get(place) for place in range(3)]
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        return None, None, None, None, *(None if found is None else found.mul_(outer) for found in gradients)

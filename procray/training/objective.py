"""What is minimised: the loss at scored positions, with logits computed nowhere else.

Shape suffixes: B sequences, T positions, D width, V vocabulary, W cells, N scored positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from procray.batch import Batch, RowBatch
from procray.model import Network
from procray.training.head_loss import Entropy, HeadLoss, cross_entropy


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


class Objective(nn.Module):
    """The loss of a model over a batch, as one module: what DistributedDataParallel wraps.

    Args:
        model: the network.
        logits_bound: logits are computed in pieces of at most this many elements, and each piece gives its
            gradients before the next one is made, so that a large vocabulary does not decide the memory.
        autocast: run matrix products in bfloat16.
        compile: compile the loss of the logits, so that they are read and written as seldom as possible.
    """

    def __init__(self, model: Network, logits_bound: int, autocast: bool, compile: bool = False):
        super().__init__()
        self.model = model
        self.logits_bound = logits_bound
        self.autocast = autocast
        self.entropy: Entropy = torch.compile(cross_entropy) if compile else cross_entropy
        self.own: slice | None = None  # the rows of the head that the data at hand have; None: all of them

    def forward(self, inputs: Tensor, targets: Tensor, index_N: Tensor | None, weight: float) -> Tensor:
        """`weight` times the sum of the loss over the scored values, in nats."""
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.autocast):
            x_ND = self._states(inputs, index_N)
            if self.model.config.rows is not None:
                return self.loss_of(self.model.unembed(x_ND), targets) * weight
            size = self._size(len(targets))
            weight_VD, bias_V = self.model.head()
            if self.own is not None:
                weight_VD, bias_V = weight_VD[self.own], None if bias_V is None else bias_V[self.own]
                targets = targets - self.own.start
            loss: Tensor = HeadLoss.apply(self.entropy, size, targets, x_ND, weight_VD, bias_V)
            return loss * weight

    def among_own(self, logits_nV: Tensor, targets_n: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and targets of the rows that the data at hand have."""
        return (logits_nV, targets_n) if self.own is None else (logits_nV[:, self.own], targets_n - self.own.start)

    def states(self, inputs: Tensor, index_N: Tensor | None) -> Tensor:
        """Hidden states of the scored positions, (N, D): where an evaluation enters, as training does in `forward`."""
        return self._states(inputs, index_N)

    def _states(self, inputs: Tensor, index_N: Tensor | None) -> Tensor:
        return self.model.hidden(inputs).flatten(0, 1) if index_N is None else self.model.hidden(inputs, index_N)

    def pieces(self, x_ND: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Splits scored positions evenly so that the logits of each piece stay within the bound."""
        size = self._size(len(targets))
        return list(zip(x_ND.split(size), targets.split(size), strict=True))

    def _size(self, positions: int) -> int:
        """Positions of one piece."""
        config = self.model.config
        most = max(1, self.logits_bound // (config.rows or config.vocab))
        count = max(1, -(-positions // most))
        return max(1, -(-positions // count))

    def loss_of(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Sum of the loss, cross-entropy per token or binary cross-entropy per cell, in float32."""
        if self.model.config.rows is None:
            return F.cross_entropy(logits.float(), targets, reduction="sum")
        return F.binary_cross_entropy_with_logits(logits.float(), targets.float(), reduction="sum")

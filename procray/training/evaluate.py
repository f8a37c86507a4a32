"""Loss and accuracy on held-out data.

Shape suffixes: B sequences, N scored positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from procray.batch import Batch, RowBatch
from procray.training.objective import Objective, to_device


@dataclass(frozen=True)
class Metrics:
    """What one evaluation measured.

    Attributes:
        loss: nats per scored token, or per cell of the row form. NaN when the model is broken.
        accuracy: fraction of scored tokens (cells) that the model ranks first (gets right).
        exact: fraction of sequences in which it gets every scored token or cell right.
    """

    loss: float
    accuracy: float
    exact: float


@torch.no_grad()
def evaluate(
    objective: Objective,
    batches: Iterable[Batch | RowBatch],
    device: torch.device,
    rank: int = 0,
    world_size: int = 1,
    reduce: Callable[[list[float]], list[float]] = lambda sums: sums,
) -> Metrics:
    """Runs the model over `batches`; every rank takes rows rank::world_size, and `reduce` adds the sums up.

    Sums run in float64 on the device and are read once, at the end.
    """
    was_training = objective.training
    objective.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=device)  # loss, right values, right sequences
    values = sequences = 0
    for batch in batches:
        part = batch.rows(slice(rank, None, world_size)) if world_size > 1 else batch
        answers = int(part.mask_BT.any(1).sum())  # sequences in which something is scored
        if answers == 0:
            continue
        scored = to_device(part, device)
        values += scored.values
        sequences += answers
        right = []
        with torch.autocast(device.type, torch.bfloat16, enabled=objective.autocast):
            x_ND = objective.states(scored.inputs, scored.index_N)
            for x_nD, targets_n in objective.pieces(x_ND, scored.targets):
                logits = objective.model.unembed(x_nD)
                if objective.model.config.rows is None:
                    hits = (logits.argmax(-1) == targets_n)[:, None]
                else:
                    hits = (logits > 0) == (targets_n > 0)
                sums[0] += objective.loss_of(logits, targets_n)
                sums[1] += hits.sum()
                right.append(hits.all(-1))
        wrong_N = ~torch.cat(right)
        index_N = torch.arange(len(wrong_N), device=device) if scored.index_N is None else scored.index_N
        wrong_B = torch.zeros(len(part.mask_BT), device=device)
        wrong_B.index_add_(0, index_N // part.mask_BT.shape[1], wrong_N.float())
        silent = len(part.mask_BT) - answers  # have nothing wrong either, but do not count
        sums[2] += (wrong_B == 0).sum() - silent
    objective.train(was_training)
    loss, good, exact, all_values, all_sequences = reduce([*sums.tolist(), float(values), float(sequences)])
    assert all_values > 0, "a validation set scores something"
    return Metrics(loss / all_values, good / all_values, exact / all_sequences)

"""Loss and accuracy on held-out data.

Shape suffixes: B sequences, N scored positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from procray.batch import CORRECTED, EXACT_MATCH, PARTS, STOP, Batch, RowBatch
from procray.training.objective import Objective, scored_values, to_device


@dataclass(frozen=True)
class Metrics:
    """What one evaluation measured.

    Attributes:
        loss: nats per scored token, or per cell of the row form. NaN when the model is broken.
        accuracy: fraction of scored tokens (cells) that the model ranks first (gets right).
        exact: fraction of sequences in which it gets every scored token or cell right.
        parts: of diagnostics, `PARTS` and `EXACT_MATCH` of `procray.batch`.
    """

    loss: float
    accuracy: float
    exact: float
    parts: dict[str, float] = field(default_factory=dict)


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

    Sums run in float64 on the device and are read once, at the end. One pass serves all metrics: logits are
    computed where one of them needs it.
    """
    was_training = objective.training
    objective.eval()
    names = ("loss", "right", "exact", *PARTS, EXACT_MATCH)
    sums = torch.zeros(len(names), dtype=torch.float64, device=device)
    counts = [0] * len(names)
    for batch in batches:
        part = batch.rows(slice(rank, None, world_size)) if world_size > 1 else batch
        answers = int(part.mask_BT.any(1).sum())  # sequences in which something is scored
        if answers == 0:
            scored_B = batch.mask_BT.any(1)
            if world_size > 1 and scored_B.any():
                # Weights in shares are put together by all ranks at once: who has nothing to score goes along.
                first = int(scored_B.argmax())
                _go_along(objective, batch.rows(slice(first, first + 1)), device)
            continue
        trained_N: Tensor | None = None
        roles_N: np.ndarray | None = None
        values = scored_values(part)
        if isinstance(part, Batch) and part.parts_BT is not None:
            needed_BT = part.mask_BT | (part.parts_BT > 0)
            trained_N = torch.from_numpy(part.mask_BT[needed_BT]).to(device)
            roles_N = part.parts_BT[needed_BT]
            part = replace(part, mask_BT=needed_BT)
        scored = to_device(part, device)
        right: list[Tensor] = []
        with torch.autocast(device.type, torch.bfloat16, enabled=objective.autocast):
            x_ND = objective.states(scored.inputs, scored.index_N)
            for x_nD, targets_n in objective.pieces(x_ND, scored.targets):
                logits, targets_n = objective.among_own(objective.model.unembed(x_nD), targets_n)
                if objective.model.config.rows is None:
                    hits = (logits.argmax(-1) == targets_n)[:, None]
                else:
                    hits = (logits > 0) == (targets_n > 0)
                done = sum(len(part_n) for part_n in right)
                right.append(hits.all(-1))
                if trained_N is not None:
                    kept_n = trained_N[done : done + len(hits)]
                    logits, targets_n, hits = logits[kept_n], targets_n[kept_n], hits[kept_n]
                sums[0] += objective.loss_of(logits, targets_n)
                sums[1] += hits.sum()
        right_N = torch.cat(right)
        index_N = torch.arange(len(right_N), device=device) if scored.index_N is None else scored.index_N
        row_N = index_N // part.mask_BT.shape[1]
        size = len(part.mask_BT)
        wrong_N = ~right_N if trained_N is None else ~right_N & trained_N
        # Sequences in which nothing is scored have nothing wrong either, but do not count.
        sums[2] += _flawless(wrong_N, row_N, size) - (size - answers)
        counts[0] += values
        counts[2] += answers
        if roles_N is not None:
            for number, role in enumerate(PARTS.values(), 3):
                here_N = (roles_N & role) > 0
                sums[number] += (right_N & torch.from_numpy(here_N).to(device)).sum()
                counts[number] += int(np.count_nonzero(here_N))
            whole_N = torch.from_numpy((roles_N & (CORRECTED | STOP)) > 0).to(device)
            sums[-1] += _flawless(~right_N & whole_N, row_N, size)
            counts[-1] += size
    objective.train(was_training)
    counts[1] = counts[0]
    found = reduce([*sums.tolist(), *map(float, counts)])
    assert found[len(names)] > 0, "a validation set scores something"
    shares = {
        name: total / count
        for name, total, count in zip(names, found[: len(names)], found[len(names) :], strict=True)
        if count
    }
    loss, accuracy, exact = (shares.pop(name) for name in names[:3])
    return Metrics(loss, accuracy, exact, shares)


def _go_along(objective: Objective, part: Batch | RowBatch, device: torch.device) -> None:
    scored = to_device(part, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=objective.autocast):
        objective.states(scored.inputs, scored.index_N)


def _flawless(wrong_N: Tensor, row_N: Tensor, size: int) -> Tensor:
    """How many of `size` sequences have none of their positions wrong."""
    wrong_B = torch.zeros(size, device=wrong_N.device)
    wrong_B.index_add_(0, row_N, wrong_N.float())
    return (wrong_B == 0).sum()

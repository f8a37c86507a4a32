"""What a model says to items: one pass, and logits only where something is scored.

Shape suffixes: B rows, N scored tokens or items, n those of one piece, T positions, V vocabulary, K choices, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from procray.downstream.items import Items
from procray.model import Network
from procray.training.runtime import LONGEST_MATMUL_ATTENTION

POSITIONS = 8192  # that are read at once
LOGITS = 1 << 21  # that are computed at once


@dataclass(frozen=True)
class Scores:
    """One number an item, float64.

    Attributes:
        right_N: from 0 (wrong) to 1 (right); see `Items`.
        loss_N: nats. By tokens: the mean over an item's scored tokens. By choices and by endings: minus the logarithm
            of the right one's share of their probabilities, log K for who knows nothing.
    """

    right_N: np.ndarray
    loss_N: np.ndarray

    @property
    def accuracy(self) -> float:
        return float(self.right_N.mean())

    @property
    def loss(self) -> float:
        return float(self.loss_N.mean())


def score(model: Network, items: Items) -> Scores:
    """Asks a model; it is left as it was."""
    if items.choices_BK is not None:
        logits_NK = chosen_logits(model, items.tokens_BT, items.scored_BT, items.choices_BK)
        return Scores(_first_is_best(logits_NK), -_log_share_of_first(logits_NK))
    logp_N, first_N = token_scores(model, items.tokens_BT, items.scored_BT)
    counts_B = items.scored_BT.sum(1)
    starts_B = counts_B.cumsum() - counts_B
    sums_B = np.add.reduceat(logp_N, starts_B)
    if items.rows > 1:
        sums_NK = sums_B.reshape(-1, items.rows)
        return Scores(_first_is_best(sums_NK), -_log_share_of_first(sums_NK))
    right_B = np.multiply.reduceat(first_N, starts_B) if items.whole else np.add.reduceat(first_N, starts_B) / counts_B
    return Scores(right_B, -sums_B / counts_B)


def token_scores(model: Network, tokens_BT: np.ndarray, scored_BT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every scored token, row by row, its log-probability and whether it ranks first, float64.

    A token that shares the first rank with n - 1 others counts 1 / n.
    """
    total = int(scored_BT.sum())
    logp_N, first_N = np.empty(total), np.empty(total)
    targets_N = torch.from_numpy(tokens_BT[scored_BT])
    for numbers_n, logits_nV in logits_of(model, tokens_BT, scored_BT):
        targets_n1 = targets_N[numbers_n].to(logits_nV.device)[:, None]
        own_n1, best_n1 = logits_nV.gather(1, targets_n1), logits_nV.amax(1, keepdim=True)
        first_n = (own_n1 == best_n1)[:, 0].double()
        hits_n = first_n.nonzero()[:, 0]
        first_n[hits_n] /= (logits_nV[hits_n] == best_n1[hits_n]).sum(1)
        first_N[numbers_n] = first_n.cpu()
        sums_n1 = logits_nV.sub_(best_n1).exp_().sum(1, keepdim=True)  # nobody needs the logits again
        logp_N[numbers_n] = (own_n1 - best_n1 - sums_n1.log())[:, 0].double().cpu()
    return logp_N, first_N


def chosen_logits(model: Network, tokens_BT: np.ndarray, scored_BT: np.ndarray, choices_BK: np.ndarray) -> np.ndarray:
    """The logits of some tokens at the one scored place of every row, (B, K) float64."""
    found_BK = np.empty(choices_BK.shape)
    choices = torch.from_numpy(choices_BK)
    for numbers_n, logits_nV in logits_of(model, tokens_BT, scored_BT):
        found_BK[numbers_n] = logits_nV.gather(1, choices[numbers_n].to(logits_nV.device)).double().cpu()
    return found_BK


def logits_of(model: Network, tokens_BT: np.ndarray, scored_BT: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Pieces of the logits that predict scored tokens, each with the numbers of its tokens; free to be overwritten.

    Scored tokens are numbered row by row. Rows are read shortest first, as many at once as fit, without what stands
    behind their last scored token.
    """
    number_BT = scored_BT.cumsum().reshape(scored_BT.shape) - 1
    last_B = scored_BT.shape[1] - 1 - scored_BT[:, ::-1].argmax(1)  # the token that ends what has to be read
    order_B = np.argsort(last_B, kind="stable")
    device = model.table.weight.device if model.config.rows is None else next(model.parameters()).device
    most = max(1, LOGITS // model.config.vocab)
    start = 0
    with _reading(model, int(last_B.max())):
        while start < len(order_B):
            stop = _cut(last_B[order_B], start)
            rows_B, T = order_B[start:stop], int(last_B[order_B[stop - 1]])
            start = stop
            inputs_BT = torch.from_numpy(tokens_BT[rows_B, :T]).to(device)
            here_BT = scored_BT[rows_B, 1 : T + 1]
            numbers_N = number_BT[rows_B, 1 : T + 1][here_BT]
            x_ND = model.hidden(inputs_BT, torch.from_numpy(np.flatnonzero(here_BT)).to(device))
            for first in range(0, len(x_ND), most):
                yield numbers_N[first : first + most], model.unembed(x_ND[first : first + most]).float()


def _cut(lengths_B: np.ndarray, start: int) -> int:
    """Where the next batch ends: rows come shortest first, and the last one sets the width."""
    most = min(len(lengths_B), start + max(1, POSITIONS // int(lengths_B[start])))
    widths = lengths_B[start:most] * np.arange(1, most - start + 1)
    return start + max(1, int(np.searchsorted(widths, POSITIONS, side="right")))


@contextmanager
def _reading(model: Network, positions: int) -> Iterator[None]:
    """No gradients, no dropout, and the kernel that suits so many positions."""
    training, attention = model.training, model.attention
    cpu = next(model.parameters()).device.type == "cpu"
    model.eval()
    model.attention = "matmul" if cpu and positions <= LONGEST_MATMUL_ATTENTION else "sdpa"
    try:
        with torch.no_grad():
            yield
    finally:
        model.attention = attention
        model.train(training)


def _first_is_best(values_NK: np.ndarray) -> np.ndarray:
    best_N1 = values_NK.max(1, keepdims=True)
    ties_N = np.maximum((values_NK == best_N1).sum(1), 1)  # no value equals one that is no number
    return np.where(values_NK[:, 0] == best_N1[:, 0], 1 / ties_N, 0.0)


def _log_share_of_first(values_NK: np.ndarray) -> np.ndarray:
    best_N1 = values_NK.max(1, keepdims=True)
    return values_NK[:, 0] - best_N1[:, 0] - np.log(np.exp(values_NK - best_N1).sum(1))

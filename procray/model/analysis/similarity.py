"""How alike two models see a batch: centred kernel alignment of their hidden states.

Shape suffixes: N positions of many sequences, B sequences, T positions of one, D and E widths, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from procray.errors import ProcrayError
from procray.model.analysis.inside import layers, pieces
from procray.model.network import Network


@torch.no_grad()
def hidden_states(model: Network, batches: Iterable[tuple[Tensor, Tensor | None]], most: int = 1024) -> list[Tensor]:
    """The residual stream at embedding and after every block, over valid positions: L + 1 tensors (N, D), float32.

    At most `most` positions, evenly spread over all valid ones; the same batches give the same positions for every
    model. The last normalisation is left out.

    Raises:
        ProcrayError: as `layers`.
    """
    batches = list(batches)
    valid = sum(int(v.sum()) if v is not None else inputs.shape[0] * inputs.shape[1] for inputs, v in batches)
    chosen = (
        torch.linspace(0, valid - 1, min(most, valid)).round().long() if valid else torch.zeros(0, dtype=torch.long)
    )
    states: list[list[Tensor]] = [[] for _ in range(model.config.layers + 1)]
    start = 0
    for inputs, valid_BT in pieces(model, batches):
        keep = torch.ones(inputs.shape[:2], dtype=torch.bool) if valid_BT is None else valid_BT.cpu()
        count = int(keep.sum())
        here = chosen[(chosen >= start) & (chosen < start + count)] - start
        start += count
        if not len(here):
            continue
        index = keep.flatten().nonzero()[:, 0][here].to(inputs.device)
        for number, layer in enumerate(layers(model, inputs)):
            if number == 0:
                states[0].append(layer.before_BTD.flatten(0, 1)[index].float().cpu())
            states[number + 1].append(layer.after_BTD.flatten(0, 1)[index].float().cpu())
    return [torch.cat(parts) for parts in states]


def cka(X_ND: Tensor, Y_NE: Tensor) -> float:
    """Linear centred kernel alignment of two sets of features of the same N things; the widths may differ.

    With the unbiased estimator of HSIC (Song et al. 2012, as used by Nguyen et al. 2021): 1 for features that differ
    by a rotation and a scale, about 0 for independent ones also when N is not much larger than the widths (then
    the plain form of Kornblith et al. 2019 is far above 0). Can be slightly negative; NaN where features are constant.

    Raises:
        ProcrayError: different N, or fewer than 4.
    """
    return float(_alignment([_centred_kernel(X_ND)], [_centred_kernel(Y_NE)])[0, 0])


def cka_matrix(states: Sequence[Tensor], others: Sequence[Tensor]) -> np.ndarray:
    """`cka` of every pair: (len(states), len(others))."""
    return _alignment([_centred_kernel(x) for x in states], [_centred_kernel(y) for y in others])


def _centred_kernel(X_ND: Tensor) -> Tensor:
    """X X^T with an empty diagonal, centred so that HSIC is the plain inner product of two of them."""
    n = len(X_ND)
    if n < 4:
        raise ProcrayError(f"comparing hidden states needs at least 4 positions, and there are {n}")
    X = X_ND.double()
    X = X - X.mean(0)  # changes nothing in theory, keeps the sums small
    K = X @ X.T
    K.fill_diagonal_(0)
    # The U-centring of Szekely and Rizzo 2014, whose inner product is the unbiased HSIC.
    rows = K.sum(0) / (n - 2)
    K -= rows[:, None]
    K -= rows[None, :]
    K += rows.sum() / (n - 1)
    K.fill_diagonal_(0)
    return K


def _alignment(kernels: Sequence[Tensor], others: Sequence[Tensor]) -> np.ndarray:
    if kernels[0].shape != others[0].shape:
        raise ProcrayError(f"{len(kernels[0])} positions cannot be compared with {len(others[0])}")
    own = [math.sqrt(float((K * K).sum())) for K in kernels]
    their = [math.sqrt(float((K * K).sum())) for K in others]
    table = np.full((len(kernels), len(others)), np.nan)
    for i, K in enumerate(kernels):
        for j, other in enumerate(others):
            if own[i] > 0 and their[j] > 0:
                table[i, j] = float((K * other).sum()) / (own[i] * their[j])
    return table

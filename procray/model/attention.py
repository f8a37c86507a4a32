"""Causal attention: the kernels, and queries at chosen positions only.

Shape suffixes: B sequences, T positions, H heads, E width of one head, D width of all heads, S chosen positions of one
sequence, N chosen positions of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

Kernel = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def _sdpa(q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, dropout: float) -> Tensor:
    return F.scaled_dot_product_attention(q_BHTE, k_BHTE, v_BHTE, dropout_p=dropout, is_causal=True)


@lru_cache(maxsize=256)  # a task may draw its length anew for every batch
def _causal_mask(T: int, device: torch.device) -> Tensor:
    return torch.full((T, T), -math.inf, device=device).triu(1)


def _matmul(q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, dropout: float) -> Tensor:
    B, H, T, E = q_BHTE.shape
    q_BTE, k_BTE, v_BTE = (x.reshape(B * H, T, E) for x in (q_BHTE, k_BHTE, v_BHTE))
    mask_TT = _causal_mask(T, q_BHTE.device)
    scores_BTT = torch.baddbmm(mask_TT, q_BTE, k_BTE.transpose(1, 2), alpha=1 / math.sqrt(E))
    weights_BTT = F.dropout(scores_BTT.softmax(-1), dropout)
    return torch.bmm(weights_BTT, v_BTE).view(B, H, T, E)


# Fused attention is the fast one on CUDA; on a CPU plain products are, up to a few hundred positions.
ATTENTION: dict[str, Kernel] = {"sdpa": _sdpa, "matmul": _matmul}


def attend_at(q_ND: Tensor, k_BTD: Tensor, v_BTD: Tensor, index_N: Tensor, heads: int, dropout: float) -> Tensor:
    """Attention of chosen queries over the keys up to their own positions, (N, D).

    Args:
        q_ND: queries of the positions in `index_N`.
        index_N: ascending flat positions b * T + t.
    """
    B, T, D = k_BTD.shape
    E = D // heads
    row_N = index_N // T
    counts_B = torch.bincount(row_N, minlength=B)
    slot_N = torch.arange(len(index_N), device=index_N.device) - (counts_B.cumsum(0) - counts_B)[row_N]
    S = int(counts_B.max())
    place_N = row_N * S + slot_N
    # Where a sequence has fewer than S queries, a slot without one looks at everything; nobody reads it.
    last_BS = index_N.new_full((B * S,), T).index_copy(0, place_N, index_N % T).view(B, 1, S, 1)
    q_BHSE = q_ND.new_zeros(B * S, D).index_copy(0, place_N, q_ND).view(B, S, heads, E).transpose(1, 2)
    k_BHTE, v_BHTE = (x.view(B, T, heads, E).transpose(1, 2) for x in (k_BTD, v_BTD))
    hidden_BST = torch.arange(T, device=index_N.device) > last_BS
    if S == 1:  # one row against a matrix: products and sums are quicker than many tiny matrix products
        scores_BHST = (q_BHSE * k_BHTE).sum(-1).unsqueeze(2) / math.sqrt(E)
    else:
        scores_BHST = q_BHSE @ k_BHTE.transpose(2, 3) / math.sqrt(E)
    weights_BHST = F.dropout(scores_BHST.masked_fill(hidden_BST, -math.inf).softmax(-1), dropout)
    y_BHSE = (weights_BHST.transpose(2, 3) * v_BHTE).sum(2, keepdim=True) if S == 1 else weights_BHST @ v_BHTE
    return y_BHSE.transpose(1, 2).reshape(B * S, D).index_select(0, place_N)

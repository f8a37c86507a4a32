"""Causal attention: the kernels, and queries at chosen positions only.

Shape suffixes: B sequences (times heads where there is no H), T positions, H heads, E width of one head, D width of all
heads, S chosen positions of one sequence (in `_Blocks` keys up to the end of a block), N chosen positions of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from procray.model.steady import steady_products

# What cutting the queries into blocks costs: more and smaller products. From measurements on a CPU.
MOST_BLOCKS = 4
SMALLEST_BLOCK = {torch.float32: 16, torch.bfloat16: 64}
WORTH_A_BLOCK = 1 << 19  # scores; twice the blocks want four times as many

# Of queries (B, H, T, E), and of keys and values of as many heads or fewer, which several heads in a row then share.
Kernel = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def _sdpa(q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, dropout: float) -> Tensor:
    k_BHTE, v_BHTE = for_each_head(q_BHTE, k_BHTE, v_BHTE)
    return F.scaled_dot_product_attention(q_BHTE, k_BHTE, v_BHTE, dropout_p=dropout, is_causal=True)


def for_each_head(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values for every head, (B, H, T, E), where several heads in a row share one of K."""
    shared = q_BHTE.shape[1] // k_BKTE.shape[1]
    if shared == 1:
        return k_BKTE, v_BKTE
    B, K, T, E = k_BKTE.shape
    k_BHTE, v_BHTE = (x.unsqueeze(2).expand(B, K, shared, T, E).reshape(B, K * shared, T, E) for x in (k_BKTE, v_BKTE))
    return k_BHTE, v_BHTE


@lru_cache(maxsize=256)  # a task may draw its length anew for every batch
def _causal_mask(T: int, device: torch.device) -> Tensor:
    return torch.full((T, T), -math.inf, device=device).triu(1)


def _matmul(q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, dropout: float) -> Tensor:
    B, H, T, E = q_BHTE.shape
    if dropout == 0:
        y_BTE: Tensor = _Blocks.apply(*(x.reshape(-1, T, E) for x in (q_BHTE, k_BHTE, v_BHTE)))
        return y_BTE.view(B, H, T, E)
    q_BTE, k_BTE, v_BTE = (x.reshape(-1, T, E) for x in (q_BHTE, *for_each_head(q_BHTE, k_BHTE, v_BHTE)))
    mask_TT = _causal_mask(T, q_BHTE.device)
    scores_BTT = torch.baddbmm(mask_TT, q_BTE, k_BTE.transpose(1, 2), alpha=1 / math.sqrt(E))
    weights_BTT = F.dropout(_softmax(scores_BTT), dropout)
    return torch.bmm(weights_BTT, v_BTE).view(B, H, T, E)


class _Softmax(torch.autograd.Function):
    """Over the last dimension. On a CPU torch's own gradient rounds by how the rows are shared out among threads."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        weights = scores.softmax(-1)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (g,), (weights,) = gradients, ctx.saved_tensors
        return weights * (g - (g * weights).sum(-1, keepdim=True))


def _softmax(scores: Tensor) -> Tensor:
    if scores.device.type != "cpu" or not steady_products():
        return scores.softmax(-1)
    found: Tensor = _Softmax.apply(scores)
    return found


class _Blocks(torch.autograd.Function):
    """Attention of (B * H, T, E) by plain products, the queries in blocks that look at nothing behind their end.

    Several heads in a row may share keys and values, of which there are fewer then.

    The more scores there are, the more blocks: with four of them three eighths of all products and exponentials are
    never computed. The gradient is written by hand: that of the scores is
    `weights * (upstream v' - sum(upstream * y))`, which fits into one product and one pass.
    """

    @staticmethod
    def forward(ctx: Any, q_BTE: Tensor, k_BTE: Tensor, v_BTE: Tensor) -> Tensor:
        B, T, E = q_BTE.shape
        worth = math.isqrt(B * T * T // WORTH_A_BLOCK)
        count = max(1, min(MOST_BLOCKS, worth, T // SMALLEST_BLOCK.get(q_BTE.dtype, 64)))
        ctx.cuts = [T * block // count for block in range(count + 1)]
        ctx.shared = B // len(k_BTE)
        mask_TT = _causal_mask(T, q_BTE.device).to(q_BTE.dtype)
        y_BTE, weights = torch.empty_like(q_BTE), []
        with torch.autocast(q_BTE.device.type, enabled=False):
            for start, stop in pairwise(ctx.cuts):
                k_BSE, v_BSE = k_BTE[:, :stop], v_BTE[:, :stop]
                mask = mask_TT[start:stop, :stop]
                scores = torch.baddbmm(
                    mask if ctx.shared == 1 else mask.repeat(ctx.shared, 1),
                    _rows(q_BTE, ctx.shared, start, stop),
                    k_BSE.transpose(1, 2),
                    alpha=1 / math.sqrt(E),
                )
                weights.append(scores.softmax(-1))
                y_BTE[:, start:stop] = torch.bmm(weights[-1], v_BSE).view(B, -1, E)
        ctx.save_for_backward(q_BTE, k_BTE, v_BTE, y_BTE, *weights)
        return y_BTE

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (g_BTE,) = gradients
        q_BTE, k_BTE, v_BTE, y_BTE, *weights = ctx.saved_tensors
        B, _, E = q_BTE.shape
        scale = 1 / math.sqrt(E)
        dq_BTE, dk_BTE, dv_BTE = torch.empty_like(q_BTE), torch.zeros_like(k_BTE), torch.zeros_like(v_BTE)
        less_BT1 = (g_BTE * y_BTE).sum(-1, keepdim=True).neg_()
        for weights_BTS, (start, stop) in zip(weights, pairwise(ctx.cuts), strict=True):
            q, g, less = (_rows(x, ctx.shared, start, stop) for x in (q_BTE, g_BTE, less_BT1))
            v_BES = v_BTE[:, :stop].transpose(1, 2)
            scores = torch.baddbmm(less.expand(-1, -1, stop), g, v_BES).mul_(weights_BTS)
            dq_BTE[:, start:stop] = torch.bmm(scores, k_BTE[:, :stop]).view(B, -1, E)
            dk_BTE[:, :stop] += torch.bmm(scores.transpose(1, 2), q)
            dv_BTE[:, :stop] += torch.bmm(weights_BTS.transpose(1, 2), g)
        return dq_BTE.mul_(scale), dk_BTE.mul_(scale), dv_BTE


def _rows(x_BTE: Tensor, shared: int, start: int, stop: int) -> Tensor:
    """Positions `start` to `stop` of every head; heads that share keys and values one below the other."""
    if shared == 1:
        return x_BTE[:, start:stop]
    B, T, E = x_BTE.shape
    return x_BTE.view(B // shared, shared, T, E)[:, :, start:stop].reshape(B // shared, -1, E)


# Fused attention is the fast one on CUDA; on a CPU plain products are, up to a few hundred positions.
ATTENTION: dict[str, Kernel] = {"sdpa": _sdpa, "matmul": _matmul}


def attend_at(q_NHE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, index_N: Tensor, dropout: float) -> Tensor:
    """Attention of chosen queries over the keys up to their own positions, (N, D).

    Args:
        q_NHE: queries of the positions in `index_N`.
        index_N: ascending flat positions b * T + t.
    """
    T, E = k_BHTE.shape[2:]
    B, H = len(k_BHTE), q_NHE.shape[1]
    shared = H // k_BHTE.shape[1]
    if shared > 1:
        k_BHTE, v_BHTE = (x.repeat_interleave(shared, 1) for x in (k_BHTE, v_BHTE))
    row_N = index_N // T
    counts_B = torch.bincount(row_N, minlength=B)
    slot_N = torch.arange(len(index_N), device=index_N.device) - (counts_B.cumsum(0) - counts_B)[row_N]
    S = int(counts_B.max())
    place_N = row_N * S + slot_N
    # Where a sequence has fewer than S queries, a slot without one looks at everything; nobody reads it.
    last_BS = index_N.new_full((B * S,), T).index_copy(0, place_N, index_N % T).view(B, 1, S, 1)
    q_ND = q_NHE.flatten(1)
    q_BHSE = q_ND.new_zeros(B * S, H * E).index_copy(0, place_N, q_ND).view(B, S, H, E).transpose(1, 2)
    hidden_BST = torch.arange(T, device=index_N.device) > last_BS
    if S == 1:  # one row against a matrix: products and sums are quicker than many tiny matrix products
        scores_BHST = (q_BHSE * k_BHTE).sum(-1).unsqueeze(2) / math.sqrt(E)
    else:
        scores_BHST = q_BHSE @ k_BHTE.transpose(2, 3) / math.sqrt(E)
    weights_BHST = F.dropout(_softmax(scores_BHST.masked_fill(hidden_BST, -math.inf)), dropout)
    y_BHSE = (weights_BHST.transpose(2, 3) * v_BHTE).sum(2, keepdim=True) if S == 1 else weights_BHST @ v_BHTE
    return y_BHSE.transpose(1, 2).reshape(B * S, H * E).index_select(0, place_N)

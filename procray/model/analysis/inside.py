"""Runs a model block by block, so that its residual stream and its attention can be seen.

Shape suffixes: B sequences, T positions (queries and keys), D width, H heads, E width of one head, W cells of a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from procray.errors import ProcrayError
from procray.model.attention import for_each_head
from procray.model.network import Network

VALUES_AT_ONCE = 2**25  # attention probabilities held at once, 128 MB


def probabilities(q_BHTE: Tensor, k_BHTE: Tensor) -> Tensor:
    """The probabilities P_BHTT (query, key) with which queries look at keys up to their own position."""
    T = q_BHTE.shape[2]
    scores_BHTT = q_BHTE @ k_BHTE.transpose(2, 3) / math.sqrt(q_BHTE.shape[-1])
    hidden_TT = torch.ones(T, T, dtype=torch.bool, device=q_BHTE.device).triu(1)
    return scores_BHTT.masked_fill(hidden_TT, -math.inf).softmax(-1)


@dataclass(frozen=True)
class Layer:
    """One block at work: the residual stream before and after it, and its attention probabilities."""

    before_BTD: Tensor
    attention_BHTT: Tensor
    after_BTD: Tensor


@torch.no_grad()
def layers(model: Network, inputs: Tensor) -> Iterator[Layer]:
    """The blocks of a model, one after the other, over tokens_BT (or rows_BTW of the row form); no dropout.

    Raises:
        ProcrayError: inputs of the other form, unknown tokens, or more positions than the model has.
    """
    _require_fit(model, inputs)
    was_training = model.training
    model.eval()
    seen: list[Tensor] = []

    def look(q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, dropout: float) -> Tensor:
        k_BHTE, v_BHTE = for_each_head(q_BHTE, k_BHTE, v_BHTE)
        seen.append(probabilities(q_BHTE, k_BHTE))
        return seen[-1] @ v_BHTE

    try:
        x = model.embed(inputs)
        around = model.around(x)
        for block in model.blocks:
            before, x = x, block(x, look, *around)
            yield Layer(before, seen.pop(), x)
    finally:
        model.train(was_training)


def _require_fit(model: Network, inputs: Tensor) -> None:
    config = model.config
    form, wanted = ("rows", 3) if config.rows is not None else ("tokens", 2)
    if inputs.ndim != wanted:
        other = "tokens" if form == "rows" else "rows of a cellular automaton"
        raise ProcrayError(f"this model reads {form}, and was given {other}")
    if config.rows is not None and inputs.shape[2] != config.rows:
        raise ProcrayError(f"rows of {inputs.shape[2]} cells given to a model for rows of {config.rows}")
    if config.rows is None and inputs.numel() and int(inputs.max()) >= config.vocab:
        raise ProcrayError(f"token {int(inputs.max())} given to a model that knows {config.vocab}")


def pieces(model: Network, batches: Iterable[tuple[Tensor, Tensor | None]]) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The batches, cut so that one layer's probabilities stay small."""
    for inputs, valid_BT in batches:
        most = max(1, VALUES_AT_ONCE // (model.config.heads * inputs.shape[1] ** 2))
        for start in range(0, len(inputs), most):
            part = slice(start, start + most)
            yield inputs[part], None if valid_BT is None else valid_BT[part]

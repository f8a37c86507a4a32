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
from procray.model.gpt2 import GPT2, Attention, Block

VALUES_AT_ONCE = 2**25  # attention probabilities held at once, 128 MB


def attention_probabilities(attention: Attention, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
    """The probabilities P_BHTT (query, key) with which a layer looks, and its values V_BHTE.

    `x_BTD` is what the layer reads: the residual stream after `ln_1`. `c_proj` of the heads' P V side by side is the
    layer's output without dropout.
    """
    B, T, D = x_BTD.shape
    q, k, v = (x.view(B, T, attention.heads, -1).transpose(1, 2) for x in attention.c_attn(x_BTD).split(D, dim=2))
    scores_BHTT = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    hidden_TT = torch.ones(T, T, dtype=torch.bool, device=x_BTD.device).triu(1)
    return scores_BHTT.masked_fill(hidden_TT, -math.inf).softmax(-1), v


@dataclass(frozen=True)
class Layer:
    """One block at work: the residual stream before and after it, and its attention probabilities."""

    before_BTD: Tensor
    attention_BHTT: Tensor
    after_BTD: Tensor


@torch.no_grad()
def layers(model: GPT2, inputs: Tensor) -> Iterator[Layer]:
    """The blocks of a model, one after the other, over tokens_BT (or rows_BTW of the row form); no dropout.

    Raises:
        ProcrayError: inputs of the other form, unknown tokens, or more positions than the model has.
    """
    x = _embed(model, inputs)
    was_training = model.training
    model.eval()
    try:
        for block in model.transformer.h:
            assert isinstance(block, Block)
            before = x
            P, v = attention_probabilities(block.attn, block.ln_1(x))
            x = x + block.attn.c_proj((P @ v).transpose(1, 2).flatten(2))
            x = x + block.mlp(block.ln_2(x))
            yield Layer(before, P, x)
    finally:
        model.train(was_training)


def _embed(model: GPT2, inputs: Tensor) -> Tensor:
    config = model.config
    form, wanted = ("rows", 3) if config.rows is not None else ("tokens", 2)
    if inputs.ndim != wanted:
        other = "tokens" if form == "rows" else "rows of a cellular automaton"
        raise ProcrayError(f"this model reads {form}, and was given {other}")
    if inputs.shape[1] > config.context:
        raise ProcrayError(f"{inputs.shape[1]} positions given to a model that has {config.context}")
    if config.rows is not None:
        if inputs.shape[2] != config.rows:
            raise ProcrayError(f"rows of {inputs.shape[2]} cells given to a model for rows of {config.rows}")
        x = model.row_in(inputs.to(model.row_in.weight.dtype))
    else:
        if inputs.numel() and int(inputs.max()) >= config.vocab:
            raise ProcrayError(f"token {int(inputs.max())} given to a model that knows {config.vocab}")
        x = model.transformer.wte(inputs)
    return x + model.transformer.wpe.weight[: inputs.shape[1]]


def pieces(model: GPT2, batches: Iterable[tuple[Tensor, Tensor | None]]) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The batches, cut so that one layer's probabilities stay small."""
    for inputs, valid_BT in batches:
        most = max(1, VALUES_AT_ONCE // (model.config.heads * inputs.shape[1] ** 2))
        for start in range(0, len(inputs), most):
            part = slice(start, start + most)
            yield inputs[part], None if valid_BT is None else valid_BT[part]

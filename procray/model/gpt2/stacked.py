"""Several GPT-2s of one shape computed as one; see `procray.model.pack`.

Shape suffixes: M models, B sequences, T positions, N positions of all sequences, D width, S scored positions,
V vocabulary.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from procray.model.attention import Kernel
from procray.model.gpt2.shape import GPT2Config
from procray.model.stacked import Weights, looked_up, normalised, of_block, scored, split_heads, stacked_product


def logits(config: GPT2Config, kernel: Kernel, weights: Weights, tokens_MBT: Tensor, index_MS: Tensor) -> Tensor:
    """`logits_MSV` of chosen flat positions of every model."""
    T = tokens_MBT.shape[2]
    x_MBTD = looked_up(weights["transformer.wte.weight"], tokens_MBT)
    x_MND = (x_MBTD + weights["transformer.wpe.weight"][:, None, :T]).flatten(1, 2)
    for layer in range(config.layers):
        own = of_block(weights, f"transformer.h.{layer}.")
        x_MND = x_MND + _attention(config, kernel, own, normalised(own, "ln_1", x_MND), T)
        hidden_MND = F.gelu(_projected(own, "mlp.c_fc", normalised(own, "ln_2", x_MND)), approximate="tanh")
        x_MND = x_MND + _projected(own, "mlp.c_proj", hidden_MND)
    x_MSD = normalised(weights, "transformer.ln_f", scored(x_MND, index_MS))
    head_MVD = weights["transformer.wte.weight" if config.tied else "lm_head.weight"]
    return stacked_product(x_MSD, head_MVD)


def _attention(config: GPT2Config, kernel: Kernel, own: Weights, x_MND: Tensor, T: int) -> Tensor:
    D = config.width
    q, k, v = (split_heads(x, T, config.heads) for x in _projected(own, "attn.c_attn", x_MND).split(D, dim=2))
    y_BHTE = kernel(q, k, v, 0.0)
    return _projected(own, "attn.c_proj", y_BHTE.transpose(1, 2).reshape(x_MND.shape))


def _projected(weights: Weights, name: str, x_MND: Tensor) -> Tensor:
    return weights[f"{name}.bias"][:, None].baddbmm(x_MND, weights[f"{name}.weight"])

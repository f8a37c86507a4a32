"""Several Llamas of one shape computed as one; see `procray.model.pack`.

Shape suffixes: M models, T positions, N positions of all sequences, S scored positions, V vocabulary, D width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from procray.model.attention import Kernel
from procray.model.llama.shape import LlamaConfig
from procray.model.rotary import rotary_tables, turned
from procray.model.stacked import Weights, looked_up, of_block, scored, split_heads, stacked_product


def logits(config: LlamaConfig, kernel: Kernel, weights: Weights, tokens_MBT: Tensor, index_MS: Tensor) -> Tensor:
    """`logits_MSV` of chosen flat positions of every model."""
    T = tokens_MBT.shape[2]
    x_MND = looked_up(weights["model.embed_tokens.weight"], tokens_MBT).flatten(1, 2)
    cos_TR, sin_TR = rotary_tables(T, config.head, config.rotary_base, x_MND.device)
    for layer in range(config.layers):
        own = of_block(weights, f"model.layers.{layer}.")
        read_MND = _normalised(config, own["input_layernorm.weight"], x_MND)
        q, k, v = (
            split_heads(stacked_product(read_MND, own[f"self_attn.{name}_proj.weight"]), T, heads)
            for name, heads in (("q", config.heads), ("k", config.groups), ("v", config.groups))
        )
        y_BHTE = kernel(turned(q, cos_TR, sin_TR), turned(k, cos_TR, sin_TR), v, 0.0)
        y_MND = y_BHTE.transpose(1, 2).reshape(x_MND.shape)
        x_MND = x_MND + stacked_product(y_MND, own["self_attn.o_proj.weight"])
        read_MND = _normalised(config, own["post_attention_layernorm.weight"], x_MND)
        gate_MND = F.silu(stacked_product(read_MND, own["mlp.gate_proj.weight"]))
        inner_MND = gate_MND * stacked_product(read_MND, own["mlp.up_proj.weight"])
        x_MND = x_MND + stacked_product(inner_MND, own["mlp.down_proj.weight"])
    x_MSD = _normalised(config, weights["model.norm.weight"], scored(x_MND, index_MS))
    return stacked_product(x_MSD, weights["model.embed_tokens.weight" if config.tied else "lm_head.weight"])


def _normalised(config: LlamaConfig, gain_MD: Tensor, x_MND: Tensor) -> Tensor:
    return F.rms_norm(x_MND, x_MND.shape[-1:], eps=config.norm_eps) * gain_MD[:, None]

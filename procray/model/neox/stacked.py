"""Several GPT-NeoX of one shape computed as one; see `procray.model.pack`.

Shape suffixes: M models, B sequences, T positions, N positions of all sequences, S scored positions, V vocabulary.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from procray.model.attention import Kernel
from procray.model.neox.shape import NeoXConfig
from procray.model.rotary import rotary_tables, turned
from procray.model.stacked import Weights, looked_up, normalised, of_block, scored, stacked_product


def logits(config: NeoXConfig, kernel: Kernel, weights: Weights, tokens_MBT: Tensor, index_MS: Tensor) -> Tensor:
    """`logits_MSV` of chosen flat positions of every model."""
    eps, T = config.norm_eps, tokens_MBT.shape[2]
    x_MND = looked_up(weights["gpt_neox.embed_in.weight"], tokens_MBT).flatten(1, 2)
    cos_TR, sin_TR = rotary_tables(T, config.turned, config.rotary_base, x_MND.device)
    for layer in range(config.layers):
        own = of_block(weights, f"gpt_neox.layers.{layer}.")
        qkv_MND = _projected(own, "attention.query_key_value", normalised(own, "input_layernorm", x_MND, eps))
        q, k, v = (
            x.transpose(1, 2)
            for x in qkv_MND.reshape(-1, T, config.heads, 3, qkv_MND.shape[2] // 3 // config.heads).unbind(3)
        )
        y_BHTE = kernel(turned(q, cos_TR, sin_TR), turned(k, cos_TR, sin_TR), v, 0.0)
        y_MND = x_MND + _projected(own, "attention.dense", y_BHTE.transpose(1, 2).reshape(x_MND.shape))
        read_MND = x_MND if config.parallel_residual else y_MND
        inner_MND = _projected(own, "mlp.dense_h_to_4h", normalised(own, "post_attention_layernorm", read_MND, eps))
        x_MND = y_MND + _projected(own, "mlp.dense_4h_to_h", F.gelu(inner_MND))
    x_MSD = normalised(weights, "gpt_neox.final_layer_norm", scored(x_MND, index_MS), eps)
    return stacked_product(x_MSD, weights["gpt_neox.embed_in.weight" if config.tied else "embed_out.weight"])


def _projected(weights: Weights, name: str, x_MND: Tensor) -> Tensor:
    return weights[f"{name}.bias"][:, None].baddbmm(x_MND, weights[f"{name}.weight"].transpose(1, 2))

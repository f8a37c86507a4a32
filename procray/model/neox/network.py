"""GPT-NeoX, with the parameter names and layout of transformers' GPTNeoXForCausalLM.

Shape suffixes: B sequences, T positions, D width, H heads, E width of one head, N scored positions, R turned pairs.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from procray.model.attention import Kernel, attend_at
from procray.model.bare import Embedding, Linear
from procray.model.neox.shape import NeoXConfig
from procray.model.network import Block, Network
from procray.model.norms import Norm
from procray.model.rotary import projected, rotary_tables, split_heads, turned


def _side_by_side(x_BTHPE: Tensor) -> tuple[Tensor, ...]:
    return x_BTHPE.unbind(3)


class Attention(nn.Module):
    def __init__(self, config: NeoXConfig):
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.query_key_value = Linear(config.width, 3 * config.width)
        self.dense = Linear(config.width, config.width)

    def forward(self, x_BTD: Tensor, kernel: Kernel, cos_TR: Tensor, sin_TR: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        qkv = projected(x_BTD, self.query_key_value.weight, self.query_key_value.bias, self.heads, 3)
        q, k, v = split_heads(qkv, _side_by_side, 2, cos_TR, sin_TR)
        y_BHTE = kernel(q, k, v, self.dropout if self.training else 0.0)
        return F.dropout(self.dense(y_BHTE.transpose(1, 2).reshape(B, T, D)), self.dropout, self.training)

    def at(self, x_BTD: Tensor, index_N: Tensor, cos_TR: Tensor, sin_TR: Tensor) -> Tensor:
        """The same at chosen flat positions only, (N, D)."""
        T, D = x_BTD.shape[1:]
        weight = self.query_key_value.weight.view(self.heads, 3, -1, D)
        bias = self.query_key_value.bias.view(self.heads, 3, -1)
        kv = projected(x_BTD, weight[:, 1:].reshape(2 * D, D), bias[:, 1:].reshape(2 * D), self.heads, 2)
        k, v = split_heads(kv, _side_by_side, 1, cos_TR, sin_TR)
        x_ND = x_BTD.flatten(0, 1).index_select(0, index_N)
        q_NHE = F.linear(x_ND, weight[:, 0].reshape(D, D), bias[:, 0].reshape(D)).view(len(x_ND), self.heads, -1)
        place_N = index_N % T
        q_NHE = turned(q_NHE, cos_TR[place_N, None], sin_TR[place_N, None])
        y_ND = attend_at(q_NHE, k, v, index_N, self.dropout if self.training else 0.0)
        return F.dropout(self.dense(y_ND), self.dropout, self.training)


class MLP(nn.Module):
    def __init__(self, config: NeoXConfig):
        super().__init__()
        assert config.inner is not None
        self.dropout = config.dropout
        self.dense_h_to_4h = Linear(config.width, config.inner)
        self.dense_4h_to_h = Linear(config.inner, config.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return F.dropout(self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(x_BTD))), self.dropout, self.training)


class NeoXBlock(Block):
    def __init__(self, config: NeoXConfig):
        super().__init__()
        self.parallel = config.parallel_residual
        self.input_layernorm = Norm(config.width, eps=config.norm_eps)
        self.post_attention_layernorm = Norm(config.width, eps=config.norm_eps)
        self.attention = Attention(config)
        self.mlp = MLP(config)

    def forward(self, x_BTD: Tensor, kernel: Kernel, *around: Tensor) -> Tensor:
        y_BTD = x_BTD + self.attention(self.input_layernorm(x_BTD), kernel, *around)
        return y_BTD + self.mlp(self.post_attention_layernorm(x_BTD if self.parallel else y_BTD))

    def at(self, x_BTD: Tensor, index_N: Tensor, *around: Tensor) -> Tensor:
        x_ND = x_BTD.flatten(0, 1).index_select(0, index_N)
        y_ND = x_ND + self.attention.at(self.input_layernorm(x_BTD), index_N, *around)
        return y_ND + self.mlp(self.post_attention_layernorm(x_ND if self.parallel else y_ND))

    @property
    def halves(self) -> tuple[nn.Module, nn.Module]:
        return self.attention, self.mlp


class Body(nn.Module):
    """The place of embeddings, blocks and the last normalisation in transformers' names."""

    def __init__(self, config: NeoXConfig):
        super().__init__()
        if config.rows is None:
            self.embed_in = Embedding(config.vocab, config.width)
        self.layers = nn.ModuleList(NeoXBlock(config) for _ in range(config.layers))
        self.final_layer_norm = Norm(config.width, eps=config.norm_eps)


class NeoX(Network):
    """A GPT-NeoX; see `Network`."""

    config: NeoXConfig

    def build(self, config: NeoXConfig) -> None:
        self.gpt_neox = Body(config)

    def build_head(self, config: NeoXConfig) -> None:
        self.embed_out = Linear(config.width, config.vocab, bias=False)

    @property
    def table(self) -> nn.Embedding:
        return self.gpt_neox.embed_in

    @property
    def untied(self) -> nn.Linear:
        return self.embed_out

    @property
    def blocks(self) -> nn.ModuleList:
        return self.gpt_neox.layers

    @property
    def last_norm(self) -> Norm:
        return self.gpt_neox.final_layer_norm

    def begin(self, x_BTD: Tensor) -> Tensor:
        return F.dropout(x_BTD, self.config.dropout, self.training)

    def around(self, x_BTD: Tensor) -> tuple[Tensor, ...]:
        return rotary_tables(x_BTD.shape[1], self.config.turned, self.config.rotary_base, x_BTD.device)

    def spread(self, parameter: str) -> float | None:
        """Pythia's: sqrt(2 / 5 D), and 2 / (L sqrt(D)) in what writes into the residual stream."""
        if "norm" in parameter:
            return None
        D = self.config.width
        last = parameter.endswith(("attention.dense.weight", "dense_4h_to_h.weight"))
        return 2 / (self.config.layers * math.sqrt(D)) if last else math.sqrt(2 / (5 * D))

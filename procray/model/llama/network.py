"""Llama, with the parameter names and layout of transformers' LlamaForCausalLM.

Shape suffixes: B sequences, T positions, D width, H heads, S heads of queries, keys and values one after the other,
E width of one head, N scored positions, R turned pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from procray.model.attention import Kernel, attend_at
from procray.model.bare import Embedding, Linear
from procray.model.llama.shape import LlamaConfig
from procray.model.network import Block, Network
from procray.model.norms import RMSNorm
from procray.model.rotary import projected, rotary_tables, split_heads, turned
from procray.model.swiglu import swiglu


def _linear(width_in: int, width_out: int) -> nn.Linear:
    return Linear(width_in, width_out, bias=False)


class Attention(nn.Module):
    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.heads, self.groups, self.dropout = config.heads, config.groups, config.dropout
        self.q_proj = _linear(config.width, config.width)
        self.k_proj = _linear(config.width, config.groups * config.head)
        self.v_proj = _linear(config.width, config.groups * config.head)
        self.o_proj = _linear(config.width, config.width)

    def forward(self, x_BTD: Tensor, kernel: Kernel, cos_TR: Tensor, sin_TR: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        # One product in place of three: joining the weights costs far less than it saves.
        weight = torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight))
        qkv_BTSE = projected(x_BTD, weight, None, self.heads + 2 * self.groups)
        q, k, v = split_heads(qkv_BTSE, self._parts, 2, cos_TR, sin_TR)
        y_BHTE = kernel(q, k, v, self.dropout if self.training else 0.0)
        return self.o_proj(y_BHTE.transpose(1, 2).reshape(B, T, D))

    def _parts(self, x_BTSE: Tensor) -> tuple[Tensor, ...]:
        return x_BTSE.split((self.heads, self.groups, self.groups), 2)

    def _shared(self, x_BTSE: Tensor) -> tuple[Tensor, ...]:
        return x_BTSE.split(self.groups, 2)

    def at(self, x_BTD: Tensor, index_N: Tensor, cos_TR: Tensor, sin_TR: Tensor) -> Tensor:
        """The same at chosen flat positions only, (N, D)."""
        T = x_BTD.shape[1]
        kv = projected(x_BTD, torch.cat((self.k_proj.weight, self.v_proj.weight)), None, 2 * self.groups)
        k, v = split_heads(kv, self._shared, 1, cos_TR, sin_TR)
        x_ND = x_BTD.flatten(0, 1).index_select(0, index_N)
        place_N = index_N % T
        q_NHE = self.q_proj(x_ND).view(len(x_ND), self.heads, -1)
        q_NHE = turned(q_NHE, cos_TR[place_N, None], sin_TR[place_N, None])
        return self.o_proj(attend_at(q_NHE, k, v, index_N, self.dropout if self.training else 0.0))


class MLP(nn.Module):
    def __init__(self, config: LlamaConfig):
        super().__init__()
        assert config.inner is not None
        self.gate_proj = _linear(config.width, config.inner)
        self.up_proj = _linear(config.width, config.inner)
        self.down_proj = _linear(config.inner, config.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(swiglu(self.gate_proj(x_BTD), self.up_proj(x_BTD)))


class LlamaBlock(Block):
    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.width, config.norm_eps)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_eps)

    def forward(self, x_BTD: Tensor, kernel: Kernel, *around: Tensor) -> Tensor:
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), kernel, *around)
        return x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))

    def at(self, x_BTD: Tensor, index_N: Tensor, *around: Tensor) -> Tensor:
        y_ND = self.self_attn.at(self.input_layernorm(x_BTD), index_N, *around)
        x_ND = x_BTD.flatten(0, 1).index_select(0, index_N) + y_ND
        return x_ND + self.mlp(self.post_attention_layernorm(x_ND))

    @property
    def halves(self) -> tuple[nn.Module, nn.Module]:
        return self.self_attn, self.mlp


class Body(nn.Module):
    """The place of embeddings, blocks and the last normalisation in transformers' names."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        if config.rows is None:
            self.embed_tokens = Embedding(config.vocab, config.width)
        self.layers = nn.ModuleList(LlamaBlock(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_eps)


class Llama(Network):
    """A Llama; see `Network`."""

    config: LlamaConfig

    def build(self, config: LlamaConfig) -> None:
        self.model = Body(config)

    def build_head(self, config: LlamaConfig) -> None:
        self.lm_head = _linear(config.width, config.vocab)

    @property
    def table(self) -> nn.Embedding:
        return self.model.embed_tokens

    @property
    def untied(self) -> nn.Linear:
        return self.lm_head

    @property
    def blocks(self) -> nn.ModuleList:
        return self.model.layers

    @property
    def last_norm(self) -> RMSNorm:
        return self.model.norm

    def around(self, x_BTD: Tensor) -> tuple[Tensor, ...]:
        return rotary_tables(x_BTD.shape[1], self.config.head, self.config.rotary_base, x_BTD.device)

    def spread(self, parameter: str) -> float | None:
        """One deviation for all, as transformers draws them."""
        return None if "norm" in parameter else self.config.init_std

"""GPT-2, with the parameter names and the (in, out) layout of transformers' GPT2LMHeadModel.

Shape suffixes: B sequences, T positions, D width, H heads, E width of one head, N scored positions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from procray.model.attention import Kernel, attend_at
from procray.model.bare import Embedding, Linear
from procray.model.gelu import gelu
from procray.model.gpt2.shape import GPT2Config
from procray.model.network import Block, Network
from procray.model.norms import Norm


class Projection(nn.Module):
    """x W + b with W stored (in, out), as GPT-2's checkpoints store it."""

    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_in, width_out))
        self.bias = nn.Parameter(torch.empty(width_out))

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_ND = torch.addmm(self.bias, x_BTD.reshape(-1, x_BTD.shape[-1]), self.weight)
        return y_ND.view(*x_BTD.shape[:-1], -1)


class Attention(nn.Module):
    def __init__(self, config: GPT2Config):
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.c_attn = Projection(config.width, 3 * config.width)
        self.c_proj = Projection(config.width, config.width)

    def forward(self, x_BTD: Tensor, kernel: Kernel) -> Tensor:
        B, T, D = x_BTD.shape
        q, k, v = (x.view(B, T, self.heads, -1).transpose(1, 2) for x in self.c_attn(x_BTD).split(D, dim=2))
        y_BHTE = kernel(q, k, v, self.dropout if self.training else 0.0)
        return F.dropout(self.c_proj(y_BHTE.transpose(1, 2).reshape(B, T, D)), self.dropout, self.training)

    def at(self, x_BTD: Tensor, index_N: Tensor) -> Tensor:
        """The same at chosen flat positions only, (N, D)."""
        B, T, D = x_BTD.shape
        x_ND = x_BTD.flatten(0, 1)
        weight, bias = self.c_attn.weight, self.c_attn.bias
        kv_BTD = torch.addmm(bias[D:], x_ND, weight[:, D:]).view(B, T, 2 * D).split(D, dim=2)
        q_ND = torch.addmm(bias[:D], x_ND.index_select(0, index_N), weight[:, :D])
        k_BHTE, v_BHTE = (x.view(B, T, self.heads, -1).transpose(1, 2) for x in kv_BTD)
        dropout = self.dropout if self.training else 0.0
        y_ND = attend_at(q_ND.view(len(q_ND), self.heads, -1), k_BHTE, v_BHTE, index_N, dropout)
        return F.dropout(self.c_proj(y_ND), self.dropout, self.training)


class MLP(nn.Module):
    def __init__(self, config: GPT2Config):
        super().__init__()
        self.dropout = config.dropout
        self.c_fc = Projection(config.width, 4 * config.width)
        self.c_proj = Projection(4 * config.width, config.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return F.dropout(self.c_proj(gelu(self.c_fc(x_BTD))), self.dropout, self.training)


class GPT2Block(Block):
    def __init__(self, config: GPT2Config):
        super().__init__()
        self.ln_1 = Norm(config.width)
        self.attn = Attention(config)
        self.ln_2 = Norm(config.width)
        self.mlp = MLP(config)

    def forward(self, x_BTD: Tensor, kernel: Kernel, *around: Tensor) -> Tensor:
        x_BTD = x_BTD + self.attn(self.ln_1(x_BTD), kernel)
        return x_BTD + self.mlp(self.ln_2(x_BTD))

    def at(self, x_BTD: Tensor, index_N: Tensor, *around: Tensor) -> Tensor:
        x_ND = x_BTD.flatten(0, 1).index_select(0, index_N) + self.attn.at(self.ln_1(x_BTD), index_N)
        return x_ND + self.mlp(self.ln_2(x_ND))

    @property
    def halves(self) -> tuple[nn.Module, nn.Module]:
        return self.attn, self.mlp


class Transformer(nn.Module):
    """The place of embeddings, blocks and the last normalisation in transformers' names."""

    def __init__(self, config: GPT2Config):
        super().__init__()
        if config.rows is None:
            self.wte = Embedding(config.vocab, config.width)
        self.wpe = Embedding(config.context, config.width)
        self.h = nn.ModuleList(GPT2Block(config) for _ in range(config.layers))
        self.ln_f = Norm(config.width)


class GPT2(Network):
    """A GPT-2; see `Network`."""

    def build(self, config: GPT2Config) -> None:
        self.transformer = Transformer(config)

    def build_head(self, config: GPT2Config) -> None:
        self.lm_head = Linear(config.width, config.vocab, bias=False)

    @property
    def table(self) -> nn.Embedding:
        return self.transformer.wte

    @property
    def untied(self) -> nn.Linear:
        return self.lm_head

    @property
    def blocks(self) -> nn.ModuleList:
        return self.transformer.h

    @property
    def last_norm(self) -> Norm:
        return self.transformer.ln_f

    def begin(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.transformer.wpe.weight[: x_BTD.shape[1]]
        return F.dropout(x_BTD, self.config.dropout, self.training)

    def spread(self, parameter: str) -> float | None:
        """N(0, 0.02), residual projections divided by sqrt(2 L), as GPT-2 does."""
        if ".ln_" in parameter:
            return None
        return 0.02 / math.sqrt(2 * self.config.layers) if parameter.endswith("c_proj.weight") else 0.02

"""GPT-2, with the parameter names and the (in, out) layout of transformers' GPT2LMHeadModel.

Shape suffixes: B sequences, T positions, D width, H heads, E width of one head, V vocabulary,
W cells of an automaton's row, N scored positions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from procray.errors import ProcrayError
from procray.model.attention import ATTENTION, Kernel, attend_at
from procray.model.components import component_of
from procray.model.draws import draw_key
from procray.model.gelu import gelu
from procray.model.shape import GPT2Config
from procray.model.steady import steady_products


class Projection(nn.Module):
    """x W + b with W stored (in, out), as GPT-2's checkpoints store it."""

    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_in, width_out))
        self.bias = nn.Parameter(torch.empty(width_out))

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_ND = torch.addmm(self.bias, x_BTD.reshape(-1, x_BTD.shape[-1]), self.weight)
        return y_ND.view(*x_BTD.shape[:-1], -1)


class Norm(nn.LayerNorm):
    """LayerNorm whose gradients do not depend on the number of threads where that was asked for.

    On a CPU torch's own kernel adds the gradients of scale and shift up in as many parts as there are threads. With
    scale and shift apart from the normalisation every column is added up in one order.
    """

    def forward(self, x_BTD: Tensor) -> Tensor:
        if x_BTD.device.type != "cpu" or not steady_products():
            return super().forward(x_BTD)
        return torch.addcmul(self.bias, F.layer_norm(x_BTD, self.normalized_shape, eps=self.eps), self.weight)


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
        k_BTD, v_BTD = torch.addmm(bias[D:], x_ND, weight[:, D:]).view(B, T, 2 * D).split(D, dim=2)
        q_ND = torch.addmm(bias[:D], x_ND.index_select(0, index_N), weight[:, :D])
        y_ND = attend_at(q_ND, k_BTD, v_BTD, index_N, self.heads, self.dropout if self.training else 0.0)
        return F.dropout(self.c_proj(y_ND), self.dropout, self.training)


class MLP(nn.Module):
    def __init__(self, config: GPT2Config):
        super().__init__()
        self.dropout = config.dropout
        self.c_fc = Projection(config.width, 4 * config.width)
        self.c_proj = Projection(4 * config.width, config.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return F.dropout(self.c_proj(gelu(self.c_fc(x_BTD))), self.dropout, self.training)


class Block(nn.Module):
    def __init__(self, config: GPT2Config):
        super().__init__()
        self.ln_1 = Norm(config.width)
        self.attn = Attention(config)
        self.ln_2 = Norm(config.width)
        self.mlp = MLP(config)

    def forward(self, x_BTD: Tensor, kernel: Kernel) -> Tensor:
        x_BTD = x_BTD + self.attn(self.ln_1(x_BTD), kernel)
        return x_BTD + self.mlp(self.ln_2(x_BTD))

    def at(self, x_BTD: Tensor, index_N: Tensor) -> Tensor:
        """The same at chosen flat positions only, (N, D): all that a last block has to give."""
        x_ND = x_BTD.flatten(0, 1).index_select(0, index_N) + self.attn.at(self.ln_1(x_BTD), index_N)
        return x_ND + self.mlp(self.ln_2(x_ND))


class Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """Draws nothing, for `initialise` does."""


class Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """See Embedding."""


class Transformer(nn.Module):
    """Embeddings, blocks and the last normalisation; the row form has no token embedding."""

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.dropout = config.dropout
        self.recompute = False
        if config.rows is None:
            self.wte = Embedding(config.vocab, config.width)
        self.wpe = Embedding(config.context, config.width)
        self.h = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = Norm(config.width)

    def forward(self, x_BTD: Tensor, kernel: Kernel, index_N: Tensor | None = None) -> Tensor:
        x_BTD = F.dropout(x_BTD + self.wpe.weight[: x_BTD.shape[1]], self.dropout, self.training)
        again = self.recompute and torch.is_grad_enabled()
        for block in self.h[:-1]:
            x_BTD = checkpoint(block, x_BTD, kernel, use_reentrant=False) if again else block(x_BTD, kernel)
        last: Block = self.h[-1]  # type: ignore[assignment]
        return self.ln_f(last(x_BTD, kernel) if index_N is None else last.at(x_BTD, index_N))


class GPT2(nn.Module):
    """A GPT-2 over tokens or, with `config.rows`, over rows of a cellular automaton.

    `attention` names the implementation, "sdpa" or "matmul"; `transformer.recompute` says that the backward pass
    computes each block but the last again, so that only its input has to be kept. Both may be changed at any time.

    Args:
        config: the shape.
        seed, role: the weights are those of `initialise(model, seed, role)`; without a seed one comes from torch's
            own generator, as in other torch modules. On the device "meta" nothing is drawn.
    """

    def __init__(self, config: GPT2Config, seed: int | None = None, role: str = ""):
        super().__init__()
        self.config = config
        self.attention = "sdpa"
        self.transformer = Transformer(config)
        if config.rows is not None:
            self.row_in = Linear(config.rows, config.width)
            self.row_out = Linear(config.width, config.rows)
        elif not config.tied:
            self.lm_head = Linear(config.width, config.vocab, bias=False)
        initialise(self, int(torch.randint(2**31, (), device="cpu")) if seed is None else seed, role)

    def hidden(self, tokens_BT: Tensor, index_N: Tensor | None = None) -> Tensor:
        """The last hidden states x_BTD, after `ln_f`; or x_ND of the ascending flat positions b * T + t in `index_N`.

        The row form takes rows_BTW of any type. What the last block gives elsewhere nobody reads, so with
        few chosen positions most of its work is saved.

        Raises:
            ProcrayError: more positions than the model has.
        """
        B, T = tokens_BT.shape[:2]
        if tokens_BT.shape[1] > self.config.context:
            raise ProcrayError(f"{T} positions given to a model that has {self.config.context}")
        kernel = ATTENTION[self.attention]
        if self.config.rows is None:
            x_BTD = self.transformer.wte(tokens_BT)
        else:
            x_BTD = self.row_in(tokens_BT.to(self.row_in.weight.dtype))
        if index_N is None:
            return self.transformer(x_BTD, kernel)
        # Finding the queries of each sequence waits for the device, and compiled blocks want fixed shapes.
        if self.attention == "matmul" and 2 * len(index_N) <= B * T:
            return self.transformer(x_BTD, kernel, index_N)
        return self.transformer(x_BTD, kernel).flatten(0, 1).index_select(0, index_N)

    def unembed(self, x_ND: Tensor) -> Tensor:
        """Logits of hidden states of any leading shape: (..., V), or (..., W) in the row form."""
        logits = F.linear(x_ND, *self.head())
        wanted = self.config.rows or self.config.vocab
        return logits if logits.shape[-1] == wanted else logits[..., :wanted]

    def head(self) -> tuple[Tensor, Tensor | None]:
        """The matrix of the logits and what is added to them. Padding up to `pad_vocab` gives logits of -inf."""
        if self.config.rows is not None:
            return self.row_out.weight, self.row_out.bias
        weight_VD = self.transformer.wte.weight if self.config.tied else self.lm_head.weight
        missing = -self.config.vocab % self.config.pad_vocab
        if missing == 0:
            return weight_VD, None
        # Padding here, not in the parameter, costs one copy of the matrix (as mixed precision does anyway)
        # and keeps the padding out of checkpoints, optimiser states and gradient norms. Adding -inf costs nothing
        # within the product, where cutting the padding off would copy the logits and their gradients.
        bias_V = F.pad(weight_VD.new_zeros(self.config.vocab), (0, missing), value=-math.inf)
        return F.pad(weight_VD, (0, 0, 0, missing)), bias_V

    def forward(self, tokens_BT: Tensor, scored_N: Tensor | None = None) -> Tensor:
        """Logits of every position, (B, T, V); or (N, V) of the ascending flat positions b * T + t in `scored_N`.

        The row form takes rows_BTW and gives W in place of V. Computing only what is scored saves
        most of the head's work, and of the last block's, where few positions carry a loss.
        """
        return self.unembed(self.hidden(tokens_BT, scored_N))


@torch.no_grad()
def initialise(model: GPT2, seed: int, role: str = "") -> None:
    """Draws GPT-2's initial weights in place: N(0, 0.02), residual projections divided by sqrt(2 L), normalisations 1.

    Every parameter has a generator of its own, keyed by the seed, the role and the parameter's name, on the CPU:
    another vocabulary, context or head leaves the blocks as they were, and every device gets the same bits. Models of
    one seed and two roles are independent; see `procray.model.draws`.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            continue
        if name.endswith("bias"):
            parameter.zero_()
        elif component_of(name) == "layernorm":
            parameter.fill_(1.0)
        else:
            std = 0.02 / math.sqrt(2 * model.config.layers) if name.endswith("c_proj.weight") else 0.02
            generator = torch.Generator("cpu").manual_seed(draw_key(seed, role, name))
            parameter.copy_(torch.empty(parameter.shape, device="cpu").normal_(0.0, std, generator=generator))

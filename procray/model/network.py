"""What the networks of all families share: embedding, the run through the blocks, head, initial weights.

Shape suffixes: B sequences, T positions, D width, V vocabulary, W cells of an automaton's row, N scored positions.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from procray.errors import ProcrayError
from procray.model.attention import ATTENTION, Kernel
from procray.model.bare import Linear
from procray.model.draws import draw_key
from procray.model.family import ModelConfig


class Block(nn.Module):
    """A block of a network."""

    @abstractmethod
    def forward(self, x_BTD: Tensor, kernel: Kernel, *around: Tensor) -> Tensor:
        """The residual stream behind it; `around` is what `Network.around` gives to every block."""

    @abstractmethod
    def at(self, x_BTD: Tensor, index_N: Tensor, *around: Tensor) -> Tensor:
        """The same at chosen flat positions only, (N, D): all that a last block has to give."""

    @property
    @abstractmethod
    def halves(self) -> tuple[nn.Module, nn.Module]:
        """Its attention, which has a method `at`, and its MLP: what is gathered at once where weights are spread."""


class Network(nn.Module):
    """A causal language model over tokens or, with `config.rows`, over rows of a cellular automaton.

    `attention` names the implementation, "sdpa" or "matmul"; `recompute` says that the backward pass computes each
    block but the last again, so that only its input has to be kept. Both may be changed at any time.

    Args:
        config: the shape.
        seed, role: the weights are those of `initialise(model, seed, role)`; without a seed one comes from torch's
            own generator, as in other torch modules. On the device "meta" nothing is drawn.
    """

    config: ModelConfig

    def __init__(self, config: Any, seed: int | None = None, role: str = ""):
        super().__init__()
        self.config = config
        self.attention = "sdpa"
        self.recompute = False
        self.build(config)
        if config.rows is not None:
            self.row_in = Linear(config.rows, config.width)
            self.row_out = Linear(config.width, config.rows)
        elif not config.tied:
            self.build_head(config)
        initialise(self, int(torch.randint(2**31, (), device="cpu")) if seed is None else seed, role)

    @abstractmethod
    def build(self, config: Any) -> None:
        """Makes the modules up to the last normalisation; the row form has no token embedding."""

    @abstractmethod
    def build_head(self, config: Any) -> None:
        """Makes the matrix of an untied head."""

    @property
    @abstractmethod
    def table(self) -> nn.Embedding:
        """The token embedding."""

    @property
    @abstractmethod
    def untied(self) -> nn.Linear:
        """An untied head."""

    @property
    @abstractmethod
    def blocks(self) -> nn.ModuleList: ...

    @property
    @abstractmethod
    def last_norm(self) -> Callable[[Tensor], Tensor]: ...

    @abstractmethod
    def spread(self, parameter: str) -> float | None:
        """The standard deviation that a parameter is drawn with; None for the gain of a normalisation, which is 1."""

    def begin(self, x_BTD: Tensor) -> Tensor:
        """What is done to the embeddings before the first block."""
        return x_BTD

    def around(self, x_BTD: Tensor) -> tuple[Tensor, ...]:
        """What every block gets beside the residual stream."""
        return ()

    def embed(self, inputs: Tensor) -> Tensor:
        """x_BTD of tokens_BT, or of rows_BTW of any type, as the first block gets them.

        Raises:
            ProcrayError: more positions than the model has.
        """
        T = inputs.shape[1]
        if self.config.context < T:
            raise ProcrayError(f"{T} positions given to a model that has {self.config.context}")
        if self.config.rows is None:
            return self.begin(self.table(inputs))
        return self.begin(self.row_in(inputs.to(self.row_in.weight.dtype)))

    def hidden(self, inputs: Tensor, index_N: Tensor | None = None) -> Tensor:
        """The last hidden states x_BTD, normalised; or x_ND of the ascending flat positions b * T + t in `index_N`.

        The row form takes rows_BTW of any type. What the last block gives elsewhere nobody reads, so with
        few chosen positions most of its work is saved.

        Raises:
            ProcrayError: more positions than the model has.
        """
        B, T = inputs.shape[:2]
        if index_N is None:
            return self._run(inputs, None)
        # Finding the queries of each sequence waits for the device, and compiled blocks want fixed shapes.
        if self.attention == "matmul" and 2 * len(index_N) <= B * T:
            return self._run(inputs, index_N)
        return self._run(inputs, None).flatten(0, 1).index_select(0, index_N)

    def _run(self, inputs: Tensor, index_N: Tensor | None) -> Tensor:
        kernel = ATTENTION[self.attention]
        x_BTD = self.embed(inputs)
        around = self.around(x_BTD)
        again = self.recompute and torch.is_grad_enabled()
        for block in self.blocks[:-1]:
            x_BTD = (
                checkpoint(block, x_BTD, kernel, *around, use_reentrant=False)
                if again
                else block(x_BTD, kernel, *around)
            )
        last: Block = self.blocks[-1]  # type: ignore[assignment]
        return self.last_norm(last(x_BTD, kernel, *around) if index_N is None else last.at(x_BTD, index_N, *around))

    def unembed(self, x_ND: Tensor) -> Tensor:
        """Logits of hidden states of any leading shape: (..., V), or (..., W) in the row form."""
        logits = F.linear(x_ND, *self.head())
        wanted = self.config.rows or self.config.vocab
        return logits if logits.shape[-1] == wanted else logits[..., :wanted]

    def head(self) -> tuple[Tensor, Tensor | None]:
        """The matrix of the logits and what is added to them. Padding up to `pad_vocab` gives logits of -inf."""
        if self.config.rows is not None:
            return self.row_out.weight, self.row_out.bias
        weight_VD = self.table.weight if self.config.tied else self.untied.weight
        missing = -self.config.vocab % self.config.pad_vocab
        if missing == 0:
            return weight_VD, None
        # Padding here, not in the parameter, costs one copy of the matrix (as mixed precision does anyway)
        # and keeps the padding out of checkpoints, optimiser states and gradient norms. Adding -inf costs nothing
        # within the product, where cutting the padding off would copy the logits and their gradients.
        bias_V = F.pad(weight_VD.new_zeros(self.config.vocab), (0, missing), value=-math.inf)
        return F.pad(weight_VD, (0, 0, 0, missing)), bias_V

    def forward(self, inputs: Tensor, scored_N: Tensor | None = None) -> Tensor:
        """Logits of every position, (B, T, V); or (N, V) of the ascending flat positions b * T + t in `scored_N`.

        The row form takes rows_BTW and gives W in place of V. Computing only what is scored saves
        most of the head's work, and of the last block's, where few positions carry a loss.
        """
        return self.unembed(self.hidden(inputs, scored_N))


@torch.no_grad()
def initialise(model: Network, seed: int, role: str = "") -> None:
    """Draws a family's initial weights in place: normal around 0 with `Network.spread`, biases 0, gains 1.

    Every parameter has a generator of its own, keyed by the seed, the role and the parameter's name, on the CPU:
    another vocabulary, context or head leaves the blocks as they were, and every device gets the same bits. Models of
    one seed and two roles are independent; see `procray.model.draws`.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            continue
        std = model.spread(name)
        if name.endswith("bias"):
            parameter.zero_()
        elif std is None:
            parameter.fill_(1.0)
        else:
            generator = torch.Generator("cpu").manual_seed(draw_key(seed, role, name))
            parameter.copy_(torch.empty(parameter.shape, device="cpu").normal_(0.0, std, generator=generator))

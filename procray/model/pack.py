"""Several models of one shape computed as one: weights side by side, products batched over the models.

Worth it for models so small that starting a kernel takes longer than running it.

Shape suffixes: M models, B sequences, T positions, V vocabulary, S scored positions, P weights of one model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from procray.errors import ProcrayError
from procray.model.attention import ATTENTION
from procray.model.families import family_of
from procray.model.network import Network


class Pack:
    """Models of one shape whose weights lie in the rows of one matrix.

    The models stay usable: their parameters become views of the matrix, so whatever is trained here can be evaluated
    and saved there.

    Args:
        models: at least one, all of one shape, of tokens, without dropout, on one device.

    Attributes:
        flat_MP: all weights, a leaf that requires gradients; in a row they stand in the order of `named_parameters`.

    Raises:
        ProcrayError: models that cannot be packed.
    """

    def __init__(self, models: Sequence[Network]):
        config = models[0].config
        if any(model.config != config for model in models):
            raise ProcrayError("only models of one shape can be packed")
        if config.rows is not None or config.dropout > 0:
            raise ProcrayError("models with dropout, or over rows of cellular automata, cannot be packed")
        self.config = config
        self._logits = family_of(config).stacked()
        self.kernel = ATTENTION[models[0].attention]
        self.shapes = {name: parameter.shape for name, parameter in models[0].named_parameters()}
        self._sizes = [math.prod(shape) for shape in self.shapes.values()]
        rows = [torch.cat([parameter.detach().flatten() for parameter in model.parameters()]) for model in models]
        self.flat_MP = torch.stack(rows).requires_grad_()
        weights = self.views(self.flat_MP.detach())
        for member, model in enumerate(models):
            for name, parameter in model.named_parameters():
                parameter.data = weights[name][member]

    def views(self, flat_MP: Tensor) -> dict[str, Tensor]:
        """A matrix like `flat_MP` by names of parameters, (M, *shape) each; nothing is copied."""
        parts = flat_MP.split(self._sizes, 1)
        return {name: part.unflatten(1, shape) for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)}

    def logits(self, flat_MP: Tensor, tokens_MBT: Tensor, index_MS: Tensor) -> Tensor:
        """`logits_MSV` of chosen flat positions b * T + t of every model."""
        return self._logits(self.config, self.kernel, self.views(flat_MP), tokens_MBT, index_MS)

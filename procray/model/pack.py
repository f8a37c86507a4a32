"""Several GPT-2s of one shape computed as one: weights side by side, products batched over the models.

Worth it for models so small that starting a kernel takes longer than running it.

Shape suffixes: M models, B sequences, T positions, N positions of all sequences, D width, H heads, E width of one head,
V vocabulary, S scored positions, P weights of one model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from procray.errors import ProcrayError
from procray.model.attention import ATTENTION
from procray.model.gpt2 import GPT2


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

    def __init__(self, models: Sequence[GPT2]):
        config = models[0].config
        if any(model.config != config for model in models):
            raise ProcrayError("only models of one shape can be packed")
        if config.rows is not None or config.dropout > 0:
            raise ProcrayError("models with dropout, or over rows of cellular automata, cannot be packed")
        self.config = config
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
        weights = {name.removeprefix("transformer."): value for name, value in self.views(flat_MP).items()}
        M, B, T = tokens_MBT.shape
        table_MVD = weights["wte.weight"]
        _, V, D = table_MVD.shape
        first_M11 = torch.arange(0, M * V, V, device=tokens_MBT.device).view(M, 1, 1)
        x_MBTD = F.embedding(tokens_MBT + first_M11, table_MVD.reshape(M * V, D))
        x_MND = (x_MBTD + weights["wpe.weight"][:, None, :T]).flatten(1, 2)
        for layer in range(self.config.layers):
            own = {name.removeprefix(f"h.{layer}."): value for name, value in weights.items()}
            x_MND = x_MND + self._attention(own, _normalised(own, "ln_1", x_MND), B, T)
            hidden_MND = F.gelu(_projected(own, "mlp.c_fc", _normalised(own, "ln_2", x_MND)), approximate="tanh")
            x_MND = x_MND + _projected(own, "mlp.c_proj", hidden_MND)
        x_MSD = x_MND.gather(1, index_MS[:, :, None].expand(-1, -1, D))
        head_MVD = table_MVD if self.config.tied else weights["lm_head.weight"]
        return torch.bmm(_normalised(weights, "ln_f", x_MSD), head_MVD.transpose(1, 2))

    def _attention(self, own: dict[str, Tensor], x_MND: Tensor, B: int, T: int) -> Tensor:
        M, N, D = x_MND.shape
        qkv = _projected(own, "attn.c_attn", x_MND).view(M * B, T, 3 * D).split(D, dim=2)
        q, k, v = (x.view(M * B, T, self.config.heads, -1).transpose(1, 2) for x in qkv)
        return _projected(own, "attn.c_proj", self.kernel(q, k, v, 0.0).transpose(1, 2).reshape(M, N, D))


def _projected(weights: dict[str, Tensor], name: str, x_MND: Tensor) -> Tensor:
    return torch.baddbmm(weights[f"{name}.bias"][:, None], x_MND, weights[f"{name}.weight"])


def _normalised(weights: dict[str, Tensor], name: str, x_MND: Tensor) -> Tensor:
    plain_MND = F.layer_norm(x_MND, x_MND.shape[-1:])
    return torch.addcmul(weights[f"{name}.bias"][:, None], plain_MND, weights[f"{name}.weight"][:, None])

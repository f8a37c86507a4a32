"""The steps of several models computed as one, weights side by side, that every family is made of.

Shape suffixes: M models, B sequences (of all models where there is no M), T positions, N positions of all sequences of
a model, D and E widths, H heads, S scored positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]  # by name of a parameter, (M, *shape) each


def of_block(weights: Weights, start: str) -> dict[str, Tensor]:
    """The weights of one block, by what follows `start` in their names."""
    return {name[len(start) :]: value for name, value in weights.items() if name.startswith(start)}


def looked_up(table_MVD: Tensor, tokens_MBT: Tensor) -> Tensor:
    """Every model's embeddings of its own tokens, x_MBTD."""
    M, V, D = table_MVD.shape
    first_M11 = torch.arange(0, M * V, V, device=tokens_MBT.device).view(M, 1, 1)
    return F.embedding(tokens_MBT + first_M11, table_MVD.reshape(M * V, D))


def normalised(weights: Weights, name: str, x_MND: Tensor, eps: float = 1e-5) -> Tensor:
    """LayerNorm with each model's own scale and shift."""
    plain_MND = F.layer_norm(x_MND, x_MND.shape[-1:], eps=eps)
    return torch.addcmul(weights[f"{name}.bias"][:, None], plain_MND, weights[f"{name}.weight"][:, None])


def stacked_product(x_MND: Tensor, weight_MED: Tensor) -> Tensor:
    """x W^T of every model, its weights stored (out, in)."""
    return torch.bmm(x_MND, weight_MED.transpose(1, 2))


def split_heads(x_MND: Tensor, T: int, heads: int) -> Tensor:
    """x_BHTE of the sequences of all models."""
    return x_MND.reshape(-1, T, heads, x_MND.shape[-1] // heads).transpose(1, 2)


def scored(x_MND: Tensor, index_MS: Tensor) -> Tensor:
    """x_MSD at chosen positions."""
    return x_MND.gather(1, index_MS[:, :, None].expand(-1, -1, x_MND.shape[2]))

"""How the weights of a model are spread: the singular values of its matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from procray.model.analysis.places import Place, place_of
from procray.model.family import ModelConfig
from procray.model.regions import apart


@dataclass(frozen=True)
class Spectrum:
    """The singular values of a matrix, descending, and what they say.

    Attributes:
        frobenius: sqrt of the sum of their squares.
        top: the largest, the spectral norm.
        stable_rank: frobenius^2 / top^2: between 1 and the rank.
        effective_rank: exp of the entropy of the values divided by their sum (Roy and Vetterli 2007).
    """

    values: np.ndarray
    frobenius: float
    top: float
    stable_rank: float
    effective_rank: float


def spectrum(matrix: Tensor) -> Spectrum:
    """The spectrum of a matrix, in float64.

    Through the eigenvalues of the smaller Gram matrix: exact to about 1e-8 of the largest value, which is what
    float32 weights hold, and many times faster than a decomposition where one side is long.
    """
    W = matrix.detach().double()
    W = W if W.shape[0] >= W.shape[1] else W.T
    values = torch.linalg.eigvalsh(W.T @ W).clamp_min(0).sqrt().flip(0).cpu().numpy()
    squares, top, total = float((values**2).sum()), float(values[0]), float(values.sum())
    if top == 0:
        return Spectrum(values, 0.0, 0.0, 0.0, 0.0)
    share = values[values > 0] / total
    return Spectrum(values, math.sqrt(squares), top, squares / top**2, math.exp(-float((share * np.log(share)).sum())))


def matrices(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, tuple[Place, Tensor]]:
    """The matrices of a model by name; those that a family stores side by side apart: `.q`, `.k`, `.v`."""
    found: dict[str, tuple[Place, Tensor]] = {}
    for name, tensor in weights.items():
        if tensor.ndim != 2:
            continue
        place, parts = place_of(name), apart(config, name, tensor)
        if len(parts) == 1:
            found[name] = place, tensor
            continue
        for part, matrix in parts.items():
            found[f"{name.rsplit('.', 2)[0]}.{part}"] = replace(place, part=part), matrix
    return found


def weight_spectra(weights: Mapping[str, Tensor], config: ModelConfig) -> list[dict[str, Any]]:
    """One entry a matrix: name, component, layer, part (`q`, `k`, `v`, `proj`, `mlp_in`, ...), shape and spectrum."""
    entries = []
    for name, (place, matrix) in matrices(weights, config).items():
        s = spectrum(matrix)
        entries.append(
            {
                "tensor": name,
                "component": place.component,
                "layer": place.layer,
                "part": place.part,
                "shape": list(matrix.shape),
                "frobenius": s.frobenius,
                "top": s.top,
                "stable_rank": s.stable_rank,
                "effective_rank": s.effective_rank,
                "singular_values": s.values.tolist(),
            }
        )
    return entries

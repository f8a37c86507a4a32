"""Similarities that can be said beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from procray.errors import ProcrayError
from procray.model.analysis import similarity


def features(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_cka_of_the_same_features_is_one_whatever_their_basis_scale_and_order():
    X = features(200, 20, 0) @ torch.diag(torch.linspace(0.1, 3, 20))
    Q = torch.linalg.qr(features(20, 20, 1))[0]
    assert similarity.cka(X, X) == pytest.approx(1)
    assert similarity.cka(X, -7 * X @ Q + 5) == pytest.approx(1, abs=1e-6)
    Y = X[:, 11:] + features(200, 9, 2)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(3))
    assert similarity.cka(X[order], Y[order]) == pytest.approx(similarity.cka(X, Y))
    assert similarity.cka(X, Y) == pytest.approx(similarity.cka(Y, X))
    assert 0.1 < similarity.cka(X, Y) < 0.95
    assert similarity.cka(X, Y[order]) < 0.1


def test_cka_of_independent_features_is_about_zero_also_when_they_are_wide():
    assert abs(similarity.cka(features(2000, 8, 0), features(2000, 12, 1))) < 0.02
    assert abs(similarity.cka(features(300, 200, 0), features(300, 250, 1))) < 0.05  # the plain form says 0.4


def test_cka_is_the_unbiased_estimator():
    """Song et al. 2012, equation 5, written out."""
    X, Y = features(15, 4, 0), features(15, 6, 1) + 1
    n, ones = 15, torch.ones(15, dtype=torch.float64)

    def hsic(A: torch.Tensor, B: torch.Tensor) -> float:
        K, L = A.double() @ A.double().T, B.double() @ B.double().T
        K.fill_diagonal_(0)
        L.fill_diagonal_(0)
        last = 2 / (n - 2) * (ones @ K @ L @ ones)
        return float((K @ L).trace() + (ones @ K @ ones) * (ones @ L @ ones) / ((n - 1) * (n - 2)) - last)

    assert similarity.cka(X, Y) == pytest.approx(hsic(X, Y) / math.sqrt(hsic(X, X) * hsic(Y, Y)))


def test_models_of_different_width_and_depth_are_compared_layer_by_layer(build):
    one, other = build(), build(seed=1, layers=3, heads=2, width=48)
    batches = [(torch.randint(0, 53, (20, 16)), None)]
    table = similarity.cka_matrix(similarity.hidden_states(one, batches), similarity.hidden_states(other, batches))
    assert table.shape == (3, 4)
    itself = similarity.cka_matrix(similarity.hidden_states(one, batches), similarity.hidden_states(one, batches))
    assert itself.diagonal() == pytest.approx(np.ones(3))
    assert itself == pytest.approx(itself.T)
    with pytest.raises(ProcrayError, match="at least 4"):
        similarity.cka(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(ProcrayError, match="cannot be compared"):
        similarity.cka(features(9, 2, 0), features(8, 2, 0))
    assert math.isnan(similarity.cka(torch.ones(9, 2), features(9, 2, 0)))

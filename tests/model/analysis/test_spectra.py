"""Spectra that can be said beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from procray.model.analysis import spectra


def test_spectra_are_numpys_and_ranks_those_of_known_matrices():
    for shape in ((30, 12), (12, 30), (20, 20)):
        W = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        s = spectra.spectrum(W)
        assert s.values == pytest.approx(np.linalg.svd(W.double().numpy(), compute_uv=False), abs=1e-6)
        assert s.frobenius == pytest.approx(float(W.norm()), rel=1e-6)
        assert s.top == pytest.approx(float(torch.linalg.matrix_norm(W, 2)), rel=1e-6)
    identity = spectra.spectrum(3 * torch.eye(8))
    assert (identity.stable_rank, identity.effective_rank) == (pytest.approx(8), pytest.approx(8))
    one = spectra.spectrum(torch.outer(torch.arange(1.0, 9), torch.arange(1.0, 6)))
    assert (one.stable_rank, one.effective_rank) == (pytest.approx(1), pytest.approx(1, abs=1e-4))
    assert spectra.spectrum(torch.zeros(3, 4)).stable_rank == 0

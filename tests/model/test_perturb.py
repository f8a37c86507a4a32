"""Perturbed weights keep exactly what they claim to keep, and lose the rest."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.errors import TransferError
from procray.model.perturb import Perturbation, perturbed

NAME = "transformer.h.0.mlp.c_fc.weight"
GAIN = "transformer.h.0.ln_1.weight"


def drawn(seed: int, *shape: int, scale: float = 0.02) -> torch.Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


shapes = st.tuples(st.integers(1, 9), st.integers(2, 9))


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(0, 2**32 - 1))
def test_shuffling_keeps_every_value_and_nothing_of_their_order(shape, seed):
    x = drawn(seed, *shape)
    y = perturbed(x, NAME, Perturbation("shuffle"), seed)
    assert y.shape == x.shape
    assert torch.equal(y.flatten().sort().values, x.flatten().sort().values)


def test_shuffling_changes_the_order_across_the_whole_tensor():
    x = torch.arange(200.0).view(20, 10)
    y = perturbed(x, NAME, Perturbation("shuffle"), 0)
    assert (y != x).float().mean() > 0.9
    assert not torch.equal(y.sum(0), x.sum(0))  # not only within columns
    assert not torch.equal(y.sum(1), x.sum(1))


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 0.02, 300.0]))
def test_random_weights_keep_the_norm_and_nothing_else(shape, seed, scale):
    x = drawn(seed, *shape, scale=scale)
    y = perturbed(x, NAME, Perturbation("random"), seed + 1)
    torch.testing.assert_close(y.double().norm(), x.double().norm(), rtol=1e-6, atol=0)
    assert not torch.equal(y, x)


def test_random_gains_stay_around_the_mean_of_the_gain():
    x = 1 + drawn(0, 500, scale=0.1)
    y = perturbed(x, GAIN, Perturbation("random"), 0)
    assert float(y.mean()) == pytest.approx(1, abs=0.03)
    assert float(y.std()) == pytest.approx(0.1, rel=0.15)
    torch.testing.assert_close(y.norm(), x.norm())
    assert abs(float(torch.corrcoef(torch.stack([x, y]))[0, 1])) < 0.2
    bias = perturbed(x, GAIN.replace("weight", "bias"), Perturbation("random"), 0)
    assert abs(float(bias.mean())) < 0.2  # biases are drawn around zero


def test_noise_has_the_stated_size_and_the_same_direction_for_every_sigma():
    x = 5 + drawn(3, 60, 50)
    small, large = (perturbed(x, NAME, Perturbation("noise", sigma), 7) - x for sigma in (0.01, 0.05))
    assert float(large.std() / x.std()) == pytest.approx(0.05, rel=0.05)
    torch.testing.assert_close(large, 5 * small, atol=2e-5, rtol=0.1)


@pytest.mark.parametrize("kind", ["noise", "random"])
def test_a_tensor_of_zeros_stays(kind):
    x = torch.zeros(4, 3)
    assert torch.equal(perturbed(x, NAME, Perturbation(kind, 0.1 if kind == "noise" else None), 0), x)


@pytest.mark.parametrize("perturbation", [Perturbation("noise", 0.1), Perturbation("shuffle"), Perturbation("random")])
def test_the_seed_the_role_and_the_name_decide(perturbation):
    x = drawn(1, 8, 8)
    kept = x.clone()
    one = perturbed(x, NAME, perturbation, 0)
    assert torch.equal(one, perturbed(x, NAME, perturbation, 0))
    assert not torch.equal(one, perturbed(x, NAME, perturbation, 1))
    assert not torch.equal(one, perturbed(x, NAME.replace("0", "1"), perturbation, 0))
    roles = [perturbed(x, NAME, perturbation, 0, role) for role in ("target/semantic", "target/semantic#1")]
    assert not any(torch.equal(one, other) for other in roles)
    assert not torch.equal(*roles)
    assert torch.equal(x, kept)


@pytest.mark.parametrize(
    ("perturbation", "value"),
    [
        (Perturbation("noise", 0.05), {"noise": 0.05}),
        (Perturbation("shuffle", None, ("attention",)), {"shuffle": "per_layer", "components": ["attention"]}),
        (Perturbation("random"), {"random": "norm_matched"}),
    ],
)
def test_json(perturbation, value):
    assert perturbation.to_json() == value
    assert Perturbation.from_json(value) == perturbation


@pytest.mark.parametrize(
    ("kind", "sigma"), [("noise", None), ("noise", 0.0), ("noise", float("nan")), ("shuffle", 0.1)]
)
def test_impossible_perturbations(kind, sigma):
    with pytest.raises(TransferError, match="sigma"):
        Perturbation(kind, sigma)

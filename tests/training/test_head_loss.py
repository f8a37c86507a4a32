import pytest
import torch
import torch.nn.functional as F

from procray.training.head_loss import HeadLoss, cross_entropy


def drawn(N=23, D=6, V=13, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    x_ND = (scale * torch.randn(N, D, generator=generator, dtype=dtype)).requires_grad_()
    weight_VD = torch.randn(V, D, generator=generator, dtype=dtype).requires_grad_()
    return x_ND, weight_VD, torch.randint(0, V, (N,), generator=generator)


def in_pieces(x_ND, weight_VD, targets_N, size, bias_V=None):
    return HeadLoss.apply(cross_entropy, size, targets_N, x_ND, weight_VD, bias_V)


def plain(x_ND, weight_VD, targets_N):
    return F.cross_entropy(F.linear(x_ND, weight_VD), targets_N, reduction="sum")


@pytest.mark.parametrize("rows", [1, 5, 100])
def test_loss_and_gradients_are_those_of_logits_kept_whole(rows):
    x_ND, weight_VD, targets_N = drawn()
    expected = plain(x_ND, weight_VD, targets_N)
    theirs = torch.autograd.grad(3 * expected, [x_ND, weight_VD])
    found = in_pieces(x_ND, weight_VD, targets_N, rows)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for mine, other in zip(torch.autograd.grad(3 * found, [x_ND, weight_VD]), theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)  # logits are float32 always


def test_what_is_frozen_gets_no_gradient():
    x_ND, weight_VD, targets_N = drawn()
    in_pieces(x_ND, weight_VD.detach(), targets_N, 5).backward()
    assert x_ND.grad is not None
    in_pieces(x_ND.detach(), weight_VD, targets_N, 5).backward()
    assert weight_VD.grad is not None


def test_a_target_that_is_all_but_impossible_has_a_finite_loss():
    """Its probability is 0 in float32; its logarithm is not."""
    x_ND, weight_VD, targets_N = drawn(dtype=torch.float32, scale=100.0)
    expected = plain(x_ND.double(), weight_VD.double(), targets_N).item()
    assert expected > 200 * len(targets_N)
    assert in_pieces(x_ND, weight_VD, targets_N, 100).item() == pytest.approx(expected, rel=1e-5)


def test_broken_states_give_a_broken_loss():
    x_ND, weight_VD, targets_N = drawn(dtype=torch.float32)
    with torch.no_grad():
        x_ND[3] = float("nan")
    assert torch.isnan(in_pieces(x_ND, weight_VD, targets_N, 5))


def test_products_run_in_bfloat16_under_autocast():
    x_ND, weight_VD, targets_N = drawn(N=400, D=64, V=100, dtype=torch.float32)
    exact = plain(x_ND, weight_VD, targets_N)
    theirs = torch.autograd.grad(exact, [x_ND, weight_VD])
    with torch.autocast("cpu", torch.bfloat16):
        found = in_pieces(x_ND, weight_VD, targets_N, 64)
    mine = torch.autograd.grad(found, [x_ND, weight_VD])
    assert found.item() != exact.item()
    assert found.item() == pytest.approx(exact.item(), rel=1e-2)
    for got, other in zip(mine, theirs, strict=True):
        assert got.dtype == torch.float32
        assert (got - other).norm() < 0.02 * other.norm()

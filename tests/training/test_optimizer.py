import pytest
import torch

from procray.model import GPT2, GPT2Config
from procray.training.optimizer import build_optimizer, clip_gradients, moments, parameter_groups, restore_moments
from procray.training.recipe import Optimizer


def model(**changes):
    return GPT2(GPT2Config(layers=1, heads=2, width=8, vocab=11, context=6, **changes), seed=0)


def backward(net):
    tokens_BT = torch.randint(11, (3, 6), generator=torch.Generator().manual_seed(0))
    net(tokens_BT).square().mean().backward()


def test_matrices_decay_and_vectors_do_not():
    matrices, vectors = parameter_groups(model(tied=False), 0.1)
    block = "transformer.h.0"
    assert matrices["names"] == [
        "lm_head.weight",
        f"{block}.attn.c_attn.weight",
        f"{block}.attn.c_proj.weight",
        f"{block}.mlp.c_fc.weight",
        f"{block}.mlp.c_proj.weight",
        "transformer.wpe.weight",
        "transformer.wte.weight",
    ]
    assert matrices["weight_decay"] == 0.1
    assert vectors["weight_decay"] == 0.0
    assert all(name.endswith("bias") or ".ln_" in name for name in vectors["names"])
    assert len(matrices["params"]) + len(vectors["params"]) == len(list(model(tied=False).parameters()))


def test_decay_alone_moves_matrices_only():
    net = model()
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    optimizer = build_optimizer(net, Optimizer(lr=0.1, weight_decay=0.5))
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in net.named_parameters():
        expected = before[name] * (0.95 if value.ndim >= 2 else 1.0)
        assert torch.allclose(value, expected, atol=1e-7), name


@pytest.mark.parametrize("limit", [0.01, 1e3, 0.0])
def test_clipping_is_torchs(limit):
    ours, theirs = model(), model()
    backward(ours)
    backward(theirs)
    norm = clip_gradients(list(ours.parameters()), limit)
    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), limit or 1e9)
    assert norm.item() == pytest.approx(expected.item(), rel=1e-6)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-5, atol=0)


def test_moments_survive_a_round_trip():
    ours, fresh = model(), model()
    first = build_optimizer(ours, Optimizer(lr=0.01))
    for _ in range(3):
        backward(ours)
        first.step()
        first.zero_grad()
    second = build_optimizer(fresh, Optimizer(lr=0.01))
    fresh.load_state_dict(ours.state_dict())
    restore_moments(second, {name: value.clone() for name, value in moments(first).items()}, updates=3)
    for net, optimizer in ((ours, first), (fresh, second)):
        backward(net)
        optimizer.step()
    for one, other in zip(ours.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(one, other)

import pytest
import torch

from procray.model import attention
from procray.model.attention import ATTENTION


def drawn(B=2, H=3, T=37, E=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(B, H, T, E, generator=generator, dtype=dtype).requires_grad_() for _ in range(4)]


@pytest.fixture
def always_in_blocks(monkeypatch):
    monkeypatch.setattr(attention, "WORTH_A_BLOCK", 1)
    monkeypatch.setattr(attention, "SMALLEST_BLOCK", {torch.float64: 5, torch.bfloat16: 5})


@pytest.mark.parametrize("T", [1, 5, 11, 37])
def test_products_in_blocks_are_fused_attention_with_its_gradients(always_in_blocks, T):
    *qkv, upstream = drawn(T=T)
    found, expected = (ATTENTION[name](*qkv, 0.0) for name in ("matmul", "sdpa"))
    torch.testing.assert_close(found, expected)
    theirs = torch.autograd.grad(expected, qkv, upstream)
    for mine, other in zip(torch.autograd.grad(found, qkv, upstream), theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_the_gradient_of_blocks_is_that_of_small_differences(always_in_blocks):
    *qkv, _ = drawn(B=1, H=1, T=11, E=2)
    assert torch.autograd.gradcheck(lambda q, k, v: ATTENTION["matmul"](q, k, v, 0.0), qkv)


def test_small_batches_are_not_cut():
    """Whether blocks pay follows from the number of scores; the numbers are the same."""
    *few, _ = drawn(B=1, H=1, T=32, dtype=torch.float32)
    *many, _ = drawn(B=64, H=4, T=64, E=4, dtype=torch.float32)
    blocks = [ATTENTION["matmul"](*qkv, 0.0).grad_fn.next_functions[0][0].cuts for qkv in (few, many)]
    assert blocks[0] == [0, 32]
    assert len(blocks[1]) == 2
    *many, _ = drawn(B=256, H=4, T=64, E=4, dtype=torch.float32)
    assert ATTENTION["matmul"](*many, 0.0).grad_fn.next_functions[0][0].cuts == [0, 32, 64]


def test_bfloat16_stays_bfloat16(always_in_blocks):
    *qkv, upstream = drawn(dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = ATTENTION["matmul"](*qkv, 0.0)
    found.backward(upstream)
    assert {found.dtype, *(x.grad.dtype for x in qkv)} == {torch.bfloat16}
    exact = ATTENTION["sdpa"](*(x.detach().double() for x in qkv), 0.0)
    assert (found.double() - exact).abs().max() < 0.02

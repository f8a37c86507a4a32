"""Known answers: heads built by hand, and patterns whose scores can be said beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from procray.errors import ProcrayError
from procray.model import GPT2, GPT2Config
from procray.model.analysis import heads


@pytest.fixture
def circuit() -> GPT2:
    """Layer 0 looks at the previous token and writes it down; layer 1 looks where its own token was written down."""
    V, T = 16, 24
    D = V + T + V
    token, position, before = torch.eye(D)[:V], torch.eye(D)[V : V + T], torch.eye(D)[V + T :]
    model = GPT2(GPT2Config(layers=2, heads=1, width=D, vocab=V, context=T), seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not (".ln_" in name and name.endswith("weight")):
                parameter.zero_()
        model.transformer.wte.weight.copy_(token)
        model.transformer.wpe.weight.copy_(position)
        first, second = (block.attn for block in model.transformer.h)
        sharp = 30.0
        first.c_attn.weight[:, :D] = sharp * position.T @ torch.eye(T, D)
        first.c_attn.weight[:, D : 2 * D] = sharp * position[:-1].T @ torch.eye(T, D)[1:]
        first.c_attn.weight[:, 2 * D :] = token.T @ torch.eye(V, D)
        first.c_proj.weight.copy_(torch.eye(D)[:, :V] @ before)
        second.c_attn.weight[:, :D] = sharp * token.T @ torch.eye(V, D)
        second.c_attn.weight[:, D : 2 * D] = sharp * before.T @ torch.eye(V, D)
    return model


def uniform(B: int, H: int, T: int) -> torch.Tensor:
    return (torch.ones(T, T).tril() / torch.arange(1.0, T + 1)[:, None]).expand(B, H, T, T)


def pattern(T: int, key: dict[int, int]) -> torch.Tensor:
    """One head that gives all of query t's attention to `key[t]`, else to itself."""
    P = torch.zeros(1, 1, T, T)
    for t in range(T):
        P[0, 0, t, key.get(t, t)] = 1.0
    return P


def test_uniform_attention_has_the_entropy_of_its_number_of_keys():
    nats = heads.entropy(uniform(1, 1, 40))
    assert torch.allclose(nats[0, 0], torch.arange(1.0, 41).log(), atol=1e-6)
    assert heads.entropy(pattern(5, {}))[0, 0].abs().max() == 0


def test_a_model_that_looks_everywhere_alike_has_chance_scores(build):
    model = build()
    with torch.no_grad():
        for block in model.transformer.h:
            block.attn.c_attn.weight.zero_()
            block.attn.c_attn.bias.zero_()
    inputs = heads.repeated_random(model.config, 53, 4, 8)
    scores = heads.head_scores(model, [(inputs, None)], period=8)
    mean_log = np.mean([math.log(t + 1) for t in range(1, 16)])
    assert scores.entropy == pytest.approx(np.full((2, 4), mean_log), rel=1e-6)
    assert scores.normalised == pytest.approx(np.ones((2, 4)), rel=1e-6)
    assert scores.previous == pytest.approx(np.full((2, 4), np.mean([1 / (t + 1) for t in range(1, 16)])), rel=1e-6)
    assert scores.induction == pytest.approx(np.full((2, 4), np.mean([1 / (t + 1) for t in range(8, 16)])), rel=1e-6)
    assert scores.queries == 4 * 15
    for name, chance in scores.uniform.items():
        assert getattr(scores, name)[0, 0] == pytest.approx(chance, rel=1e-6), name


def test_a_previous_token_head_and_an_induction_head_are_told_apart(circuit):
    inputs = heads.repeated_random(circuit.config, 16, 5, 12)
    scores = heads.head_scores(circuit, [(inputs, None)], period=12)
    assert scores.previous[0, 0] == pytest.approx(1, abs=1e-3)
    assert scores.entropy[0, 0] == pytest.approx(0, abs=1e-2)
    # The first token has none before it and writes itself down, so the first of the 12 queries finds two places.
    assert scores.induction[1, 0] == pytest.approx(1 - 0.5 / 12, abs=1e-3)
    assert scores.prefix[1, 0] == pytest.approx(1 - 0.5 / 12, abs=1e-3)
    assert scores.previous[1, 0] < 0.2
    assert scores.induction[0, 0] < 0.2


def test_scores_of_single_patterns():
    P = pattern(6, {t: t - 1 for t in range(1, 6)})
    assert torch.equal(heads.previous_token(P)[0, 0], torch.ones(5))
    # a b c a b c: the second a is followed by b, which stands after the first a
    P = pattern(6, {3: 1, 4: 2, 5: 3})
    assert torch.equal(heads.induction(P, 3)[0, 0], torch.ones(3))
    P = pattern(6, {3: 0, 4: 1, 5: 2})  # looks at the same token instead
    assert torch.equal(heads.induction(P, 3)[0, 0], torch.zeros(3))


def test_prefix_keys_follow_every_earlier_occurrence():
    keys = heads.prefix_keys(torch.tensor([[5, 7, 5, 8, 5]]))[0]
    found = {t: keys[t].nonzero()[:, 0].tolist() for t in range(5)}
    assert found == {0: [], 1: [], 2: [1], 3: [], 4: [1, 3]}
    rows = torch.tensor([[[0, 1], [1, 1], [0, 1], [1, 0]]])
    assert heads.prefix_keys(rows)[0].nonzero().tolist() == [[2, 1]]


def test_padding_and_the_first_position_count_for_nothing(build):
    model = build()
    inputs = torch.randint(0, 53, (4, 12))
    valid = torch.ones(4, 12, dtype=torch.bool)
    valid[:, 9:] = False
    padded = heads.head_scores(model, [(inputs, valid)])
    cut = heads.head_scores(model, [(inputs[:, :9], None)])
    assert padded.queries == cut.queries == 4 * 8
    for name in ("entropy", "normalised", "previous", "first"):
        assert getattr(padded, name) == pytest.approx(getattr(cut, name), rel=1e-5)
    with pytest.raises(ProcrayError, match="no position"):
        heads.head_scores(model, [(inputs[:, :1], None)])


def test_repeated_sequences_repeat_distinct_symbols_and_are_the_same_again(build):
    config = build().config
    once = heads.repeated_random(config, 53, 3, 10)
    assert once.shape == (3, 20)
    assert torch.equal(once[:, :10], once[:, 10:])
    assert all(len(set(row.tolist())) == 10 for row in once)
    assert torch.equal(once, heads.repeated_random(config, 53, 3, 10))
    assert not torch.equal(once, heads.repeated_random(config, 53, 3, 10, seed=1))
    assert heads.repeated_random(config, 4, 3, 10).max() < 4  # too few to be distinct
    assert heads.repeated_random(build(rows=7).config, 2, 3, 10).shape == (3, 20, 7)

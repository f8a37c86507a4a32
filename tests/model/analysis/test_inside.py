"""What is seen inside is what the model does."""

from __future__ import annotations

import pytest
import torch

from procray.errors import ProcrayError
from procray.model.analysis import heads, inside, similarity
from procray.model.attention import ATTENTION


@pytest.mark.parametrize("rows", [None, 7])
def test_the_probabilities_are_those_the_model_uses(build, rows):
    model = build(rows=rows, dropout=0.3)
    shape = (3, 17) if rows is None else (3, 17, rows)
    inputs = torch.randint(0, 2, shape)
    found = list(inside.layers(model, inputs))
    assert model.training, "left as it was"
    model.eval()
    for block, layer in zip(model.transformer.h, found, strict=True):
        x = block.ln_1(layer.before_BTD)
        q, k, v = (y.view(3, 17, 4, 8).transpose(1, 2) for y in block.attn.c_attn(x).split(32, dim=2))
        P = inside.probabilities(q, k)
        assert torch.equal(P, layer.attention_BHTT)
        assert torch.allclose(P.sum(-1), torch.ones(3, 4, 17))
        assert P.triu(1).abs().max() == 0
        written = block.attn.c_proj((P @ v).transpose(1, 2).flatten(2))
        for kernel in ATTENTION.values():
            assert torch.allclose(written, block.attn(x, kernel), atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(model.transformer.ln_f(found[-1].after_BTD), model.hidden(inputs), atol=1e-4)


def test_batches_are_cut_without_changing_a_number(build, monkeypatch):
    model = build()
    inputs = torch.randint(0, 53, (6, 12))
    whole, states = heads.head_scores(model, [(inputs, None)]), similarity.hidden_states(model, [(inputs, None)], 20)
    monkeypatch.setattr(inside, "VALUES_AT_ONCE", 4 * 144 * 2)
    assert heads.head_scores(model, [(inputs, None)]).entropy == pytest.approx(whole.entropy, rel=1e-6)
    for one, other in zip(states, similarity.hidden_states(model, [(inputs, None)], 20), strict=True):
        assert len(one) == 20
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "inputs", "says"),
    [
        ({}, torch.zeros(1, 5, 7, dtype=torch.long), "reads tokens"),
        ({}, torch.full((1, 5), 53), "knows 53"),
        ({}, torch.zeros(1, 25, dtype=torch.long), "25 positions"),
        ({"rows": 7}, torch.zeros(1, 5, dtype=torch.long), "reads rows"),
        ({"rows": 7}, torch.zeros(1, 5, 6, dtype=torch.long), "rows of 6 cells"),
    ],
)
def test_inputs_of_another_kind_are_refused(build, changes, inputs, says):
    with pytest.raises(ProcrayError, match=says):
        next(inside.layers(build(**changes), inputs))

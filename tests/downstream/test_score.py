"""Scores against plain log-probabilities of the whole sequence, and against what guessing gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from procray.downstream import score as module
from procray.downstream.items import Items, padded
from procray.downstream.score import score, token_scores
from procray.model import FAMILIES


def slow_log_probabilities(model, tokens):
    """Of every token but the first, from the logits of the whole sequence, by the definition."""
    logits = model(torch.tensor([tokens[:-1]])).detach()[0].double()
    found = []
    for place, token in enumerate(tokens[1:]):
        probabilities = torch.exp(logits[place] - logits[place].max())
        found.append(
            (float(torch.log(probabilities[token] / probabilities.sum())), int(logits[place].argmax()) == token)
        )
    return found


def some_items(rng, vocab, **more):
    rows = [rng.integers(0, vocab, rng.integers(4, 30)) for _ in range(12)]
    counts = [1 if "choices_BK" in more else int(rng.integers(1, len(row))) for row in rows]
    return rows, counts, Items(*padded(rows, counts), **more)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("whole", [False, True])
def test_tokens_are_scored_as_their_definition_says(make_model, family, whole, monkeypatch):
    monkeypatch.setattr(module, "POSITIONS", 64)  # several batches
    monkeypatch.setattr(module, "LOGITS", 100)  # several pieces
    model = make_model(19, name=family, context=32)
    rows, counts, items = some_items(np.random.default_rng(0), 19, whole=whole)
    found = score(model, items)
    for number, (row, count) in enumerate(zip(rows, counts, strict=True)):
        said = slow_log_probabilities(model, row.tolist())[-count:]
        assert found.loss_N[number] == pytest.approx(-np.mean([logp for logp, _ in said]), abs=1e-5)
        hits = [hit for _, hit in said]
        assert found.right_N[number] == (all(hits) if whole else pytest.approx(np.mean(hits)))


def test_choices_share_out_their_own_probability(make_model):
    model, rng = make_model(19), np.random.default_rng(1)
    choices = np.stack([rng.permutation(19)[:4] for _ in range(12)])
    rows, _, items = some_items(rng, 19, choices_BK=choices)
    found = score(model, items)
    for number, row in enumerate(rows):
        said = [slow_log_probabilities(model, [*row[:-1], choice])[-1][0] for choice in choices[number]]
        assert found.loss_N[number] == pytest.approx(np.log(np.exp(said).sum()) - said[0], abs=1e-5)
        assert found.right_N[number] == (said[0] == max(said))


def test_endings_are_compared_as_a_whole(make_model):
    model, rng = make_model(19), np.random.default_rng(2)
    rows, counts, items = some_items(rng, 19, rows=3)
    found = score(model, items)
    sums = [
        sum(p for p, _ in slow_log_probabilities(model, row.tolist())[-n:]) for row, n in zip(rows, counts, strict=True)
    ]
    for number in range(len(items)):
        said = sums[3 * number : 3 * number + 3]
        assert found.loss_N[number] == pytest.approx(np.log(np.exp(said).sum()) - said[0], abs=1e-5)
        assert found.right_N[number] == (said[0] == max(said))


def test_who_knows_nothing_gets_what_guessing_gets(make_model):
    """Ties are shared out: a model of zeros has nothing but ties."""
    model, rng = make_model(20, seed=None), np.random.default_rng(3)
    _, _, items = some_items(rng, 20)
    assert score(model, items).accuracy == pytest.approx(1 / 20)
    assert score(model, items).loss == pytest.approx(np.log(20))
    _, _, items = some_items(rng, 20, choices_BK=np.stack([rng.permutation(20)[:5] for _ in range(12)]))
    assert score(model, items).accuracy == pytest.approx(1 / 5)
    assert score(model, items).loss == pytest.approx(np.log(5))


def test_a_broken_model_is_right_in_nothing(make_model):
    model, rng = make_model(20), np.random.default_rng(5)
    with torch.no_grad():
        model.table.weight.fill_(float("nan"))
    for more in ({}, {"choices_BK": np.stack([rng.permutation(20)[:5] for _ in range(12)])}, {"rows": 2}):
        found = score(model, some_items(rng, 20, **more)[2])
        assert found.accuracy == 0
        assert np.isnan(found.loss)


def test_a_model_is_left_as_it_was(make_model):
    model = make_model(19, dropout=0.5)
    model.train()
    model.attention = "sdpa"
    _, _, items = some_items(np.random.default_rng(4), 19)
    one, again = score(model, items), score(model, items)
    assert (one.loss_N == again.loss_N).all()  # no dropout
    assert model.training
    assert model.attention == "sdpa"


def test_what_stands_behind_the_last_scored_token_is_never_read(make_model):
    model = make_model(19, context=6)
    tokens = np.array([[1, 2, 3, 4, 5, 6, 7, 99, 99, 99]])  # longer than the context, and no tokens of the model
    scored = np.zeros(tokens.shape, bool)
    scored[0, 6] = True
    logp, _ = token_scores(model, tokens, scored)
    assert logp[0] == pytest.approx(slow_log_probabilities(model, tokens[0, :7].tolist())[-1][0], abs=1e-5)


def test_the_digest_is_of_all_that_is_asked():
    tokens, scored = padded([np.array([1, 2, 3]), np.array([4, 5])], [2, 1])
    items = Items(tokens, scored)
    assert tokens.tolist() == [[1, 2, 3], [4, 5, 0]]
    assert scored.tolist() == [[False, True, True], [False, True, False]]
    assert items.positions == 2
    assert len({items.digest, Items(tokens, scored, rows=2).digest, Items(tokens, scored, whole=True).digest}) == 3
    assert Items(tokens.copy(), scored.copy()).digest == items.digest

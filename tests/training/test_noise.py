from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.batch import Batch
from procray.errors import StoreError
from procray.training.noise import Noise, noisy
from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe

RECIPE = PhaseRecipe(
    "semantic", ModelShape(1, 1, 8, 16), {"corpus": {"source": "files"}, "tokenizer": {"kind": "byte"}}, 4,
    Optimizer(lr=1e-3), Evaluation(1, 1), seed=0,
)  # fmt: skip


def blocks(size, length, vocab=50):
    """Consecutive tokens, so that what was replaced is seen."""
    rows = (np.arange(size * (length + 1)) % vocab).reshape(size, length + 1)
    return Batch(rows[:, :-1], rows[:, 1:], np.ones((size, length), bool), size * length)


@given(
    size=st.integers(1, 9),
    length=st.integers(1, 40),
    share=st.floats(0.001, 1),
    of=st.sampled_from(["tokens", "blocks"]),
    seed=st.integers(0, 2**64),
    step=st.integers(0, 2**40),
)
@settings(max_examples=60, deadline=None)
def test_it_is_a_pure_function_and_targets_follow_the_tokens(size, length, share, of, seed, step):
    clean, noise = blocks(size, length), Noise(share, of)
    batch, again = (noisy(clean, noise, 50, seed, "target/semantic", step) for _ in range(2))
    assert np.array_equal(batch.tokens_BT, again.tokens_BT)
    assert np.array_equal(batch.tokens_BT[:, 1:], batch.targets_BT[:, :-1])
    assert batch.tokens_BT.dtype == clean.tokens_BT.dtype
    assert batch.tokens_BT.min() >= 0
    assert max(batch.tokens_BT.max(), batch.targets_BT.max()) < 50
    assert np.array_equal(batch.mask_BT, clean.mask_BT)
    assert batch.nominal_tokens == clean.nominal_tokens
    assert np.array_equal(clean.tokens_BT, blocks(size, length).tokens_BT), "the clean block stays"


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_so_many_tokens_are_replaced_by_uniform_ones(share):
    clean = blocks(200, 100, vocab=1000)
    batch = noisy(clean, Noise(share), 1000, 0, "", 3)
    changed = batch.tokens_BT != clean.tokens_BT
    assert changed.mean() == pytest.approx(share, abs=0.01)
    assert changed.all(axis=1).mean() < 0.05 or share == 1
    drawn = batch.tokens_BT[changed]
    assert np.histogram(drawn, 10, (0, 1000))[0] / len(drawn) == pytest.approx(np.full(10, 0.1), abs=0.02)


def test_blocks_are_replaced_as_wholes():
    clean = blocks(4000, 20, vocab=10_000)
    changed = noisy(clean, Noise(0.3, "blocks"), 10_000, 0, "", 3).tokens_BT != clean.tokens_BT
    assert set((changed.sum(axis=1) > 10).tolist()) == {True, False}
    assert (changed.any(axis=1) == (changed.mean(axis=1) > 0.5)).all()
    assert changed.any(axis=1).mean() == pytest.approx(0.3, abs=0.03)


def test_steps_seeds_and_roles_have_noise_of_their_own():
    clean, noise = blocks(4, 30), Noise(0.5)
    found = {
        noisy(clean, noise, 50, seed, role, step).tokens_BT.tobytes()
        for seed in (0, 1)
        for role in ("", "target/semantic")
        for step in (0, 1)
    }
    assert len(found) == 8


def test_a_recipe_without_noise_is_what_it_was_and_one_with_it_another():
    assert "noise" not in RECIPE.to_json()
    ids = {RECIPE.id}
    for noise in (Noise(0.1), Noise(0.2), Noise(0.1, "blocks")):
        one = replace(RECIPE, noise=noise)
        assert PhaseRecipe.from_json(json.loads(json.dumps(one.to_json()))) == one
        ids.add(one.id)
    assert len(ids) == 4
    assert PhaseRecipe.from_json(RECIPE.to_json()) == RECIPE
    for damaged in ({"share": 2, "of": "tokens"}, {"share": 0.1, "of": "words"}, {}):
        with pytest.raises(StoreError, match="is no noise"):
            PhaseRecipe.from_json({**RECIPE.to_json(), "noise": damaged})

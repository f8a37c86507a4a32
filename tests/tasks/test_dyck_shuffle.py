from __future__ import annotations

import functools
import random
from collections import Counter

import numpy as np
import pytest
import slow_tasks as slow
from checks import assert_shifted, distance
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks


@given(
    size=st.integers(1, 9),
    length=st.integers(2, 80),
    k=st.integers(1, 20),
    p_open=st.floats(0, 1),
    max_depth=st.integers(1, 20),
    seed=st.integers(0, 2**64),
)
@settings(max_examples=80, deadline=None)
def test_every_closing_has_an_open_bracket_of_its_type(size, length, k, p_open, max_depth, seed):
    task = tasks.get("dyck_shuffle", length=length, k=k, p_open=p_open, max_depth=max_depth)
    batch = task.sample(seed, "train", 1, size)
    assert batch.tokens_BT.shape == (size, length)
    for word in batch.tokens_BT.tolist():
        counts = Counter()
        for token in word:
            assert 0 <= token < 2 * k
            counts[token % k] += 1 if token < k else -1
            assert counts[token % k] >= 0
            assert counts.total() <= max_depth
    assert_shifted(batch, pad=2 * k)
    assert batch.mask_BT[:, :-1].all()
    assert not batch.mask_BT[:, -1].any()
    assert batch.nominal_tokens == size * length


@pytest.mark.parametrize(
    ("length", "k", "p_open", "max_depth"),
    [(5, 3, 0.5, 16), (8, 2, 0.5, 3), (7, 2, 0.7, 2), (9, 2, 0.4, 1), (8, 1, 0.6, 4)],
)
def test_words_have_the_probabilities_of_the_rule(length, k, p_open, max_depth):
    choices = functools.partial(slow.dyck_shuffle_choices, length=length, k=k, p_open=p_open, max_depth=max_depth)
    chances = dict(slow.every_sequence(length, choices))
    task = tasks.get("dyck_shuffle", length=length, k=k, p_open=p_open, max_depth=max_depth)
    assert sum(chances.values()) == pytest.approx(1)
    tokens = task.sample(0, "train", 0, 200_000).tokens_BT
    assert distance(tokens, chances) < 0.5 * np.sqrt(len(chances) / 200_000)


def test_brackets_cross_and_may_stay_open():
    tokens = tasks.get("dyck_shuffle", length=200, k=8).sample(0, "train", 0, 200).tokens_BT
    assert (np.where(tokens < 8, 1, -1).sum(axis=1) > 0).any()
    crossing = 0
    for word in tokens.tolist():
        stack = []
        for token in word:
            if token < 8:
                stack.append(token)
            else:
                crossing += stack[-1] != token - 8
                stack.remove(token - 8)
    assert crossing > 1000
    assert tasks.get("dyck_shuffle").sample(0, "train", 0, 1).tokens_BT.shape == (1, 2048)


def test_the_slow_sampler_follows_the_same_rule():
    """The benchmark compares with it."""
    chances = dict(
        slow.every_sequence(8, functools.partial(slow.dyck_shuffle_choices, length=8, k=2, p_open=0.5, max_depth=3))
    )
    rng = random.Random(0)
    samples = [slow.dyck_shuffle(rng, 8, 2, 0.5, 3) for _ in range(20_000)]
    assert distance(samples, chances) < 0.5 * np.sqrt(len(chances) / 20_000)

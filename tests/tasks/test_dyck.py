from __future__ import annotations

import functools
import random

import numpy as np
import pytest
import slow_tasks as slow
from checks import assert_shifted, distance
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks
from procray.errors import TaskError


def depths(tokens_BT, k):
    return np.cumsum(np.where(tokens_BT < k, 1, -1), axis=1)


@given(
    size=st.integers(1, 9),
    half=st.integers(1, 40),
    k=st.integers(1, 20),
    p_open=st.floats(0, 1),
    seed=st.integers(0, 2**64),
)
@settings(max_examples=80, deadline=None)
def test_words_are_balanced_nested_and_of_exact_length(size, half, k, p_open, seed):
    batch = tasks.get("dyck", length=2 * half, k=k, p_open=p_open).sample(seed, "train", 1, size)
    assert batch.tokens_BT.shape == (size, 2 * half)
    for word in batch.tokens_BT.tolist():
        stack = []
        for token in word:
            assert 0 <= token < 2 * k
            if token < k:
                stack.append(token)
            else:
                assert stack.pop() == token - k
        assert not stack
    assert_shifted(batch, pad=2 * k)
    assert batch.mask_BT[:, :-1].all()
    assert not batch.mask_BT[:, -1].any()
    assert batch.nominal_tokens == size * 2 * half


@pytest.mark.parametrize(("length", "k", "p_open"), [(8, 1, 0.5), (8, 2, 0.3), (6, 3, 0.49), (10, 1, 0.8)])
def test_words_have_the_probabilities_of_the_rule(length, k, p_open):
    choices = functools.partial(slow.dyck_choices, length=length, k=k, p_open=p_open)
    chances = dict(slow.every_sequence(length, choices))
    batch = tasks.get("dyck", length=length, k=k, p_open=p_open).sample(0, "train", 0, 200_000)
    assert sum(chances.values()) == pytest.approx(1)
    assert distance(batch.tokens_BT, chances) < 0.5 * np.sqrt(len(chances) / 200_000)


@pytest.mark.parametrize(
    ("length", "p_open", "size", "mean", "highest"),
    [(128, 0.5, 2000, 5.5, 12.5), (2048, 0.5, 300, 24.9, 56), (2048, 0.49, 300, 16.5, 44)],
)
def test_depth(length, p_open, size, mean, highest):
    tokens = tasks.get("dyck", length=length, p_open=p_open).sample(0, "train", 0, size).tokens_BT
    assert depths(tokens, 64).mean() == pytest.approx(mean, rel=0.05)
    assert depths(tokens, 64).max(axis=1).mean() == pytest.approx(highest, rel=0.05)


@pytest.mark.parametrize(("p_open", "word"), [(0, [0, 1] * 4), (1, [0] * 4 + [1] * 4)])
def test_the_ends_of_p_open(p_open, word):
    assert tasks.get("dyck", length=8, k=1, p_open=p_open).sample(0, "train", 0, 1).tokens_BT.tolist() == [word]


def test_odd_lengths_are_refused():
    with pytest.raises(TaskError, match="length is 9; expected an even number from 2"):
        tasks.get("dyck", length=9)
    with pytest.raises(TaskError, match="length max is 9; expected an even number"):
        tasks.get("dyck", length={"min": 4, "max": 9})
    with pytest.raises(TaskError, match="length step is 3; expected an even number"):
        tasks.get("dyck", length={"start": 4, "step": 3, "max": 10})
    with pytest.raises(TaskError, match="an even length from 2 to 16"):
        tasks.get("dyck", length=16).sample(0, "train", 0, 1, length=7)


def test_text_shows_brackets():
    assert tasks.get("dyck", length=4, k=8).text(np.array([0, 7, 15, 8])) == "(0 (7 7) 0)"


def test_the_slow_sampler_follows_the_same_rule():
    """The benchmark compares with it."""
    chances = dict(slow.every_sequence(8, functools.partial(slow.dyck_choices, length=8, k=2, p_open=0.3)))
    rng = random.Random(0)
    samples = [slow.dyck(rng, 8, 2, 0.3) for _ in range(20_000)]
    assert distance(samples, chances) < 0.5 * np.sqrt(len(chances) / 20_000)

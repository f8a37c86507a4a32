from __future__ import annotations

import functools
import random

import numpy as np
import pytest
import slow_tasks as slow
from checks import assert_batch, distance
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks
from procray.errors import TaskError


@given(size=st.integers(1, 9), length=st.integers(3, 40), vocab=st.integers(3, 30), seed=st.integers(0, 2**64))
@settings(max_examples=60, deadline=None)
def test_the_answer_is_the_stack_that_replaying_leaves(size, length, vocab, seed):
    batch = tasks.get("stack", length=length, vocab=vocab).sample(seed, "train", 1, size)
    sequences = []
    for row in batch.tokens_BT.tolist():
        operations = row[:length]
        for i in range(length):
            assert operations[i] in slow.stack_choices(operations[:i], length, vocab)
        sequences.append(([*operations, vocab], slow.replayed(operations)))
        assert sequences[-1][1], "the stack never ends empty"
    assert_batch(batch, sequences, pad=vocab + 1)
    assert batch.nominal_tokens == size * 2 * length
    assert batch.tokens_BT.shape[1] <= 2 * length


@pytest.mark.parametrize(("length", "vocab"), [(3, 4), (6, 3), (6, 5), (7, 4)])
def test_operations_have_the_probabilities_of_the_rule(length, vocab):
    chances = dict(slow.every_sequence(length, functools.partial(slow.stack_choices, length=length, vocab=vocab)))
    batch = tasks.get("stack", length=length, vocab=vocab).sample(0, "train", 0, 200_000)
    assert sum(chances.values()) == pytest.approx(1)
    assert distance(batch.tokens_BT[:, :length], chances) < 0.5 * np.sqrt(len(chances) / 200_000)


def final_depths(length):
    """The exact distribution of the final depth, with more symbols than the stack can hold."""
    chances = {0: 1.0}
    for i in range(length):
        following = {}
        for depth, chance in chances.items():
            push = (
                0.0
                if i == length - 1 and depth > 1
                else 1.0
                if depth <= 1
                else 0.75
                if 3 * (i + 1) <= 2 * length
                else 0.25
            )
            following[depth + 1] = following.get(depth + 1, 0) + chance * push
            following[depth - 1] = following.get(depth - 1, 0) + chance * (1 - push)
        chances = {depth: chance for depth, chance in following.items() if chance}
    return {(depth,): chance for depth, chance in chances.items()}


@pytest.mark.parametrize(("length", "mean"), [(16, 3.6), (20, 4.4), (32, 6.3), (64, 11.0)])
def test_final_depth(length, mean):
    depths = tasks.get("stack", length=length).sample(0, "train", 0, 10_000).mask_BT.sum(axis=1)
    assert depths.mean() == pytest.approx(mean, abs=0.15)
    assert distance(depths[:, None].tolist(), final_depths(length)) < 0.02


def test_all_symbols_on_the_stack_force_a_pop():
    tokens = tasks.get("stack", length=30, vocab=4).sample(0, "train", 0, 500).tokens_BT[:, :30]
    depths = np.cumsum(np.where(tokens == 0, -1, 1), axis=1)
    assert depths.max() == 3
    assert depths.min() == 1


def test_a_vocabulary_too_small_is_refused():
    with pytest.raises(TaskError, match="vocab is 2; expected a whole number from 3"):
        tasks.get("stack", vocab=2)


def test_text_shows_pops():
    task = tasks.get("stack", length=4, vocab=10)
    assert task.text(np.array([3, 5, 0, 7, 10, 7, 3, 11])) == "3 5 P 7 | 7 3"


def test_the_slow_sampler_follows_the_same_rule():
    """The benchmark compares with it."""
    chances = dict(slow.every_sequence(6, functools.partial(slow.stack_choices, length=6, vocab=5)))
    rng = random.Random(0)
    samples = [slow.stack(rng, 6, 5)[:6] for _ in range(20_000)]
    assert distance(samples, chances) < 0.5 * np.sqrt(len(chances) / 20_000)

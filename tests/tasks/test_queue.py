from __future__ import annotations

import functools
import random

import numpy as np
import pytest
import slow_families as slow
from checks import assert_batch, distance
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_tasks import every_sequence

from procray import tasks


@given(size=st.integers(1, 9), length=st.integers(3, 40), vocab=st.integers(3, 30), seed=st.integers(0, 2**64))
@settings(max_examples=60, deadline=None)
def test_the_answer_is_the_queue_that_replaying_leaves(size, length, vocab, seed):
    batch = tasks.get("queue", length=length, vocab=vocab).sample(seed, "train", 1, size)
    sequences = []
    for row in batch.tokens_BT.tolist():
        operations = row[:length]
        for i in range(length):
            assert operations[i] in slow.queue_choices(operations[:i], length, vocab)
        sequences.append(([*operations, vocab], slow.queued(operations)))
        assert sequences[-1][1], "the queue never ends empty"
    assert_batch(batch, sequences, pad=vocab + 1)
    assert batch.nominal_tokens == size * 2 * length
    assert batch.tokens_BT.shape[1] <= 2 * length


@pytest.mark.parametrize(("length", "vocab"), [(3, 4), (6, 3), (6, 5), (7, 4)])
def test_operations_have_the_probabilities_of_the_rule(length, vocab):
    chances = dict(every_sequence(length, functools.partial(slow.queue_choices, length=length, vocab=vocab)))
    batch = tasks.get("queue", length=length, vocab=vocab).sample(0, "train", 0, 200_000)
    assert sum(chances.values()) == pytest.approx(1)
    assert distance(batch.tokens_BT[:, :length], chances) < 0.5 * np.sqrt((len(chances) + 6) / 200_000)


def test_outputs_are_as_long_as_those_of_stack():
    lengths = [tasks.get(name).sample(0, "train", 0, 10_000).mask_BT.sum(axis=1) for name in ("queue", "stack")]
    assert lengths[0].mean() == pytest.approx(lengths[1].mean(), abs=0.25)
    assert lengths[0].std() == pytest.approx(lengths[1].std(), abs=0.25)


def test_text_shows_removals():
    task = tasks.get("queue", length=4, vocab=10)
    assert task.text(np.array([3, 5, 0, 7, 10, 5, 7, 11])) == "3 5 P 7 | 5 7"


def test_the_slow_sampler_follows_the_same_rule():
    """The benchmark compares with it."""
    chances = dict(every_sequence(6, functools.partial(slow.queue_choices, length=6, vocab=5)))
    rng = random.Random(0)
    samples = [slow.queue(rng, 6, 5)[:6] for _ in range(20_000)]
    assert distance(samples, chances) < 0.5 * np.sqrt(len(chances) / 20_000)

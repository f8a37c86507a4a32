"""Tasks of the form `input | answer`: every row is recomputed in plain Python from its input."""

from __future__ import annotations

import numpy as np
import pytest
import slow_tasks as slow
from checks import assert_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks

ANSWERS = {
    "identity": lambda x: x,
    "reverse": lambda x: x[::-1],
    "sort": sorted,
    "set": slow.distinct,
}

sizes = st.integers(1, 9)
lengths = st.integers(1, 40)
vocabs = st.integers(2, 60)
seeds = st.integers(0, 2**64)


@pytest.mark.parametrize("name", ANSWERS)
@given(size=sizes, length=lengths, vocab=vocabs, seed=seeds)
@settings(max_examples=40, deadline=None)
def test_one_input(name, size, length, vocab, seed):
    batch = tasks.get(name, length=length, vocab=vocab).sample(seed, "train", 3, size)
    inputs = batch.tokens_BT[:, :length].tolist()
    assert all(1 <= symbol < vocab for x in inputs for symbol in x)
    assert_batch(batch, [([*x, vocab], list(ANSWERS[name](x))) for x in inputs], pad=vocab + 1)
    assert batch.nominal_tokens == size * (2 * length + 1)


@given(size=sizes, length=st.integers(2, 40), vocab=vocabs, seed=seeds)
@settings(max_examples=40, deadline=None)
def test_union(size, length, vocab, seed):
    half = length // 2
    batch = tasks.get("union", length=length, vocab=vocab).sample(seed, "train", 3, size)
    rows = batch.tokens_BT.tolist()
    sequences = []
    for row in rows:
        a, b = row[:half], row[half + 1 : 2 * half + 1]
        assert all(1 <= symbol < vocab for symbol in a + b)
        sequences.append(([*a, vocab, *b, vocab], slow.distinct(a + b)))
        assert set(sequences[-1][1]) == set(a) | set(b)
    assert_batch(batch, sequences, pad=vocab + 1)
    assert batch.nominal_tokens == size * (2 * half + 2 + length)


@given(size=sizes, length=lengths, vocab=vocabs, seed=seeds)
@settings(max_examples=40, deadline=None)
def test_delete(size, length, vocab, seed):
    batch = tasks.get("delete", length=length, vocab=vocab).sample(seed, "train", 3, size)
    sequences = []
    for row in batch.tokens_BT.tolist():
        x, removed = row[:length], row[length + 1]
        assert all(1 <= symbol < vocab for symbol in [*x, removed])
        sequences.append(([*x, vocab, removed, vocab], slow.without_first(x, removed)))
    assert_batch(batch, sequences, pad=vocab + 1)
    assert batch.nominal_tokens == size * (2 * length + 3)


def test_delete_may_leave_nothing_to_score():
    batch = tasks.get("delete", length=1, vocab=2).sample(0, "train", 0, 4)
    assert batch.tokens_BT.tolist() == [[1, 2, 1, 2]] * 4
    assert not batch.mask_BT.any()


@pytest.mark.parametrize(("length", "unique"), [(16, 14.9), (32, 27.5), (64, 47.3)])
@pytest.mark.parametrize("name", ["set", "union"])
def test_distinct_symbols_of_a_sequence(name, length, unique):
    batch = tasks.get(name, length=length).sample(0, "train", 0, 4000)
    assert batch.mask_BT.sum(axis=1).mean() == pytest.approx(unique, abs=0.15)


@pytest.mark.parametrize(("length", "present"), [(16, 0.15), (32, 0.28), (64, 0.48)])
def test_the_removed_symbol_is_often_absent(length, present):
    batch = tasks.get("delete", length=length).sample(0, "train", 0, 8000)
    assert (batch.mask_BT.sum(axis=1) < length).mean() == pytest.approx(present, abs=0.015)


@pytest.mark.parametrize("name", ["identity", "reverse", "sort", "set", "union", "delete"])
def test_symbols_are_uniform_and_never_zero(name):
    tokens = tasks.get(name, length=8, vocab=11).sample(0, "train", 0, 5000).tokens_BT[:, :4]
    share = np.bincount(tokens.ravel(), minlength=13) / tokens.size
    assert share[[0, 11, 12]].sum() == 0
    assert share[1:11] == pytest.approx(np.full(10, 0.1), abs=0.01)


def test_the_largest_values_do_not_overflow():
    """Value and position share 32 bits while first occurrences are sought."""
    length, vocab = 8192, 65_536
    batch = tasks.get("set", length=length, vocab=vocab).sample(0, "train", 0, 2)
    sequences = [([*x, vocab], list(dict.fromkeys(x))) for x in batch.tokens_BT[:, :length].tolist()]
    assert_batch(batch, sequences, pad=vocab + 1)

from __future__ import annotations

import functools
import random
from collections import Counter

import numpy as np
import pytest
import slow_families as slow
from checks import assert_shifted, distance
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_tasks import dyck_shuffle_choices, every_sequence

from procray import tasks


@given(
    size=st.integers(1, 9),
    length=st.integers(2, 80),
    k=st.integers(1, 20),
    p_open=st.floats(0, 1),
    depths=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    seed=st.integers(0, 2**64),
)
@settings(max_examples=60, deadline=None)
def test_every_closing_has_an_open_bracket_of_its_type(size, length, k, p_open, depths, seed):
    least, most = sorted(depths)
    task = tasks.get("k_shuffle_dyck", length=length, k=k, p_open=p_open, max_depth=most, min_depth=least)
    batch = task.sample(seed, "train", 1, size)
    assert batch.tokens_BT.shape == (size, length)
    assert (batch.tokens_BT[:, :least] < k).all()
    for word in batch.tokens_BT.tolist():
        counts = Counter()
        for token in word:
            counts[token % k] += 1 if token < k else -1
            assert counts[token % k] >= 0
            assert counts.total() <= most
    assert_shifted(batch, pad=2 * k)
    assert batch.mask_BT[:, :-1].all()
    assert not batch.mask_BT[:, -1].any()


@pytest.mark.parametrize(
    ("length", "k", "p_open", "max_depth", "min_depth"), [(6, 3, 0.51, 8, 1), (8, 2, 0.5, 3, 2), (7, 2, 0.4, 3, 3)]
)
def test_words_have_the_probabilities_of_the_rule(length, k, p_open, max_depth, min_depth):
    settings = {"length": length, "k": k, "p_open": p_open, "max_depth": max_depth, "min_depth": min_depth}
    chances = dict(every_sequence(length, functools.partial(slow.k_shuffle_dyck_choices, **settings)))
    assert sum(chances.values()) == pytest.approx(1)
    tokens = tasks.get("k_shuffle_dyck", **settings).sample(0, "train", 0, 200_000).tokens_BT
    assert distance(tokens, chances) < 0.5 * np.sqrt(len(chances) / 200_000)
    rng = random.Random(0)
    samples = [slow.k_shuffle_dyck(rng, **settings) for _ in range(20_000)]
    assert distance(samples, chances) < 0.5 * np.sqrt(len(chances) / 20_000)


def test_the_law_is_that_of_dyck_shuffle():
    """Which the documentation says: only the settings differ."""
    settings = {"length": 6, "k": 3, "p_open": 0.3, "max_depth": 4}
    one = dict(every_sequence(6, functools.partial(slow.k_shuffle_dyck_choices, **settings, min_depth=1)))
    other = dict(every_sequence(6, functools.partial(dyck_shuffle_choices, **settings)))
    assert one == pytest.approx(other)
    ours, theirs = tasks.get("k_shuffle_dyck").recipe(), tasks.get("dyck_shuffle").recipe()
    differ = {key: (ours[key], theirs.get(key)) for key in ours if ours[key] != theirs.get(key) and key != "name"}
    assert differ == {"p_open": (0.51, 0.5), "max_depth": (8, 16), "min_depth": (1, None)}

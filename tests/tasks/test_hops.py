from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import slow_families as slow
from checks import assert_shifted
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks


@given(
    size=st.integers(1, 9),
    length=st.integers(2, 90),
    more=st.integers(0, 300),
    hops=st.integers(1, 12),
    questions=st.integers(1, 20),
    shape=st.sampled_from(["cycle", "permutation"]),
    seed=st.integers(0, 2**64),
)
@settings(max_examples=80, deadline=None)
def test_answers_follow_from_the_pairs(size, length, more, hops, questions, shape, seed):
    alphabet = length + more
    task = tasks.get("hops", length=length, alphabet=alphabet, hops=hops, questions=questions, shape=shape)
    batch = task.sample(seed, "train", 1, size)
    asked = min(questions, length)
    assert batch.tokens_BT.shape == (size, 2 * length + 1 + 3 * asked) == (size, task.positions)
    assert batch.nominal_tokens == batch.tokens_BT.size
    assert_shifted(batch, task.pad)
    for row, mask in zip(batch.tokens_BT.tolist(), batch.mask_BT.tolist(), strict=True):
        pairs, questioned = row[: 2 * length], row[2 * length + 1 :]
        assert row[2 * length] == alphabet + hops
        follower = dict(zip(pairs[::2], pairs[1::2], strict=True))
        assert set(follower) == set(follower.values())
        assert len(follower) == length
        assert max(follower) < alphabet
        if shape == "cycle":
            assert len({slow.further(follower, pairs[0], steps) for steps in range(length)}) == length
        names = questioned[1::3]
        assert len(set(names)) == asked
        for marker, name, answer in zip(questioned[::3], names, questioned[2::3], strict=True):
            assert 1 <= marker - alphabet + 1 <= hops
            assert answer == slow.further(follower, name, marker - alphabet + 1)
        scored = {2 * length + 2 + 3 * question for question in range(asked)}
        assert [place for place, one in enumerate(mask) if one] == sorted(scored)


@pytest.mark.parametrize(("shape", "expected"), [("cycle", 2), ("permutation", 6)])
def test_every_relation_is_as_likely(shape, expected):
    tokens = tasks.get("hops", length=3, alphabet=3, shape=shape).sample(0, "train", 0, 30_000).tokens_BT
    followers = np.empty((30_000, 3), int)
    np.put_along_axis(followers, tokens[:, 0:6:2], tokens[:, 1:6:2], axis=1)
    counts = Counter(map(tuple, followers.tolist()))
    assert len(counts) == expected
    assert np.array(list(counts.values())) / 30_000 == pytest.approx(1 / expected, abs=0.012)


def test_order_of_the_pairs_and_questions_are_uniform():
    tokens = tasks.get("hops", length=4, alphabet=4, hops=3, questions=4).sample(0, "train", 0, 30_000).tokens_BT
    for columns in (tokens[:, 0:8:2], tokens[:, 10::3]):
        counts = Counter(map(tuple, columns.tolist()))
        assert len(counts) == 24
        assert np.array(list(counts.values())) / 30_000 == pytest.approx(1 / 24, abs=0.006)
    assert np.bincount(tokens[:, 9] - 4) / 30_000 == pytest.approx(np.full(3, 1 / 3), abs=0.012)


def test_text():
    task = tasks.get("hops", length=2, alphabet=9, hops=3, questions=1)
    assert task.text(np.array([3, 5, 5, 3, 12, 10, 3, 3])) == "3 5 5 3 | +2 3 3"

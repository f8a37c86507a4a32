from __future__ import annotations

import numpy as np
import pytest
from checks import assert_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks
from procray.errors import TaskError


@given(size=st.integers(1, 20), pairs=st.integers(1, 48), seed=st.integers(0, 2**64))
@settings(max_examples=60, deadline=None)
def test_the_answer_is_the_value_of_the_key_asked_for(size, pairs, seed):
    batch = tasks.get("haystack", pairs=pairs).sample(seed, "train", 1, size)
    sequences = []
    for row in batch.tokens_BT.tolist():
        marker = next(i for i in range(0, len(row), 2) if row[i] >= 128 + pairs)
        keys, values = row[0:marker:2], row[1:marker:2]
        assert 1 <= len(keys) <= pairs
        assert len(set(keys)) == len(keys)
        assert all(128 <= key < 128 + pairs for key in keys)
        assert all(1 <= value <= 127 for value in values)
        answer = values[keys.index(row[marker] - pairs)]
        sequences.append((row[: marker + 1], [answer]))
    assert_batch(batch, sequences, pad=0)
    assert (batch.mask_BT.sum(axis=1) == 1).all()
    assert batch.tokens_BT.max() < 256
    assert batch.nominal_tokens == size * (2 * pairs + 3)


def test_thirty_pairs_are_the_released_format():
    task = tasks.get("haystack")
    assert task.recipe() == {"name": "haystack", "pairs": 30}
    assert (task.vocab_size, task.positions, task.diagnostic) == (256, 63, True)
    tokens = task.sample(0, "train", 0, 20_000).tokens_BT
    counts = (tokens >= 128).sum(axis=1) - 1
    assert np.bincount(counts)[1:] / 20_000 == pytest.approx(np.full(30, 1 / 30), abs=0.005)
    first_keys, first_values = tokens[:, 0], tokens[:, 1]
    assert np.bincount(first_keys - 128) / 20_000 == pytest.approx(np.full(30, 1 / 30), abs=0.005)
    assert first_values.min() == 1
    assert first_values.max() == 127
    markers = tokens[np.arange(20_000), 2 * counts]
    assert markers.min() == 158
    assert markers.max() == 187


def test_every_present_pair_is_asked_for_alike():
    tokens = tasks.get("haystack", pairs=4).sample(0, "train", 0, 20_000).tokens_BT
    full = tokens[tokens[:, 8] >= 132]  # four pairs
    asked = (full[:, 0:8:2] == full[:, 8:9] - 4).argmax(axis=1)
    assert np.bincount(asked) / len(full) == pytest.approx(np.full(4, 0.25), abs=0.02)


def test_guessing_a_present_value():
    """The published floor: 13.3 % for a model that knows the values but not which."""
    batch = tasks.get("haystack").sample(0, "train", 0, 5000)
    hits = []
    for row in batch.tokens_BT.tolist():
        marker = max(i for i, token in enumerate(row) if token >= 128)
        values = row[1:marker:2]
        hits.append(values.count(row[marker + 1]) / len(values))
    assert np.mean(hits) == pytest.approx(0.133 + 0.007, abs=0.012)


def test_too_many_pairs_are_refused():
    with pytest.raises(TaskError, match="pairs is 49; expected a whole number from 1 to 48"):
        tasks.get("haystack", pairs=49)
    with pytest.raises(TaskError, match=r"no parameter 'length'.*\(parameters: pairs\)"):
        tasks.get("haystack", length=4)


def test_text_names_keys():
    task = tasks.get("haystack", pairs=10)
    assert task.text(np.array([128, 5, 137, 99, 138, 5, 0, 0])) == "k0 5 k9 99 ?k0 5"

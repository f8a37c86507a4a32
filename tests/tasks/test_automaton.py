from __future__ import annotations

import numpy as np
import pytest
import slow_families as slow
from checks import assert_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks


@given(
    size=st.integers(1, 9),
    length=st.integers(1, 60),
    states=st.integers(2, 20),
    letters=st.integers(1, 9),
    seed=st.integers(0, 2**64),
)
@settings(max_examples=60, deadline=None)
def test_states_follow_from_the_table(size, length, states, letters, seed):
    task = tasks.get("automaton", length=length, states=states, letters=letters)
    batch = task.sample(seed, "train", 1, size)
    sequences, separator, listed = [], states + letters, 3 * states * letters
    for row in batch.tokens_BT.tolist():
        shown, (middle, start, *word), (end, *_) = row[:listed], row[listed : listed + 2 + length], row[-length - 1 :]
        assert middle == end == separator
        table = dict(zip(zip(shown[::3], shown[1::3], strict=True), shown[2::3], strict=True))
        assert set(table) == {(q, states + a) for q in range(states) for a in range(letters)}
        assert set(table.values()) | {start} <= set(range(states))
        sequences.append(([*shown, middle, start, *word, end], slow.visited(table, start, word)))
    assert_batch(batch, sequences, pad=separator + 1)
    assert batch.nominal_tokens == batch.tokens_BT.size


def test_a_hidden_table_is_the_shown_one_left_out():
    """States that were entered by the same letter from the same state are the same within a sequence."""
    task = tasks.get("automaton", length=40, states=3, letters=2, table="hidden")
    tokens = task.sample(0, "train", 0, 500).tokens_BT
    assert tokens.shape == (500, 82) == (500, task.positions)
    different = set()
    for row in tokens.tolist():
        word, states = row[1:41], row[42:]
        table = {}
        for before, letter, after in zip([row[0], *states], word, states, strict=False):
            assert table.setdefault((before, letter), after) == after
        different.add(tuple(sorted(table.items())))
    assert len(different) > 200


def test_tables_words_and_starts_are_uniform_and_independent():
    task = tasks.get("automaton", length=2, states=2, letters=2)
    tokens = task.sample(0, "train", 0, 40_000).tokens_BT
    entries = tokens[:, :12].reshape(-1, 4, 3)
    place = 2 * entries[:, :, 0] + entries[:, :, 1] - 2
    table = np.empty((40_000, 4), int)
    np.put_along_axis(table, place, entries[:, :, 2], axis=1)
    bits = np.concatenate([table, tokens[:, 13:14], tokens[:, 14:16] - 2], axis=1)
    counts = np.bincount(bits @ (1 << np.arange(7)), minlength=128)
    assert counts / 40_000 == pytest.approx(np.full(128, 1 / 128), abs=0.0025)
    order = np.bincount(place @ (4 ** np.arange(4)), minlength=256)
    assert (order > 0).sum() == 24
    assert order[order > 0] / 40_000 == pytest.approx(np.full(24, 1 / 24), abs=0.006)


def test_text():
    task = tasks.get("automaton", length=2, states=2, letters=1)
    assert task.text(np.array([0, 2, 1, 1, 2, 1, 3, 0, 2, 2, 3, 1, 1])) == "q0 a q1 q1 a q1 | q0 a a | q1 q1"
    assert tasks.get("automaton", letters=30).word(6 + 27) == "b1"

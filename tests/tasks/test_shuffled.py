from __future__ import annotations

import numpy as np
import pytest
from checks import assert_shifted
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks


@pytest.mark.parametrize("name", ["identity", "set", "union", "delete", "stack", "dyck", "eca_tokens"])
@given(seed=st.integers(0, 2**64), index=st.integers(0, 2**40))
@settings(max_examples=15, deadline=None)
def test_tokens_move_within_their_sequence_and_the_mask_stays(name, seed, index):
    task = tasks.get(name, length=12)
    plain = task.sample(seed, "train", index, 6)
    batch = tasks.get("shuffled", task=task).sample(seed, "train", index, 6)
    assert np.array_equal(np.sort(batch.tokens_BT, axis=1), np.sort(plain.tokens_BT, axis=1))
    assert np.array_equal(batch.tokens_BT == task.pad, plain.tokens_BT == task.pad), "padding stays behind"
    assert np.array_equal(batch.mask_BT, plain.mask_BT)
    assert batch.nominal_tokens == plain.nominal_tokens
    assert_shifted(batch, task.pad)


def test_every_place_is_alike_for_every_token():
    """The separator of a sequence of 5 tokens lands everywhere equally often; so does the first symbol."""
    task = tasks.get("identity", length=2)
    tokens = tasks.get("shuffled", task=task).sample(0, "train", 0, 20_000).tokens_BT
    places = (tokens == 100).argmax(axis=1)
    assert np.bincount(places) / 20_000 == pytest.approx(np.full(5, 0.2), abs=0.015)
    plain = task.sample(0, "train", 0, 20_000).tokens_BT
    firsts = (tokens == plain[:, :1]).mean(axis=0)
    assert firsts == pytest.approx(np.full(5, firsts.mean()), abs=0.015)


def test_the_answer_no_longer_follows_from_the_input():
    task = tasks.get("shuffled", task=tasks.get("identity", length=20))
    tokens = task.sample(0, "train", 0, 2000).tokens_BT
    assert (tokens[:, :20] == tokens[:, 21:]).mean() < 0.05


def test_rows_are_permuted_in_time_and_stay_whole():
    task = tasks.get("eca_rows", length=30, width=40, rule=30)
    plain = task.sample(0, "train", 0, 20)
    batch = tasks.get("shuffled", task=task).sample(0, "train", 0, 20)
    for b in range(20):
        before = [*plain.rows_BTW[b].tolist(), plain.targets_BTW[b, -1].tolist()]
        after = [*batch.rows_BTW[b].tolist(), batch.targets_BTW[b, -1].tolist()]
        assert sorted(before) == sorted(after)
        assert before != after
    assert np.array_equal(batch.rows_BTW[:, 1:], batch.targets_BTW[:, :-1])
    assert batch.mask_BT.all()


def test_it_asks_for_the_same_model():
    task = tasks.get("union", length={"start": 4, "step": 2, "max": 20})
    control = tasks.get("shuffled", task=task)
    for name in ("vocab_size", "positions", "mean_tokens", "rows", "curriculum", "pad", "separator", "symbols"):
        assert getattr(control, name) == getattr(task, name)
    assert not control.diagnostic
    assert control.sample(0, "train", 0, 3, length=6).nominal_tokens == 3 * 14


def test_shuffling_twice_is_another_permutation():
    once = tasks.get("shuffled", task=tasks.get("identity"))
    twice = tasks.get("shuffled", task=once)
    assert not np.array_equal(once.sample(0, "train", 0, 4).tokens_BT, twice.sample(0, "train", 0, 4).tokens_BT)


def test_text():
    line = tasks.samples(tasks.get("shuffled", task=tasks.get("identity", length=3)), 1)[0]
    assert len(line.split()) == 7
    assert "|" in line

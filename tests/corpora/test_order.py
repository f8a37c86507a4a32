"""The order of blocks: a permutation named by a key."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.corpora import order
from procray.corpora.order import permuted


@pytest.fixture(params=["table", "feistel"])
def form(request, monkeypatch):
    if request.param == "feistel":
        monkeypatch.setattr(order, "TABLE_LIMIT", 0)
    return request.param


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000, 4097])
def test_every_element_comes_once(form, size):
    assert sorted(permuted(("k", 0), np.arange(size), size)) == list(range(size))


@given(size=st.integers(1, 600), seed=st.integers(0, 2**63), epoch=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_feistel_is_a_permutation_for_every_key(size, seed, epoch):
    assert len(set(order._feistel((seed, epoch), np.arange(size), size).tolist())) == size


def test_a_part_is_the_part_of_the_whole(form):
    whole = permuted((3, 1), np.arange(500), 500)
    assert (permuted((3, 1), np.arange(200, 300), 500) == whole[200:300]).all()


def test_epochs_and_seeds_differ(form):
    positions = np.arange(2000)
    orders = [permuted((seed, epoch), positions, 2000) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert (one == other).mean() < 0.01  # by chance 1 in 2000


def test_neighbours_are_scattered(form):
    where = permuted((0, 0), np.arange(4096), 4096)
    assert abs(np.corrcoef(where[:-1], where[1:])[0, 1]) < 0.06
    assert abs(np.corrcoef(np.arange(4096), where)[0, 1]) < 0.06


def test_a_hundred_million_blocks_cost_no_memory():
    permuted((0, 0), np.arange(8), 100_000_007)
    tracemalloc.start()
    found = permuted((1, 0), np.arange(5000), 100_000_007)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(found.tolist())) == 5000
    assert 0 <= found.min() < 1e7
    assert 9e7 < found.max() < 100_000_007
    assert peak < 5e6


def test_order_is_the_same_for_ever():
    """These numbers are part of every recorded result: they may not change with a NumPy version."""
    assert permuted(("train", 0, 0, 0), np.arange(6), 1000).tolist() == [790, 326, 37, 671, 863, 859]
    assert permuted(("train", 0, 0, 0), np.arange(4), 10**9).tolist() == [616379722, 648611776, 304412880, 998729438]

from __future__ import annotations

import numpy as np
import pytest

from procray.tasks.rng import below, generator, words
from procray.tasks.sequences import picked, shuffles


def test_words_are_those_of_the_generator():
    drawn = words(generator(0, "train", "x", 0), 3, 5)
    assert drawn.shape == (3, 5)
    assert drawn.dtype == np.uint32
    expected = generator(0, "train", "x", 0).integers(0, 2**32, (3, 5), dtype=np.uint32)
    assert np.array_equal(drawn, expected)


def test_numbers_below_a_bound():
    ends = np.array([0, 2**32 - 1], np.uint32)
    assert below(ends, 7).tolist() == [0, 6]
    assert below(ends, 2**20).tolist() == [0, 2**20 - 1]
    drawn = below(words(generator(0, "train", "x", 0), 30_000, 2), np.array([3, 5]))
    for column, bound in enumerate((3, 5)):
        share = np.bincount(drawn[:, column]) / 30_000
        assert share == pytest.approx(np.full(bound, 1 / bound), abs=0.012)


@pytest.mark.parametrize("count", [1, 2, 5, 100, 256, 257, 1000])
def test_shuffles_are_permutations_and_differ(count):
    made = shuffles(generator(0, "train", "x", 0), 20, count)
    assert np.array_equal(np.sort(made, axis=1), np.tile(np.arange(count), (20, 1)))
    assert count < 100 or len({row.tobytes() for row in made}) == 20
    some = shuffles(generator(0, "train", "x", 0), 20, count, 3)
    assert np.array_equal(some, made[:, :3])


@pytest.mark.parametrize("options", [5, 40, 1000])
def test_picked_numbers_differ_and_are_uniform(options):
    made = picked(generator(0, "train", "x", 0), 20_000, 5, options)
    assert (np.diff(np.sort(made, axis=1)) > 0).all()
    for column in (0, 4):
        share = np.bincount(made[:, column] * 5 // options, minlength=5) / 20_000
        assert share == pytest.approx(np.full(5, 0.2), abs=0.015)

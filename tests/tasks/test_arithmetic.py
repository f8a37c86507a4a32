from __future__ import annotations

import numpy as np
import pytest
import slow_tasks as slow
from checks import assert_shifted
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks
from procray.batch import CORRECTED, FIRST, OFFICIAL, STOP

# The name, digits that the paper's code is run with, and how a problem is written.
KINDS = {
    "addition": (5, lambda a, b, digits: slow.calculated(a, b, "+", 3 * digits + 4)),
    "reversed_addition": (10, lambda a, b, digits: slow.calculated(a, b, "+", 3 * digits + 4, backwards=True)),
    "multiplication": (5, lambda a, b, digits: slow.calculated(a, b, "*", 5 * digits + 4)),
}


def read(row, digits, backwards):
    """The two numbers of a sequence."""
    numbers = row[:digits], row[digits + 1 : 2 * digits + 1]
    return [int("".join(map(str, number[::-1] if backwards else number))) for number in numbers]


@pytest.mark.parametrize("name", KINDS)
@given(size=st.integers(1, 12), digits=st.integers(1, 9), seed=st.integers(0, 2**64))
@settings(max_examples=40, deadline=None)
def test_sequences_are_those_of_the_released_code(name, size, digits, seed):
    batch = tasks.get(name, digits=digits).sample(seed, "train", 1, size)
    for row in batch.tokens_BT.tolist():
        a, b = read(row, digits, name.startswith("reversed"))
        assert 10 ** (digits - 1) <= min(a, b)
        expected = KINDS[name][1](a, b, digits)
        assert row + [12] * (len(expected) - len(row)) == expected
    assert_shifted(batch, pad=12)
    assert batch.nominal_tokens == size * len(expected)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("mask", ["official", "corrected"])
@given(size=st.integers(1, 12), digits=st.integers(1, 9), seed=st.integers(0, 2**64))
@settings(max_examples=25, deadline=None)
def test_what_is_trained(name, mask, size, digits, seed):
    task = tasks.get(name, digits=digits, mask=mask)
    batch = task.sample(seed, "train", 1, size)
    for tokens_T, targets_T, mask_T in zip(batch.tokens_BT, batch.targets_BT, batch.mask_BT, strict=True):
        if mask == "official":  # the current token is one of the answer or its end; the last position predicts nothing
            expected_T = tokens_T >= 20
            expected_T[task.positions - 1 :] = False
        else:
            expected_T = targets_T >= 20
        assert np.array_equal(mask_T, expected_T)


@pytest.mark.parametrize("name", KINDS)
def test_parts_are_the_same_whatever_is_trained(name):
    official, corrected = (tasks.get(name, mask=mask).sample(3, "train", 0, 500) for mask in ("official", "corrected"))
    assert np.array_equal(official.tokens_BT, corrected.tokens_BT)
    assert np.array_equal(official.parts_BT, corrected.parts_BT)
    parts_BT, targets_BT = official.parts_BT, official.targets_BT
    assert np.array_equal((parts_BT & OFFICIAL) > 0, official.mask_BT)
    assert np.array_equal((parts_BT & (CORRECTED | STOP)) > 0, corrected.mask_BT)
    assert np.array_equal((parts_BT & STOP) > 0, targets_BT == 30)
    assert np.array_equal((parts_BT & FIRST) > 0, official.tokens_BT == 11)


@pytest.mark.parametrize(
    ("name", "floor"), [("addition", 0.309), ("reversed_addition", 0.215), ("multiplication", 0.266)]
)
def test_guessing_digits_and_knowing_the_end(name, floor):
    """What the released mask gives a model that has learnt nothing but where an answer ends."""
    batch = tasks.get(name, mask="official").sample(0, "train", 0, 20_000)
    scored = batch.targets_BT[batch.mask_BT]
    assert np.where((scored >= 20) & (scored < 30), 0.1, 1).mean() == pytest.approx(floor, abs=0.003)


@pytest.mark.parametrize("name", KINDS)
def test_the_released_settings_are_the_defaults(name):
    digits = KINDS[name][0]
    task = tasks.get(name)
    assert task.recipe() == {"name": name, "digits": digits, "mask": "corrected"}
    assert (task.vocab_size, task.diagnostic) == (31, True)
    assert task.positions == (29 if name == "multiplication" else 3 * digits + 4)
    numbers = [
        read(row, digits, name.startswith("reversed")) for row in task.sample(0, "train", 0, 5000).tokens_BT.tolist()
    ]
    share = (np.array(numbers) / 10 ** (digits - 1)).astype(int)  # the leading digits
    assert np.bincount(share.ravel(), minlength=10)[1:] / share.size == pytest.approx(np.full(9, 1 / 9), abs=0.015)


def test_the_largest_numbers_do_not_overflow():
    for name, digits in (("addition", 17), ("reversed_addition", 17), ("multiplication", 9)):
        batch = tasks.get(name, digits=digits).sample(1, "train", 0, 300)
        for row in batch.tokens_BT.tolist():
            expected = KINDS[name][1](*read(row, digits, name.startswith("reversed")), digits)
            assert row == expected[: len(row)]


def test_text():
    assert tasks.samples(tasks.get("multiplication", digits=2), 1)[0].count("*") == 1
    task = tasks.get("addition", digits=2)
    assert task.text(np.array([4, 7, 10, 1, 2, 11, 25, 29, 30, 12])) == "4 7 + 1 2 = 5 9 ."

from __future__ import annotations

import numpy as np
import pytest

from procray import tasks
from procray.errors import TaskError
from procray.tasks import Curriculum, Span


def lengths_of(task, count, size=2):
    return [int(task.sample(0, "train", index, size).mask_BT.sum(axis=1)[0]) for index in range(count)]


def test_a_range_is_drawn_anew_for_every_batch():
    task = tasks.get("identity", length={"min": 2, "max": 6})
    assert task.length == Span(2, 6)
    drawn = lengths_of(task, 2000)
    assert np.bincount(drawn, minlength=7)[2:] / 2000 == pytest.approx(np.full(5, 0.2), abs=0.03)
    assert drawn[:40] == lengths_of(task, 40)
    batch = task.sample(0, "train", 5, 9)
    assert (batch.mask_BT.sum(axis=1) == drawn[5]).all(), "one length for the whole batch"
    assert batch.nominal_tokens == 9 * (2 * drawn[5] + 1)


def test_a_range_counts_its_mean_and_holds_its_longest():
    task = tasks.get("union", length={"min": 4, "max": 7})
    assert task.mean_tokens == (10 + 11 + 14 + 15) / 4
    assert task.positions == 15


def test_a_range_of_words_has_even_lengths_only():
    task = tasks.get("dyck", length={"min": 4, "max": 8}, k=2)
    widths = {task.sample(0, "train", index, 1).tokens_BT.shape[1] for index in range(60)}
    assert widths == {4, 6, 8}
    assert task.mean_tokens == 6


def test_a_range_of_one_length_is_that_length():
    assert tasks.get("set", length={"min": 8, "max": 8}) == tasks.get("set", length=8)


def test_a_curriculum_starts_small_and_grows_to_its_maximum():
    task = tasks.get("reverse", length={"start": 3, "step": 4, "max": 10})
    assert task.curriculum == Curriculum(3, 4, 0.99, 10)
    assert [task.curriculum.after(length) for length in (3, 7, 10)] == [7, 10, 10]
    assert task.positions == task.mean_tokens == 21
    assert task.sample(0, "train", 0, 2).tokens_BT.shape == (2, 7)
    assert task.sample(0, "train", 0, 2, length=7).tokens_BT.shape == (2, 15)
    assert tasks.get("reverse", length=10).curriculum is None


def test_an_asked_length_must_fit():
    task = tasks.get("stack", length=10)
    assert task.sample(0, "train", 0, 2, length=4).nominal_tokens == 2 * 8
    with pytest.raises(TaskError, match="length 11 was asked for; expected a length from 3 to 10"):
        task.sample(0, "train", 0, 2, length=11)
    with pytest.raises(TaskError, match="length 2 was asked for"):
        task.nominal_tokens(0, "train", 0, 2, length=2)


@pytest.mark.parametrize(
    ("length", "messages"),
    [
        (0, ["length is 0; expected a whole number from 1 to 8192"]),
        (True, ["length is True"]),
        ("12", ["length is '12'"]),
        (8.0, ["length is 8.0"]),
        ({"min": 9, "max": 4}, ["length min 9 is greater than length max 4"]),
        ({"min": 2}, ["length needs 'max'"]),
        ({"max": 2}, ["length needs 'min'"]),
        ({}, ["length needs 'start'", "length needs 'max'"]),
        ({"min": 0, "max": 9000}, ["length min is 0", "length max is 9000"]),
        ({"min": 2, "max": 4, "stop": 3}, ["length has the unknown key 'stop'"]),
        ({"start": 4, "max": 9, "mastry": 0.9}, ["unknown key 'mastry'; did you mean 'mastery'?"]),
        ({"start": 12, "max": 9}, ["length start 12 is greater than length max 9"]),
        ({"start": 2, "max": 9, "mastery": 1.5}, ["length mastery is 1.5; expected an accuracy above 0"]),
        ({"start": 2, "max": 9, "step": 0, "mastery": "x"}, ["length step is 0", "length mastery is 'x'"]),
    ],
)
def test_bad_lengths_name_every_problem(length, messages):
    with pytest.raises(TaskError) as error:
        tasks.get("identity", length=length)
    for message in messages:
        assert message in str(error.value)

"""What cheap strategies score, held against what can be worked out by hand."""

import pytest

from procray import tasks
from procray.tasks.chance import LAST, ONE, SHOWN, chance


def test_haystack_by_hand():
    # n pairs, n uniform from 1 to 30: one of n values is the answer, and another is the same once in 127.
    found = chance(tasks.get("haystack"))
    expected = sum((1 + (n - 1) / 127) / n for n in range(1, 31)) / 30
    assert found[SHOWN] == pytest.approx(expected, abs=0.015)
    assert found[ONE] == pytest.approx(1 / 127, abs=0.005)
    assert found[LAST] == 0  # the token before the answer is the marker


def test_reading_off_a_sum_is_no_better_than_a_digit_by_chance():
    found = chance(tasks.get("addition"))
    assert 0.05 < found[SHOWN] < 0.15
    assert 0.09 < found[ONE] < 0.2  # the stop is one answer in twelve, and the first digit of a sum is seldom even


def test_copying_three_symbols():
    # Before the first answer three symbols are shown, two of which may be the same.
    found = chance(tasks.get("identity", length=3, vocab=1000))
    assert found[SHOWN] == pytest.approx(1 / 3, abs=0.01)


def test_sorted_numbers_are_shown_although_their_ids_differ():
    found = chance(tasks.get("sorting", numbers=4, values=30_000))
    assert found[SHOWN] == pytest.approx(1 / 4, abs=0.01)


@pytest.mark.parametrize("name", tasks.names())
def test_every_task_has_chance_levels_that_are_the_same_each_time(name):
    task = tasks.get(name)
    found = chance(task)
    assert found
    assert all(0 <= value <= 1 for value in found.values())
    assert chance(tasks.from_recipe(task.recipe())) == found


def test_combined_tasks_and_curricula_have_them_too():
    both = tasks.get("mixture", parts=[(tasks.get("set"), 1), (tasks.get("identity"), 1)])
    assert set(chance(both)) == {ONE, SHOWN, LAST}
    assert chance(tasks.get("shuffled", task=tasks.get("identity")))[SHOWN] < 0.1
    grown = tasks.get("identity", length={"start": 2, "step": 2, "mastery": 0.9, "max": 64})
    assert chance(grown)[SHOWN] == pytest.approx(chance(tasks.get("identity", length=64))[SHOWN], abs=0.005)

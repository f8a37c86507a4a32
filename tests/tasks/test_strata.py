from collections import Counter

import numpy as np
import pytest

from procray import tasks
from procray.tasks.strata import MOST_LENGTHS, apportion, strata, stratified

RANGE = tasks.get("identity", length={"min": 2, "max": 24}, vocab=12)
LONG = tasks.get("identity", length={"min": 1, "max": 1000}, vocab=12)
MIXTURE = tasks.get(
    "mixture", parts=[(tasks.get("set", length=6, vocab=12), 0.25), (tasks.get("union", length=6, vocab=12), 0.75)]
)


def by_length(task, count):
    return Counter({kind.length: kind.count for kind in strata(task, count)})


def test_a_range_is_covered_by_all_of_its_lengths_alike():
    found = by_length(RANGE, 256)
    assert set(found) == set(range(2, 25))
    assert sum(found.values()) == 256
    assert set(found.values()) == {11, 12}


def test_of_a_long_range_lengths_stand_in_the_middle_of_equal_shares():
    found = by_length(LONG, 256)
    assert len(found) == MOST_LENGTHS
    assert set(found.values()) == {256 // MOST_LENGTHS}
    assert sum(length * count for length, count in found.items()) / 256 == pytest.approx(500.5, abs=1)
    assert sorted(found)[:2] == [16, 47]  # of 31.25 lengths each


def test_few_sequences_are_spread_too():
    assert by_length(RANGE, 3) == {5: 1, 13: 1, 21: 1}
    assert sum(by_length(LONG, 5).values()) == 5


def test_parts_of_a_mixture_have_their_shares():
    sizes = Counter[tuple[int, ...]]()
    for kind in strata(MIXTURE, 256):
        sizes[kind.part] += kind.count
    assert sizes == {(0,): 64, (1,): 192}
    assert apportion([0.5, 0.3, 0.2], 7) == [4, 2, 1]


def test_a_stratum_is_what_its_task_makes():
    for task, part in ((RANGE, None), (MIXTURE, MIXTURE.parts[1][0])):
        kind = next(one for one in strata(task, 64) if part is None or one.part == (1,))
        made = kind.sample(0, "validation", 3, 5)
        expected = (part or task).sample(0, "validation", 3, 5, kind.length)
        assert np.array_equal(made.tokens_BT, expected.tokens_BT)


def test_a_shuffled_mixture_has_the_strata_of_the_mixture():
    shuffled = tasks.get("shuffled", task=MIXTURE)
    for own, other in zip(strata(shuffled, 64), strata(MIXTURE, 64), strict=True):
        assert (own.part, own.length, own.count) == (other.part, other.length, other.count)
        one, two = own.sample(0, "validation", 1, 4), other.sample(0, "validation", 1, 4)
        assert np.array_equal(np.sort(one.tokens_BT, 1), np.sort(two.tokens_BT, 1))
        assert not np.array_equal(one.tokens_BT, two.tokens_BT)


@pytest.mark.parametrize(
    ("task", "expected"),
    [(RANGE, True), (MIXTURE, True), (tasks.get("shuffled", task=RANGE), True), (tasks.get("set", length=6), False)],
)
def test_which_held_out_sets_have_several_strata(task, expected):
    assert stratified(task.recipe()) == expected

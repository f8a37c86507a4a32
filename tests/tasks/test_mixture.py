from __future__ import annotations

import numpy as np
import pytest

from procray import tasks
from procray.errors import TaskError

SET = tasks.get("set", length=10, vocab=30)
UNION = tasks.get("union", length=10, vocab=50)
DYCK = tasks.get("dyck", length=16, k=20)


def test_batches_are_drawn_by_weight():
    mixture = tasks.get("mixture", parts=[(SET, 3), (UNION, 1)])
    drawn = [mixture.part(0, "train", index) for index in range(4000)]
    assert np.bincount(drawn) / 4000 == pytest.approx([0.75, 0.25], abs=0.02)
    assert drawn[:50] == [mixture.part(0, "train", index) for index in range(50)]
    assert drawn[:50] != [mixture.part(1, "train", index) for index in range(50)]


def test_a_batch_is_its_parts_own_batch():
    mixture = tasks.get("mixture", parts=[(SET, 1), (tasks.get("union", length=10, vocab=30), 1)])
    for index in range(12):
        task = mixture.parts[mixture.part(0, "train", index)][0]
        batch, own = mixture.sample(0, "train", index, 5), task.sample(0, "train", index, 5)
        assert np.array_equal(batch.tokens_BT, own.tokens_BT)
        assert np.array_equal(batch.targets_BT, own.targets_BT)
        assert np.array_equal(batch.mask_BT, own.mask_BT)
        assert batch.nominal_tokens == own.nominal_tokens


def test_separators_and_padding_never_collide_with_data():
    mixture = tasks.get("mixture", parts=[(SET, 1), (UNION, 1), (DYCK, 1)])
    assert (mixture.symbols, mixture.separator, mixture.pad, mixture.vocab_size) == (50, 50, 51, 52)
    seen = set()
    for index in range(30):
        number = mixture.part(0, "train", index)
        task = mixture.parts[number][0]
        batch, own = mixture.sample(0, "train", index, 5), task.sample(0, "train", index, 5)
        seen.add(number)
        for mine, theirs in ((batch.tokens_BT, own.tokens_BT), (batch.targets_BT, own.targets_BT)):
            data = theirs < task.symbols
            assert np.array_equal(mine[data], theirs[data])
            assert np.array_equal(mine == 51, theirs == task.pad)
            if task.separator is not None:
                assert np.array_equal(mine == 50, theirs == task.separator)
            else:
                assert (mine != 50).all()
    assert seen == {0, 1, 2}


def test_brackets_alone_have_no_separator():
    mixture = tasks.get("mixture", parts=[(DYCK, 1), (tasks.get("dyck_shuffle", length=16, k=25), 1)])
    assert (mixture.separator, mixture.pad, mixture.vocab_size) == (None, 50, 51)


def test_tokens_are_counted_by_part():
    mixture = tasks.get("mixture", parts=[(tasks.get("set", length={"min": 2, "max": 9}), 2), (DYCK, 1)])
    counted = mixture.tokens_by_part(0, "train", range(40), 8)
    expected = [0, 0]
    for index in range(40):
        expected[mixture.part(0, "train", index)] += mixture.sample(0, "train", index, 8).nominal_tokens
    assert counted == expected
    assert all(counted)
    assert mixture.mean_tokens == pytest.approx((2 * 12 + 16) / 3)
    assert mixture.positions == 19


def test_weights_are_shares_whatever_their_scale():
    a = tasks.get("mixture", parts=[(SET, 3), (UNION, 2)])
    b = tasks.get("mixture", parts=[(SET, 0.6), (UNION, 0.4)])
    assert a == b
    assert a.recipe() == b.recipe()
    thirds = tasks.get("mixture", parts=[(SET, 1), (UNION, 1), (DYCK, 1)])
    assert tasks.from_recipe(thirds.recipe()) == thirds


def test_a_mixture_within_a_mixture_draws_for_itself():
    inner = tasks.get("mixture", parts=[(SET, 1), (UNION, 1)])
    outer = tasks.get("mixture", parts=[(inner, 1), (DYCK, 1)])
    inside = [inner.part(0, "train", index) for index in range(1000) if outer.part(0, "train", index) == 0]
    assert np.mean(inside) == pytest.approx(0.5, abs=0.06)


def test_an_asked_length_is_refused():
    mixture = tasks.get("mixture", parts=[(SET, 1)])
    with pytest.raises(TaskError, match="every part has its own"):
        mixture.sample(0, "train", 0, 2, length=4)


def test_text():
    mixture = tasks.get("mixture", parts=[(SET, 1), (DYCK, 1)])
    assert mixture.text(np.array([3, 5, 40, 3, 41, 41])) == "3 5 | 3"


def test_a_prefix_names_the_part():
    parts = [(SET, 1), (UNION, 1), (DYCK, 2)]
    plain, named = tasks.get("mixture", parts=parts), tasks.get("mixture", parts=parts, prefix=True)
    assert named.vocab_size == plain.vocab_size + 3
    assert (named.positions, named.mean_tokens) == (plain.positions + 1, pytest.approx(plain.mean_tokens + 1))
    seen = set()
    for index in range(30):
        number = plain.part(0, "train", index)
        batch = named.sample(0, "train", index, 5)
        own = named.parts[number][0].sample(0, "train", index, 5)
        assert (batch.tokens_BT[:, 0] == named.pad + 1 + number).all()
        assert np.array_equal(batch.targets_BT[:, :-1], batch.tokens_BT[:, 1:])
        assert not batch.mask_BT[:, 0].any()
        assert np.array_equal(batch.mask_BT[:, 1:], own.mask_BT)
        data = own.tokens_BT < named.parts[number][0].symbols
        assert np.array_equal(batch.tokens_BT[:, 1:][data], own.tokens_BT[data])
        assert batch.nominal_tokens == own.nominal_tokens + 5
        seen.add(number)
    assert seen == {0, 1, 2}
    assert sum(named.tokens_by_part(0, "train", range(9), 5)) == sum(
        named.sample(0, "train", index, 5).nominal_tokens for index in range(9)
    )
    assert named.text(np.array([52, 5, 6, 50, 5, 6, 51])) == "<set> 5 6 | 5 6"


def test_only_a_prefix_changes_the_recipe():
    plain = tasks.get("mixture", parts=[(SET, 1)])
    assert "prefix" not in plain.recipe()
    assert tasks.get("mixture", parts=[(SET, 1)], prefix=False).recipe() == plain.recipe()


def test_parts_of_one_task_have_names_of_their_own():
    mixture = tasks.get("mixture", parts=[(SET, 1), (tasks.get("set", length=4), 1), (UNION, 1)])
    assert mixture.labels == ["set 1", "set 2", "union"]

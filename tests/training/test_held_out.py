"""The test set of a diagnostic: one for all seeds, and never trained on."""

from dataclasses import replace

import numpy as np
import pytest

from procray import tasks
from procray.errors import TaskError
from procray.training import task_source
from procray.training.recipe import Evaluation, ModelShape

from .phases import RANGE, SET, recipe


def source(data=None, sequences=400, **changes):
    data = data or {"task": tasks.get("haystack", pairs=3).recipe()}
    shape = ModelShape(layers=1, heads=1, width=8, context=64)
    plain = {"kind": "diagnostic", "model": shape, "batch": 300, "evaluation": Evaluation(4, sequences)}
    return task_source(recipe(**{**plain, **changes}, data=data))


def contents(batches, pad=0):
    return [tuple(t for t in row if t != pad) for batch in batches for row in batch.tokens_BT.tolist()]


def test_training_never_sees_the_test_set():
    one = source()
    test = set(contents(one.validation(None)))
    plain = replace(one, disjoint=False)
    met = changed = 0
    for step in range(20):
        before, after = contents([plain.batch(step, None)]), contents([one.batch(step, None)])
        assert not test & set(after)
        for old, new in zip(before, after, strict=True):
            met += old in test
            changed += old != new
    assert met == changed > 100  # only those are drawn anew; a third of these sequences has one pair, of 381 forms


def test_what_is_drawn_anew_is_a_whole_sequence_and_the_same_every_time():
    one, again = source(), source()
    for step in (3, 0, 3):
        batch, other = one.batch(step, None), again.batch(step, None)
        for name in ("tokens_BT", "targets_BT", "mask_BT", "parts_BT"):
            assert np.array_equal(getattr(batch, name), getattr(other, name))
        assert np.array_equal(batch.targets_BT[:, :-1], batch.tokens_BT[:, 1:])
        assert batch.nominal_tokens == 300 * 9
        for row, mask, parts in zip(batch.tokens_BT.tolist(), batch.mask_BT, batch.parts_BT, strict=True):
            marker = max(i for i, token in enumerate(row) if token >= 131)
            assert row[marker + 1] == row[row.index(row[marker] - 3) + 1]
            assert np.flatnonzero(mask).tolist() == np.flatnonzero(parts).tolist() == [marker]
            assert not any(row[marker + 2 :])


def test_chances_of_all_other_sequences_stay():
    """One-pair sequences are as frequent as before among those that may be met at all."""
    one = source(sequences=200)
    test = set(contents(one.validation(None)))
    found = [row for step in range(40) for row in contents([one.batch(step, None)])]
    drawn = [row for step in range(40) for row in contents([replace(one, disjoint=False).batch(step, None)])]
    allowed = [row for row in drawn if row not in test]
    for pairs in (1, 2, 3):
        share = [np.mean([len(row) == 2 * pairs + 2 for row in rows]) for rows in (found, allowed)]
        assert share[0] == pytest.approx(share[1], abs=0.02)


def test_the_set_is_the_validation_stream_in_larger_batches():
    one = source(sequences=700)
    whole = contents(one.validation(None))
    assert whole == contents(replace(one, disjoint=False).validation(None))
    assert len(whole) == 700
    assert len(list(one.validation(None))) < 5
    assert whole == contents(source(sequences=700, seed=9).validation(None))


def test_lengths_of_a_batch_stay_and_padding_does_not_count():
    data = {"task": tasks.get("set", length={"min": 2, "max": 4}, vocab=8).recipe()}
    one, plain = source(data, 20), replace(source(data, 20), disjoint=False)
    test = set(contents(one.validation(None), pad=9))
    for step in range(12):
        after = contents([one.batch(step, None)], pad=9)
        assert not test & set(after)
        assert one.batch(step, None).nominal_tokens == plain.batch(step, None).nominal_tokens
        lengths = [{row.index(8) for row in rows} for rows in (after, contents([plain.batch(step, None)], pad=9))]
        assert lengths[0] == lengths[1]


def test_a_task_without_other_sequences_is_refused():
    data = {"task": tasks.get("addition", digits=1).recipe()}
    with pytest.raises(TaskError, match=r"addition: nearly every sequence is among the 81 .* fewer evaluate.sequences"):
        source(data, 2000).batch(0, None)


def test_warm_ups_are_left_as_they_are():
    for data in (SET, RANGE):
        warm = task_source(recipe(data=data))
        task = tasks.from_recipe(data["task"])
        assert np.array_equal(warm.batch(2, None).tokens_BT, task.sample(0, "train", 2, 8).tokens_BT)
        assert sum(len(batch.tokens_BT) for batch in warm.validation(None)) == 16

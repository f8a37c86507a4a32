from __future__ import annotations

import numpy as np
from checks import assert_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks
from procray.batch import CORRECTED, FIRST


@given(size=st.integers(1, 9), numbers=st.integers(1, 30), values=st.integers(2, 200), seed=st.integers(0, 2**64))
@settings(max_examples=40, deadline=None)
def test_the_answer_is_in_ascending_order_and_has_ids_of_its_own(size, numbers, values, seed):
    task = tasks.get("sorting", numbers=numbers, values=values)
    batch = task.sample(seed, "train", 1, size)
    inputs = batch.tokens_BT[:, :numbers].tolist()
    assert all(0 <= n < values for x in inputs for n in x)
    sequences = [([*x, 2 * values], [values + n for n in sorted(x)]) for x in inputs]
    assert_batch(batch, sequences, pad=2 * values + 1)
    assert batch.nominal_tokens == size * task.positions == size * (2 * numbers + 1)
    assert np.array_equal((batch.parts_BT & CORRECTED) > 0, batch.mask_BT)
    assert np.array_equal((batch.parts_BT & FIRST) > 0, batch.tokens_BT == 2 * values)


def test_it_says_that_the_definition_is_ours():
    summary, _, diagnostic = tasks.describe("sorting")
    assert diagnostic
    assert "definition ours; the paper's is unpublished" in summary
    assert tasks.get("sorting", numbers=3, values=5).text(np.array([4, 0, 1, 10, 5, 6, 9])) == "4 0 1 | 0 1 4"

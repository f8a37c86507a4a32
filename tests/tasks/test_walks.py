from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.tasks.walks import bounced


@given(
    length=st.integers(1, 200),
    size=st.integers(1, 5),
    highest=st.integers(1, 300),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=80, deadline=None)
def test_every_step_leads_where_it_can(length, size, highest, share, seed):
    """Walks that are held between both ends, and those that are too short for the upper one."""
    ups_TB = np.random.default_rng(seed).random((length, size)) < share
    depths_SB = bounced(ups_TB, highest)
    assert depths_SB.shape == (length + 1, size)
    for column, ups_T in enumerate(ups_TB.T):
        depth, expected = 0, [0]
        for up in ups_T:
            depth += 1 if depth == 0 or (up and depth < highest) else -1
            expected.append(depth)
        assert depths_SB[:, column].tolist() == expected


@pytest.mark.parametrize("highest", [20_000, 40_000])
def test_depths_beyond_16_bits(highest):
    assert bounced(np.ones((40_000, 1), bool), highest)[:, 0].max() == min(highest, 40_000)

from __future__ import annotations

import numpy as np
import pytest
import slow_tasks as slow
from checks import assert_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks
from procray.errors import TaskError
from procray.tasks.eca import histories

# Rule 110 written out, left centre right -> next.
RULE_110 = {
    (1, 1, 1): 0, (1, 1, 0): 1, (1, 0, 1): 1, (1, 0, 0): 0,
    (0, 1, 1): 1, (0, 1, 0): 1, (0, 0, 1): 1, (0, 0, 0): 0,
}  # fmt: skip


def test_rule_110_is_the_table():
    batch = tasks.get("eca_tokens", length=40).sample(0, "train", 0, 50)
    for row in batch.tokens_BT.tolist():
        s, following = row[:40], row[41:]
        assert following == [RULE_110[s[i - 1], s[i], s[(i + 1) % 40]] for i in range(40)]


@given(size=st.integers(1, 9), length=st.integers(3, 40), rule=st.integers(0, 255), seed=st.integers(0, 2**64))
@settings(max_examples=60, deadline=None)
def test_tokens_are_a_state_and_its_successor(size, length, rule, seed):
    batch = tasks.get("eca", form="tokens", length=length, rule=rule).sample(seed, "train", 1, size)
    states = batch.tokens_BT[:, :length].tolist()
    assert_batch(batch, [([*s, 2], slow.updated(s, rule)) for s in states], pad=3)
    assert batch.nominal_tokens == size * (2 * length + 1)


@pytest.mark.parametrize("rule", range(256))
def test_packed_updates_follow_every_rule(rule):
    """All 8 neighbourhoods in each of 128 rings at once, three updates."""
    first = np.random.default_rng(rule).integers(0, 2**64, (2, 11), dtype=np.uint64)
    history = histories(first, rule, 3)
    bits = (history[..., None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)  # group, step, cell, automaton
    table = np.array([int(digit) for digit in f"{rule:08b}"[::-1]])
    for step in range(3):
        now = bits[:, step].astype(int)
        expected = table[4 * np.roll(now, 1, axis=1) + 2 * now + np.roll(now, -1, axis=1)]
        assert np.array_equal(bits[:, step + 1], expected)


def test_rows_follow_the_rule_inside_the_window():
    batch = tasks.get("eca", form="rows", rule=110, width=20, length=30).sample(0, "train", 0, 70)
    assert batch.rows_BTW.shape == batch.targets_BTW.shape == (70, 30, 20)
    assert np.array_equal(batch.targets_BTW[:, :-1], batch.rows_BTW[:, 1:])
    for b in (0, 63, 64, 69):
        for row, target in zip(batch.rows_BTW[b].tolist(), batch.targets_BTW[b].tolist(), strict=True):
            assert target[1:-1] == slow.updated(row, 110)[1:-1]
    assert batch.mask_BT.shape == (70, 30)
    assert batch.mask_BT.all()
    assert batch.nominal_tokens == 70 * 30


def test_the_window_is_cut_from_a_ring_of_a_thousand_cells():
    batch = tasks.get("eca_rows", rule=30, width=1000, length=3).sample(1, "train", 0, 2)
    for rows, targets in zip(batch.rows_BTW.tolist(), batch.targets_BTW.tolist(), strict=True):
        assert targets == [slow.updated(row, 30) for row in rows]


def test_the_first_row_is_random_and_times_are_spread():
    whole = tasks.get("eca_rows", rule=204, length=1000, width=100).sample(0, "train", 0, 20)
    assert whole.rows_BTW[:, 0].mean() == pytest.approx(0.5, abs=0.05)
    assert (whole.rows_BTW[:, :1] == whole.rows_BTW).all(), "rule 204 keeps every cell"
    # Rule 0 clears the ring at once, so only a sequence that starts at time 0 shows anything.
    cleared = tasks.get("eca_rows", rule=0, length=1, width=100).sample(0, "train", 0, 300)
    assert cleared.rows_BTW.any(axis=(1, 2)).sum() <= 3
    # 8 % of the sequences of 980 rows start at each of the 21 possible times.
    early = tasks.get("eca_rows", rule=0, length=980, width=100).sample(0, "train", 0, 300)
    assert early.rows_BTW.any(axis=(1, 2)).mean() == pytest.approx(1 / 21, abs=0.04)


def test_more_sequences_than_one_group_holds_are_distinct():
    batch = tasks.get("eca_rows", length=2, width=200).sample(0, "train", 0, 300)
    assert len({row.tobytes() for row in batch.rows_BTW}) == 300


def test_what_the_model_needs():
    task = tasks.get("eca_rows", width=80)
    assert (task.rows, task.positions, task.vocab_size, task.mean_tokens) == (80, 60, 2, 60)
    task = tasks.get("eca_tokens", length=32)
    assert (task.rows, task.positions, task.vocab_size, task.mean_tokens) == (None, 65, 4, 65)


def test_the_forms_are_kept_apart():
    with pytest.raises(TaskError, match=r"eca needs form: rows .* or form: tokens"):
        tasks.get("eca")
    with pytest.raises(TaskError, match="not 'row'; did you mean 'rows'"):
        tasks.get("eca", form="row")
    with pytest.raises(TaskError, match="eca needs form"):
        tasks.describe("eca")
    with pytest.raises(TaskError, match="rule is 256; expected a whole number from 0 to 255"):
        tasks.get("eca_rows", rule=256)
    assert tasks.get("eca", form="rows", rule=90).recipe()["name"] == "eca_rows"
    assert tasks.get("eca", form="tokens").recipe() == {"name": "eca_tokens", "length": 64, "rule": 110}


def test_text_is_a_picture():
    assert tasks.get("eca_rows", width=3).text(np.array([[0, 1, 1], [1, 0, 0]])) == ".##\n#.."
    assert tasks.get("eca_tokens", length=3).text(np.array([0, 1, 1, 2, 1, 1, 1])) == "0 1 1 | 1 1 1"

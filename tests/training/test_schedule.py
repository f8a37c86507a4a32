import math

import pytest

from procray.training.recipe import Optimizer
from procray.training.schedule import lr_at


def rates(optimizer: Optimizer, steps: int | None, count: int) -> list[float]:
    return [lr_at(step, optimizer, steps) for step in range(count)]


def test_constant_never_changes():
    assert rates(Optimizer(lr=0.5), None, 4) == [0.5] * 4
    assert lr_at(10**9, Optimizer(lr=0.5), None) == 0.5


def test_warmup_rises_evenly_and_the_update_after_it_is_the_first_at_full_rate():
    assert rates(Optimizer(lr=1.0, warmup_steps=3), None, 5) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_linear_reaches_its_floor_at_the_end():
    # 10 steps, 2 of warm-up: down from 1 at step 2 to 0.2 at step 10, 0.1 a step.
    assert rates(Optimizer(lr=1.0, schedule="linear", warmup_steps=2, min_lr=0.2), 10, 12) == pytest.approx(
        [1 / 3, 2 / 3, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.2]
    )


def test_cosine_with_floor():
    optimizer = Optimizer(lr=2.0, schedule="cosine", min_lr=0.1)
    # Half way the cosine is half way between peak and floor: 2 * (0.1 + 0.9 / 2).
    quarter = 2.0 * (0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2)
    assert rates(optimizer, 8, 9)[::2] == pytest.approx([2.0, quarter, 1.1, 2.2 - quarter, 0.2])
    assert lr_at(100, optimizer, 8) == pytest.approx(0.2)


def test_wsd_holds_and_then_falls_in_a_straight_line():
    optimizer = Optimizer(lr=1.0, schedule="wsd", warmup_steps=1, decay=0.4)
    assert rates(optimizer, 10, 11) == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0])


def test_a_decay_never_begins_within_the_warmup():
    optimizer = Optimizer(lr=1.0, schedule="wsd", warmup_steps=4, decay=1.0)
    assert rates(optimizer, 8, 8) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 0.75, 0.5, 0.25])


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd"])
def test_one_step_is_made_at_full_rate(schedule):
    assert lr_at(0, Optimizer(lr=1.0, schedule=schedule, decay=1.0), 1) == 1.0

"""Predicted rates from measured shapes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from procray.sweep.calibration import mean_rate, phase_rate

MACHINE = {"shapes": [{"width": 256, "flops_per_s": 4e10}, {"width": 64, "flops_per_s": 1e10}]}


def phase(width: int, flops: float = 1.0):
    return SimpleNamespace(recipe=SimpleNamespace(model=SimpleNamespace(width=width)), flops=flops)


@pytest.mark.parametrize(("width", "rate"), [(64, 1e10), (256, 4e10), (128, 2e10), (16, 1e10), (1024, 4e10)])
def test_a_rate_lies_between_those_of_the_measured_widths_and_is_never_extrapolated(width, rate):
    assert phase_rate(phase(width), MACHINE) == pytest.approx(rate)


def test_the_mean_rate_adds_times_not_rates():
    # 1e10 FLOP at 1e10/s and 4e10 FLOP at 4e10/s take two seconds
    assert mean_rate([phase(64, 1e10), phase(256, 4e10)], MACHINE) == pytest.approx(5e10 / 2)

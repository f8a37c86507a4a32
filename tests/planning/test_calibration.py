"""Predicted times from measured shapes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procray.planning.calibration import phase_rate, phase_seconds, speed_key, well_measured
from procray.planning.load import load_text
from procray.planning.planner import plan

MACHINE = {"shapes": [{"width": 256, "flops_per_s": 4e10}, {"width": 64, "flops_per_s": 1e10}]}
TEXT = """\
name: cost
seeds: [0, 1]
model: {layers: 1, heads: 1, width: 64, context: 16}
procedural:
  {task: set, length: 7, batch: 8, tokens: {grid: [1200, 2400]}, optimizer: {lr: {grid: [1e-3, 1e-4]}},
   evaluate: {every: 480}}
transfer: full
semantic: {corpus: c4, tokenizer: byte, batch: 4, tokens: 6400, optimizer: {lr: 1e-3}, evaluate: {every: 640}}
"""


@pytest.mark.parametrize(("width", "rate"), [(64, 1e10), (256, 4e10), (128, 2e10), (16, 1e10), (1024, 4e10)])
def test_a_rate_lies_between_those_of_the_measured_widths_and_is_never_extrapolated(width, rate):
    assert phase_rate(width, MACHINE) == pytest.approx(rate)


def test_phases_that_take_equal_time_are_measured_once():
    phases = list(plan(load_text(TEXT, "f.yaml")).phases.values())
    assert len(phases) > 10
    keys = {speed_key(phase.recipe) for phase in phases}
    assert len(keys) == 2
    recipe = phases[0].recipe
    assert speed_key(replace(recipe, batch=recipe.batch + 1)) not in keys


def test_a_measured_phase_takes_its_steps_and_evaluations():
    phases = list(plan(load_text(TEXT, "f.yaml")).phases.values())
    warm = next(phase for phase in phases if phase.kind == "procedural")
    assert (warm.end, warm.marks, warm.recipe.evaluation.every) == (20, [10, 20], 4)
    machine = {**MACHINE, "measured": {speed_key(warm.recipe): {"step_s": 0.5, "evaluation_s": 3.0}}}
    # evaluations at 0, 4, 8, 10, 12, 16 and 20
    assert phase_seconds(warm, machine) == pytest.approx(20 * 0.5 + 7 * 3.0)
    assert not well_measured(phases, machine)
    assert well_measured([warm], machine)
    tail = next(phase for phase in phases if phase.kind == "semantic")
    assert phase_seconds(tail, machine) == pytest.approx(tail.flops / 1e10)

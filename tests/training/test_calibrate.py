"""The measurements behind `procray doctor`."""

from __future__ import annotations

import pytest
import torch

from procray.training import calibrate

from .phases import recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def machine():
    phase = recipe()
    request = {
        "device": "cpu",
        "threads": 1,
        "seconds": 0.01,
        "corpora": "nowhere",
        "phases": {"mine": {"recipe": phase.to_json(), "vocab": 20}},
    }
    return calibrate.measure(request)


def test_three_shapes_are_measured_and_none_beats_the_peak(machine):
    assert [shape["width"] for shape in machine["shapes"]] == [16, 64, 256]
    for shape in machine["shapes"]:
        assert shape["positions_per_s"] > 0
        assert 0 < shape["flops_per_s"] < machine["matmul_flops_per_s"]["fp32"] * 1.5
    assert machine["copy_bytes_per_s"] > 1e8


def test_a_phase_of_a_sweep_is_measured_as_it_is(machine):
    phase = recipe()
    found = machine["measured"]["mine"]
    assert found["width"] == phase.model.width
    assert 0 < found["step_s"] < 1
    assert 0 < found["evaluation_s"] < 10


def test_text_that_is_not_prepared_is_drawn():
    source = calibrate.Drawn(vocab=50, context=16, size=4, held_out=10)
    batch = source.batch(3, None)
    assert batch.tokens_BT.shape == (4, 16)
    assert batch.tokens_BT.max() < 50
    assert [len(part.mask_BT) for part in source.validation(None)] == [4, 4, 2]


def test_processes_side_by_side_are_averaged(machine):
    slow = {**machine, "measured": {"mine": {**machine["measured"]["mine"], "step_s": 10.0}}}
    together = calibrate.mean([machine, slow])
    assert together["processes"] == 2
    assert together["measured"]["mine"]["step_s"] == pytest.approx((machine["measured"]["mine"]["step_s"] + 10) / 2)

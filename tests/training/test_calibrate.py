"""The measurements behind `procray doctor`."""

from __future__ import annotations

import torch

from procray.training.calibrate import CPU_SHAPES, measure


def test_every_shape_is_measured_and_none_beats_the_peak():
    machine = measure(torch.device("cpu"), threads=1, seconds=0.01)
    assert [shape["width"] for shape in machine["shapes"]] == [shape.width for shape in CPU_SHAPES]
    for shape in machine["shapes"]:
        assert shape["positions_per_s"] > 0
        assert 0 < shape["flops_per_s"] < machine["matmul_flops_per_s"] * 1.5
    assert machine["copy_bytes_per_s"] > 1e8

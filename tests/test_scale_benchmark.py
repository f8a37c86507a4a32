"""The simulation of large sweeps: the real agenda in virtual time, on recorded durations."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import scale


def test_a_sweep_keeps_its_nodes_busy():
    found = scale.simulate(nodes=8, cells=1001)
    bound = max(found["critical"], found["work"] / 8)
    assert bound <= found["makespan"] <= 1.05 * bound
    assert len(found["spans"]) == found["segments"]
    events = sorted([(start, 1) for start, _ in found["spans"]] + [(stop, -1) for _, stop in found["spans"]])
    running = 0
    for _, change in events:
        running += change
        assert running <= 8


def test_more_nodes_than_work_are_bounded_by_the_longest_chain():
    found = scale.simulate(nodes=5000, cells=1001)
    assert found["makespan"] == pytest.approx(found["critical"])


def test_requests_are_spread_over_the_schedule_and_none_is_lost():
    spans = [[0.0, 30.0], [5.0, 12.5]]
    mean, peak = scale.load_of(spans, each=10.0, second=2.0, window=10.0)
    assert mean * 30.0 == pytest.approx(2 * 10 + 2 * 37.5)
    assert peak * 10.0 == pytest.approx(5 + 5 + 2 * 10 + 2 * 5)


def test_the_trace_has_segments_of_both_kinds():
    trace = scale.read_trace()
    assert {"procedural", "semantic"} <= set(trace)
    assert all(flops > 0 and seconds > 0 for rows in trace.values() for flops, seconds in rows)

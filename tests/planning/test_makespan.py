"""The time and the price of a plan."""

from __future__ import annotations

import pytest

from procray.planning.load import load_text
from procray.planning.makespan import SEGMENT_SECONDS, estimate
from procray.planning.planner import plan

TEXT = """\
name: cost
model: {layers: 1, heads: 1, width: 8, context: 16}
procedural: {task: set, length: 8, batch: 8, tokens: {grid: [10k, 20k]}, optimizer: {lr: 1e-3}}
transfer: {grid: [full, mlp]}
semantic: {corpus: c4, tokenizer: byte, batch: 4, tokens: 10k, optimizer: {lr: 1e-3}}
resources: {gpu: 0.5, workers: 2}
"""


@pytest.fixture
def graph():
    return plan(load_text(TEXT, "f.yaml"))


def test_time_is_that_of_the_schedule(graph):
    """Two workers each; a segment of the warm-up and one of each tail wait for nothing else."""
    seconds = {id: 10.0 * (1 + number) for number, id in enumerate(graph.phases)}
    phases, segments = graph.phases.values(), graph.segments()
    one, many = (estimate(phases, segments, lambda phase: seconds[phase.id], concurrent=n) for n in (1, 100))
    assert one.seconds == pytest.approx(sum(seconds.values()) + SEGMENT_SECONDS * len(segments))
    warm = next(phase for phase in graph.phases.values() if phase.kind == "procedural")
    tails = [phase for phase in graph.phases.values() if phase.parents]
    ends = []
    for tail in tails:  # a tail starts at its own mark of the warm-up
        step = tail.parents[0].step
        start = seconds[warm.id] * step / warm.end + SEGMENT_SECONDS * (1 + warm.marks.index(step))
        ends.append(start + seconds[tail.id] + SEGMENT_SECONDS)
    assert many.seconds == pytest.approx(max(ends))
    work = sum(times * graph.phases[id].resources["gpu"] * 2 for id, times in seconds.items())
    assert one.gpu_hours == pytest.approx(work / 3600)


def test_what_is_done_costs_nothing(graph):
    warm = next(phase for phase in graph.phases.values() if phase.kind == "procedural")
    seconds = lambda phase: phase.flops / 1e9
    phases, segments = graph.phases.values(), graph.segments()
    everything = estimate(phases, segments, seconds)
    rest = estimate([phase for phase in phases if phase is not warm], segments, seconds, price_per_gpu_hour=2.0)
    assert rest.flops == pytest.approx(everything.flops - warm.flops)
    assert rest.seconds < everything.seconds
    assert rest.cost == pytest.approx(2 * rest.gpu_hours)
    assert everything.cost is None
    assert estimate([], segments, seconds).seconds == 0

"""Costs of a plan."""

from __future__ import annotations

import pytest

from procray.model.shape import parameters
from procray.sweep.estimate import config, disk_bytes, estimate
from procray.sweep.load import load_text
from procray.sweep.plan import plan

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


def test_disk_counts_marks_and_one_resume_state(graph):
    warm = next(phase for phase in graph.phases.values() if phase.kind == "procedural")
    weights = parameters(config(warm.recipe.model, warm.vocab, None)) * 4
    assert disk_bytes([warm]) == weights * (2 + 3)


def test_time_is_bounded_by_the_longest_chain(graph):
    one, many = (estimate(graph, 1e9, concurrent=n) for n in (1, 100))
    chain = max(
        sum(graph.phases[id].flops for id in (phase.id, *(p.phase for p in phase.parents)))
        for phase in graph.phases.values()
    )
    assert one.seconds == pytest.approx(graph.totals["flops"] / 2e9)
    assert many.seconds == pytest.approx(chain / 2e9)
    assert one.gpu_hours == pytest.approx(one.seconds / 3600)  # half a GPU for each of two workers


def test_what_is_done_costs_nothing(graph):
    warm = next(phase for phase in graph.phases.values() if phase.kind == "procedural")
    everything, rest = estimate(graph, 1e9), estimate(graph, 1e9, done=[warm.id], price_per_gpu_hour=2.0)
    assert rest.flops == pytest.approx(everything.flops - warm.flops)
    assert rest.cost == pytest.approx(2 * rest.gpu_hours)
    assert everything.cost is None
    assert estimate(graph, 1e9, done=list(graph.phases)).seconds == 0

"""What a phase costs by its shape."""

from __future__ import annotations

from procray.model.shape import parameters
from procray.planning.costs import disk_bytes
from procray.planning.load import load_text
from procray.planning.planner import plan

TEXT = """\
name: cost
model: {layers: 1, heads: 1, width: 8, context: 16}
procedural: {task: set, length: 8, batch: 8, tokens: {grid: [10k, 20k]}, optimizer: {lr: 1e-3}}
semantic: {corpus: c4, tokenizer: byte, batch: 4, tokens: 10k, optimizer: {lr: 1e-3}}
"""


def test_disk_counts_marks_and_one_resume_state():
    graph = plan(load_text(TEXT, "f.yaml"))
    warm = next(phase for phase in graph.phases.values() if phase.kind == "procedural")
    weights = parameters(warm.recipe.model.config(warm.vocab, None)) * 4
    assert disk_bytes([warm]) == weights * (2 + 3)

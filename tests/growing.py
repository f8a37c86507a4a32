"""A small sweep whose warm-ups grow with what they master, with controls, and all of it really trained, without Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from procray import corpora
from procray.execution import run_segment
from procray.planning import Plan, plan
from procray.planning.load import load_text
from procray.store.store import Store

WORDS = ["a", "be", "see", "dear", "eagle", "fiddle", "gazelle", "hedgehog"]
FILE = """\
name: growing
seeds: [0, 1]
model: {{layers: 1, heads: 2, width: 16, context: 48}}
procedural:
  task: identity
  length: {{start: 1, step: 1, mastery: 0.12, max: 6}}
  vocab: 12
  batch: 8
  tokens: {{grid: [1k, 3k]}}
  evaluate: {{every: 500, sequences: 16}}
  optimizer: {{lr: 3e-3}}
semantic:
  corpus: {{files: [{corpus}]}}
  tokenizer: byte
  tokens: 768
  batch_tokens: 192
  evaluate: {{every: 384, sequences: 4}}
  optimizer: {{lr: 1e-3}}
controls: [shuffled, text]
"""


def make(folder: Path) -> Plan:
    corpus = folder / "text.txt"
    corpus.write_text(" ".join(WORDS[number * number % 7] for number in range(4000)), encoding="utf-8")
    return plan(load_text(FILE.format(corpus=corpus), str(folder / "growing.yaml")))


def train(graph: Plan, store: Store, stop: Callable[[], Callable[[], bool]] = lambda: lambda: False) -> None:
    """Trains every segment in the plan's order.

    Args:
        stop: makes the `should_stop` of each attempt at a segment, which is begun again until it is done.
    """
    for segment in graph.segments():
        phase = graph.phases[segment.phase]
        if "corpus" in phase.recipe.data:
            corpora.prepare(phase.recipe.data, store.corpora, 10_000, lambda text: None)
        marks = list(segment.marks)
        job = {"store": store.address, "phase": phase.id, "recipe": phase.recipe.to_json(), "label": phase.label}
        job |= {"until": segment.until, "marks": marks, "keep": phase.marks, "last": segment.until == phase.end}
        while (found := run_segment(job, stop()))["state"] == "paused":
            pass
        assert found["state"] == "done", found

"""Pieces of sweep files with one warm-up or several, and the plans that are made of them."""

from __future__ import annotations

import json
import textwrap

from procray.planning.load import load_text
from procray.planning.plan import Plan
from procray.planning.plan_json import plan_from_json
from procray.planning.plan_text import plan_lines
from procray.planning.planner import plan

HEAD = """\
name: roles
seeds: [0, 1]
model: {layers: 2, heads: 2, width: 16, context: 32}
"""
WARM = """\
procedural:
  task: {grid: [union, set, sort]}
  length: 8
  batch: 16
  tokens: 10k
  optimizer: {lr: 1e-3}
"""
DIAGNOSTIC = "diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: {grid: [1e-3, 3e-3]}}}\n"
TEXT = "semantic: {corpus: c4, tokenizer: byte, tokens: 100k, batch: 8, optimizer: {lr: 5e-4, schedule: cosine}}\n"


def step(name: str, task: str, length: int = 8, transfer: str = "") -> str:
    section = f"{{task: {task}, length: {length}, batch: 16, tokens: 10k, optimizer: {{lr: 1e-3}}}}"
    carried = f"transfer: {transfer}, " if transfer else ""
    return f"  - {{name: {name}, {carried}procedural: {section}}}\n"


def links(*warm: str, transfer: str = "full") -> str:
    return "chain:\n" + "".join(warm) + f"  - {{transfer: {transfer}, {TEXT.rstrip()}}}\n"


def build(text: str, **settings) -> Plan:
    graph = plan(load_text(HEAD + textwrap.dedent(text), "f.yaml", set=settings or None))
    check(graph)
    return graph


def check(graph: Plan) -> None:
    """What holds of every plan: ids, its JSON both ways, labels, and seeds of whatever a cell descends from."""
    assert all(key == phase.id == phase.recipe.id for key, phase in graph.phases.items())
    written = graph.to_json()
    assert plan_from_json(json.loads(json.dumps(written))) == graph
    assert json.loads(b"".join(plan_lines(graph))) == json.loads(json.dumps(written))
    assert len({phase.label for phase in graph.phases.values()}) == len(graph.phases)
    for cell in graph.cells:
        assert graph.phases[cell.compared].recipe.seed == cell.seed
        for mark in cell.warmups:
            assert graph.phases[mark.phase].recipe.seed == (cell.seed if cell.donor is None else cell.donor)
        assert cell.donor is None or cell.warmups

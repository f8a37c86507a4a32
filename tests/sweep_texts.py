"""Sweep files that are right, for tests that spoil them."""

from __future__ import annotations

GOOD = """\
name: good
seeds: [0, 1]
model: {layers: 2, heads: 2, width: 16, context: 32}
procedural:
  task: {grid: [union, set]}
  length: 8
  batch: 16
  tokens: 10k
  optimizer: {lr: 1e-3}
transfer: {grid: [full, mlp]}
semantic:
  corpus: c4
  tokenizer: byte
  tokens: 100k
  batch: 8
  optimizer: {lr: 5e-4, schedule: cosine, min_lr: 0.1}
  evaluate: {every: 10k}
"""

TASK_TAIL = """\
name: probe
model: {layers: 1, heads: 1, width: 8, context: 8}
procedural: {task: set, length: 8, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}
diagnostic: {task: haystack, pairs: 8, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}
"""

CHAIN = """\
name: chain
model: {layers: 1, heads: 1, width: 8, context: 16}
chain:
  - {name: first, procedural: {task: set, length: 8, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}}
  - semantic: {corpus: c4, tokenizer: byte, batch: 4, tokens: 10k, optimizer: {lr: 1e-3}}
    transfer: {attention: first}
"""

TARGETS = """\
name: targets
model: {layers: 1, heads: 1, width: 8}
targets:
  - {name: small, diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}}
  - {name: large, diagnostic: {task: haystack, pairs: 8, batch: 8, tokens: 10k, optimizer: {lr: {grid: [1e-3, 1e-2]}}}}
"""


def change(old, new, text=GOOD):
    """The text with its first `old` replaced."""
    assert old in text
    return text.replace(old, new, 1)

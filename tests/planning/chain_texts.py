"""Pieces of sweep files with one warm-up or several."""

from __future__ import annotations

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
TEXT = "semantic: {corpus: c4, tokenizer: byte, tokens: 100k, batch: 8, optimizer: {lr: 5e-4, schedule: cosine}}\n"


def step(name: str, task: str, length: int = 8, transfer: str = "") -> str:
    section = f"{{task: {task}, length: {length}, batch: 16, tokens: 10k, optimizer: {{lr: 1e-3}}}}"
    carried = f"transfer: {transfer}, " if transfer else ""
    return f"  - {{name: {name}, {carried}procedural: {section}}}\n"


def links(*warm: str, transfer: str = "full") -> str:
    return "chain:\n" + "".join(warm) + f"  - {{transfer: {transfer}, {TEXT.rstrip()}}}\n"

"""What a step computes is counted on samples, of a size that planning can afford."""

from __future__ import annotations

import pytest

from procray import tasks
from procray.errors import ProcrayError
from procray.model.gpt2.shape import GPT2Config
from procray.planning.load import load_text
from procray.planning.work import flops_per_step

ONE = {"workers": 1, "gpu": 0}
HAYSTACK = {"task": tasks.get("haystack", pairs=10).recipe()}
CONFIG = GPT2Config(2, 4, 64, 100, 64)


def test_a_batch_too_large_to_be_drawn_is_counted_by_a_part_of_it():
    small = flops_per_step(HAYSTACK, CONFIG, 20_000, 64, ONE)
    assert flops_per_step(HAYSTACK, CONFIG, 10**9, 64, ONE) == pytest.approx(small * 10**9 / 20_000, rel=0.05)


def test_more_workers_than_sequences_are_counted_as_one_a_sequence():
    assert flops_per_step(HAYSTACK, CONFIG, 2, 64, {"workers": 10**9, "gpu": 0}) > 0


@pytest.mark.parametrize("key", ["corpus", "tokenizer"])
def test_a_name_too_long_for_any_file_is_an_unknown_name(key):
    semantic = {"corpus": "python-stdlib", "tokenizer": "byte"} | {key: "x" * 5000}
    text = f"""
name: long
setting: additive
model: {{layers: 1, heads: 2, width: 8, context: 16}}
semantic:
  {{corpus: {semantic["corpus"]}, tokenizer: {semantic["tokenizer"]}, tokens: 1k, batch: 2, optimizer: {{lr: 1e-3}}}}
"""
    with pytest.raises(ProcrayError, match=f"unknown {key}"):
        load_text(text, "long.yaml")

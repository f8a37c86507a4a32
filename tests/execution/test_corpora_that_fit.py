"""What a phase would find out when its turn comes is found out when its corpus has been prepared."""

from __future__ import annotations

import pytest

from procray.errors import CorpusError
from procray.execution.preparation import prepare_corpora
from procray.planning import plan
from procray.planning.load import load_text
from procray.store.store import Store

FILE = """\
name: small
seeds: [0]
model: {{layers: 1, heads: 2, width: 16, context: {context}}}
procedural: {{task: reverse, length: 4, batch: 8, tokens: 1k, optimizer: {{lr: 1e-3}}}}
transfer: full
semantic:
  corpus: {{files: "{files}"}}
  tokenizer: byte
  tokens: 8Ki
  batch: 4
  optimizer: {{lr: 1e-3}}
  evaluate: {{every: 4Ki, sequences: 8}}
"""


def graph(tmp_path, context, words=110):
    (tmp_path / "a.txt").write_text("some words\n" * words)
    return plan(load_text(FILE.format(context=context, files=tmp_path / "*.txt"), "f.yaml"))


def test_a_corpus_smaller_than_the_context_is_refused_at_its_preparation(tmp_path):
    with pytest.raises(CorpusError, match=r"its validation split has 1\d\d tokens, too few for one block of 1,024"):
        prepare_corpora(graph(tmp_path, 1024, 220), Store(tmp_path / "store"))


def test_what_a_phase_will_meet_is_said(tmp_path):
    said = []
    (prepared,) = prepare_corpora(graph(tmp_path, 16), Store(tmp_path / "store"), said.append)
    assert prepared.train_tokens > 1000
    assert any("its validation split has 3 blocks of 16 tokens, and evaluations take these" in line for line in said)

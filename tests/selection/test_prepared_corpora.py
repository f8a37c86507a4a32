"""`procray plan` knows of corpora what is known before anything trains: what is prepared, and the size of files."""

from __future__ import annotations

import pytest

from procray import corpora
from procray.cli.plan_view import plan_json, plan_text
from procray.errors import CorpusError, SpecError
from procray.planning import plan
from procray.planning.load import load_text
from procray.selection.prepared import check_plan
from procray.store.store import Store

FILE = """\
name: small
seeds: [0]
model: {{layers: 1, heads: 2, width: 16, context: {context}}}
procedural: {{task: {task}, length: 4, batch: 8, tokens: 4k, optimizer: {{lr: 1e-3}}}}
semantic:
  corpus: {{files: "{files}"}}
  tokenizer: byte
  tokens: 8Ki
  batch: 4
  optimizer: {{lr: 1e-3}}
  evaluate: {{every: 4Ki, sequences: 8}}
"""


def graph(folder, context, words=220, task="reverse"):
    (folder / "a.txt").write_text("some words\n" * words)
    return plan(load_text(FILE.format(context=context, files=folder / "*.txt", task=task), "f.yaml"))


@pytest.fixture
def store(tmp_path):
    for phase in graph(tmp_path, 16).phases.values():
        if "corpus" in phase.recipe.data:
            corpora.prepare(phase.recipe.data, Store(tmp_path / "store").corpora, 10_000, lambda said: None)
    return Store(tmp_path / "store")


def test_what_is_not_prepared_is_not_known_and_nothing_is_written(tmp_path):
    empty = Store(tmp_path / "store")
    assert check_plan(graph(tmp_path, 1024), empty) == []
    assert not (tmp_path / "store" / "corpora").exists() or not list((tmp_path / "store" / "corpora").iterdir())


def test_a_prepared_corpus_without_a_block_is_refused_as_a_sweep_would(tmp_path, store):
    for show in (plan_text, plan_json):
        with pytest.raises(CorpusError, match=r"its validation split has 1\d\d tokens, too few for one block of 1,024"):
            show(graph(tmp_path, 1024), store)


def test_what_phases_will_meet_in_it_is_a_note(tmp_path, store):
    met = "its validation split has 7 blocks of 16 tokens, and evaluations take these in place of 8"
    assert any(met in note for note in check_plan(graph(tmp_path, 16), store))
    assert met in plan_text(graph(tmp_path, 16), store)
    assert any(met in note for note in plan_json(graph(tmp_path, 16), store)["notes"])


@pytest.mark.parametrize(
    ("task", "place"),
    [("reverse", "6:3: semantic.corpus: "), ("{text: {corpus: {files: FILES}, tokenizer: byte}}", "4:21: ")],
)
def test_files_of_fewer_bytes_than_blocks_need_are_refused_where_they_are_named(tmp_path, task, place):
    with pytest.raises(SpecError) as caught:
        graph(tmp_path, 700, words=110, task=task.replace("FILES", f'"{tmp_path}/*.txt"'))
    told = [f"{one.line}:{one.column}: {one.message}" for one in caught.value.problems]
    assert any(one.startswith(place) for one in told)
    words = "its files have 1,210 bytes, too few for a block of 700 tokens to train on and one to evaluate on"
    assert words in told[0]

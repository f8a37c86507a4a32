"""Whether a corpus can serve a phase is known before anything trains."""

from __future__ import annotations

import pytest

from procray.corpora import check_fits, prepare, recipe, refuse_too_little
from procray.errors import CorpusError


@pytest.fixture
def small(tmp_path):
    (tmp_path / "a.txt").write_text("some words in a row\n" * 100)
    return prepare(recipe({"files": "a.txt", "holdout": 0.2}, "byte", tmp_path), tmp_path / "root", 1)


def test_what_fits_has_no_notes(small):
    assert check_fits(small, context=32, batch=8, sequences=4) == []


def test_both_splits_too_small_are_told_at_once(small):
    with pytest.raises(CorpusError, match=r"its train split has 1,601 tokens.*; .*its validation split has 401 tokens"):
        check_fits(small, context=4096, batch=8, sequences=4)
    with pytest.raises(CorpusError, match="its validation split has 401 tokens, too few for one block of 1,024"):
        check_fits(small, context=1024, batch=1, sequences=4)


def test_a_search_needs_text_of_its_own(small):
    with pytest.raises(CorpusError, match="none is left to choose settings on"):
        check_fits(small, context=32, batch=8, sequences=12, split="tuning")


def test_what_will_be_repeated_or_smaller_is_said(small):
    notes = check_fits(small, context=200, batch=9, sequences=4)
    assert len(notes) == 2
    assert "8 training blocks of 200 tokens are fewer than the 9 of a step, which repeats them" in notes[0]
    assert "has 2 blocks of 200 tokens, and evaluations take these in place of 4" in notes[1]


def described(folder, corpus, tokenizer="byte"):
    return recipe(corpus, tokenizer, folder)


@pytest.mark.parametrize("tokenizer", ["byte", "char", {"bpe": 300}])
def test_bytes_that_make_no_two_blocks_are_refused_before_anything_is_prepared(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("words \u00e4\n" * 100)  # 900 bytes
    one = described(tmp_path, {"files": "a.txt"}, tokenizer)
    with pytest.raises(CorpusError, match="its files have 900 bytes, too few for a block of 450 tokens to train on"):
        refuse_too_little(one, 450)
    refuse_too_little(one, 449)  # may just do
    with pytest.raises(CorpusError):
        prepare(one, tmp_path / "root", 1).blocks(900)


def test_of_files_to_evaluate_on_each_part_needs_a_block(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"text": "few"}\n' * 10)
    (tmp_path / "c.jsonl").write_text('{"text": "more of it"}\n' * 100)
    two = described(tmp_path, {"files": "c.jsonl", "validation": "b.jsonl"})
    with pytest.raises(CorpusError, match="its validation files have 160 bytes, too few for a block of 256 tokens"):
        refuse_too_little(two, 256)
    refuse_too_little(two, 100)


def test_what_is_not_certain_is_left_to_the_preparation(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff" * 100)  # each becomes a character of three bytes
    refuse_too_little(described(tmp_path, {"files": "a.txt"}), 64)
    import gzip

    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"a" * 100_000))
    refuse_too_little(described(tmp_path, {"files": "b.txt.gz"}), 1000)
    (tmp_path / "c.txt").write_text("a" * 100)
    refuse_too_little(described(tmp_path, {"files": "c.txt"}, "gpt2"), 1000)

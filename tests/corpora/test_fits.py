"""Whether a corpus can serve a phase is known before anything trains."""

from __future__ import annotations

import pytest

from procray.corpora import check_fits, prepare, recipe
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

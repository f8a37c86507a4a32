"""Bits per byte against the definition, and against what can be worked out on paper."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.corpora.tokenizer import load_tokenizer
from procray.downstream import compression, sums
from procray.downstream.compression import DOMAINS, choose, compress, pieces_of, text_of, windows
from procray.errors import CorpusError, ProcrayError
from procray.model import GPT2Config


@pytest.fixture
def short(tmp_path, monkeypatch):
    """A domain of a few words."""
    text = "To be, or not to be,\nthat is the question.\nWhether 'tis nobler in the mind to suffer\n" * 9
    monkeypatch.setattr(compression, "TEXTS", tmp_path)
    (tmp_path / "short.txt").write_text(text)
    return compression.Domain("short", "a few words", len(text), hashlib.sha256(text.encode()).hexdigest())


def slow_nats(model, tokens, window, stride):
    """Token after token: each with as many before it as the window that it belongs to has."""
    total, done = 0.0, 0
    while done < len(tokens) - 1:
        end = min(window if done == 0 else done + stride, len(tokens) - 1)
        start = max(0, end - window)
        logits = model(torch.tensor([tokens[start:end]])).detach()[0].double().log_softmax(-1)
        for place in range(done + 1, end + 1):
            total -= float(logits[place - 1 - start, tokens[place]])
        done = end
    return total


@pytest.mark.parametrize(("window", "stride"), [(16, 8), (16, 16), (13, 5), (32, 1), (None, None)])
def test_every_token_is_scored_once_as_its_window_says(make_model, bpe, short, window, stride):
    model = make_model(bpe.vocab_size, context=64)
    found = compress(model, bpe, short, window=window, stride=stride)
    tokens = [bpe.separator, *bpe.encode(pieces_of(text_of(short)))[0].tolist()]
    assert found.tokens == len(tokens) - 1
    assert (found.window, found.stride) == (window or 64, stride or 32)
    slow = slow_nats(model, tokens, found.window, found.stride)
    assert found.nats_P.sum() == pytest.approx(slow, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(slow / math.log(2) / short.bytes, rel=1e-5)


@pytest.mark.parametrize("name", DOMAINS)
def test_a_model_that_knows_nothing_needs_the_bits_of_its_vocabulary(make_model, byte, bpe, name):
    for tokenizer in (byte, bpe):
        found = compress(make_model(tokenizer.vocab_size, seed=None, width=4), tokenizer, DOMAINS[name])
        assert found.bits_per_byte == pytest.approx(
            found.tokens * math.log2(tokenizer.vocab_size) / DOMAINS[name].bytes, rel=1e-6
        )
        assert found.bytes_P.sum() == DOMAINS[name].bytes
    assert found.to_json()["bytes"] == DOMAINS[name].bytes


@settings(max_examples=60, deadline=None)
@given(length=st.integers(2, 60), window=st.integers(1, 20), data=st.data())
def test_windows_score_every_token_once_and_in_order(length, window, data):
    stride = data.draw(st.integers(1, window))
    tokens = np.arange(length)
    tokens_BT, scored_BT = windows(tokens, window, stride)
    assert tokens_BT[scored_BT].tolist() == tokens[1:].tolist()
    assert (np.diff(tokens_BT, axis=1) == 1).all()
    assert tokens_BT.shape[1] == min(window, length - 1) + 1
    before = np.concatenate([np.flatnonzero(row) for row in scored_BT])
    assert (before >= np.minimum(tokens_BT[scored_BT], window - stride + 1)).all()


def test_pieces_are_the_text_cut_at_line_ends():
    for domain in DOMAINS.values():
        pieces = pieces_of(text_of(domain))
        assert "".join(pieces) == text_of(domain)
        assert all(len(piece.encode()) >= compression.PIECE and piece.endswith("\n") for piece in pieces[:-1])
        assert len(pieces) > 5


def test_pieces_make_models_of_two_tokenizers_comparable(make_model, byte, bpe):
    one, other = (compress(make_model(t.vocab_size), t, DOMAINS["prose"]) for t in (byte, bpe))
    assert one.bytes_P.tolist() == other.bytes_P.tolist()
    assert one.tokens != other.tokens


def test_texts_are_those_that_are_named(tmp_path, monkeypatch):
    assert {path.stem for path in compression.TEXTS.glob("*.txt")} == set(DOMAINS)
    for domain in DOMAINS.values():
        text = text_of(domain)
        assert text.isascii()
        assert len(text) == domain.bytes
    assert sums.text() == text_of(DOMAINS["mathematics"])
    monkeypatch.setattr(compression, "TEXTS", tmp_path)
    with pytest.raises(ProcrayError, match="cannot be read"):
        text_of(DOMAINS["prose"])
    (tmp_path / "prose.txt").write_text("something else")
    with pytest.raises(ProcrayError, match="is not the text that is shipped"):
        text_of(DOMAINS["prose"])


def test_the_mathematics_is_right():
    """Whatever stands around an equals sign between plain numbers."""
    checked = 0
    for left, right in re.findall(r"(?<![\w^])(\d+ [-+*] \d+) = (\d+)(?![\d ]*[*+/-])", sums.text()):
        assert eval(left) == int(right), (left, right)
        checked += 1
    assert checked > 150


def test_a_text_that_the_tokenizer_cannot_write_is_an_error(make_model):
    letters = load_tokenizer("char", '["a", "b", " ", "\\n"]')
    with pytest.raises(CorpusError, match="domain prose: the model's tokenizer cannot write 'T'"):
        compress(make_model(letters.vocab_size), letters, DOMAINS["prose"])


def test_what_cannot_be_measured_is_told_before(make_model, byte, short):
    config = GPT2Config(layers=1, heads=1, width=4, vocab=257, context=8)
    with pytest.raises(ProcrayError) as error:
        choose(["prosa", "cod"], config, tokenizer=True)
    assert "no domain is called 'prosa'; did you mean 'prose'?" in str(error.value)
    assert "no domain is called 'cod'; did you mean 'code'?" in str(error.value)
    for unfit, tokenizer in ((config, False), (replace(config, rows=4), True)):
        with pytest.raises(ProcrayError, match="has no tokenizer"):
            choose(None, unfit, tokenizer)
    assert [domain.name for domain in choose(None, config, tokenizer=True)] == list(DOMAINS)
    model = make_model(257, context=8)
    with pytest.raises(ProcrayError, match="a window of 9 positions: the model has 8"):
        compress(model, byte, short, window=9)
    with pytest.raises(ProcrayError, match="a stride of 9: expected a number from 1 to the window, 8"):
        compress(model, byte, short, stride=9)

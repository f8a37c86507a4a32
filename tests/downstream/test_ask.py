"""Asking a model all that fits it, and telling two models apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from procray.downstream.ask import ask, choose, fitting, make
from procray.downstream.material import of_symbols, of_text
from procray.downstream.paired import compare, interval
from procray.downstream.probes import PROBES
from procray.errors import ProcrayError
from procray.model import GPT2Config

SHAPE = {"layers": 2, "heads": 2, "width": 16, "vocab": 40}


def test_what_fits_is_known_from_the_context():
    assert fitting(PROBES["induction"], 128) == [8, 16, 32, 64]
    assert fitting(PROBES["induction"], 127) == [8, 16, 32, 64]
    assert fitting(PROBES["induction"], 126) == [8, 16, 32]
    chosen, notes = choose(None, GPT2Config(**SHAPE, context=32), tokenizer=False)
    assert [(one.probe.name, one.value) for one in chosen] == [("induction", 8), ("induction", 16)]
    assert "hops: it needs 34 positions, and the model has 32" in notes
    assert "induction: 32, 64, 128, 256, 512 tokens back do not fit into the model's 32 positions" in notes
    assert "noise: it is made from held-out text, and the model has no tokenizer" in notes


def test_what_was_named_and_cannot_be_asked_is_an_error_all_at_once():
    with pytest.raises(ProcrayError) as error:
        choose(["inducton", "hops", "noise"], GPT2Config(**SHAPE, context=32), tokenizer=False)
    told = str(error.value)
    assert "no probe is called 'inducton'; did you mean 'induction'?" in told
    assert "hops: it needs 34 positions, and the model has 32" in told
    assert "noise: it is made from held-out text" in told
    with pytest.raises(ProcrayError, match="reads rows of a cellular automaton"):
        choose(["induction"], GPT2Config(**SHAPE, context=64, rows=12), tokenizer=False)


def test_what_a_probe_promises_to_fit_does_fit(material):
    """Words may be long in a tokenizer of letters; all other probes say exactly what they need."""
    for context in (48, 128):
        chosen, _ = choose(None, GPT2Config(**SHAPE, context=context), tokenizer=True)
        made, notes = make(chosen, material, context, count=8)
        assert all(one.items.positions <= context for _, one in made)
        assert all(note.startswith("agreement") for note in notes if "in this tokenizer" in note)


def test_a_sentence_too_long_for_the_model_is_not_asked(byte, texts):
    chosen, _ = choose(["agreement"], GPT2Config(**SHAPE, context=40), tokenizer=True)
    made, notes = make(chosen, of_text(byte, texts), 40, count=8)
    assert 0 < len(made) < len(chosen)
    assert "in this tokenizer, and the model has 40" in notes[-1]


def test_a_model_of_text_is_asked_everything(make_model, bpe, texts):
    material = of_text(bpe, texts)
    said = []
    answers, notes = ask(make_model(bpe.vocab_size), material, count=6, say=said.append)
    assert {answer.probe for answer in answers} == set(PROBES)
    assert len(said) == len(answers)
    assert all("do not fit" in note for note in notes)
    for answer in answers:
        told = answer.to_json()
        assert len(told["right"]) == len(told["losses"]) == told["items"]
        assert told["accuracy"] == pytest.approx(np.mean(told["right"]), abs=1e-6)
        assert math.isfinite(told["loss"])
        assert ("control" in told) == (answer.probe in ("retrieval", "identifiers"))


def test_who_knows_nothing_is_at_chance(make_model, bpe, texts):
    """By choices and by endings; among the whole vocabulary chance is that of who has read the context or the text."""
    answers, _ = ask(make_model(bpe.vocab_size, seed=None), of_text(bpe, texts), count=8)
    for answer in answers:
        if answer.probe in ("hops", "brackets"):
            assert answer.scores.accuracy == pytest.approx(answer.chance)
        if answer.probe in ("induction", "noise", "retrieval"):
            assert answer.scores.accuracy == pytest.approx(1 / bpe.vocab_size)
            assert answer.chance > answer.scores.accuracy


def test_a_model_of_symbols_is_asked_what_needs_no_text(make_model):
    answers, _ = ask(make_model(40), of_symbols(30), count=6)
    assert {answer.probe for answer in answers} == {"induction", "hops"}
    with pytest.raises(ProcrayError, match="8 different tokens are needed, and there are 5"):
        ask(make_model(40), of_symbols(5), ["induction"], count=6)


def test_two_models_are_compared_item_by_item(make_model):
    material = of_symbols(30)
    one, other = (ask(make_model(40, seed=seed), material, ["hops"], count=30)[0] for seed in (0, 1))
    for a, b in zip(one, other, strict=True):
        found = compare(a, b)
        assert found.items == 30
        assert found.loss.mean == pytest.approx(a.scores.loss - b.scores.loss)
        test = stats.ttest_rel(a.scores.loss_N, b.scores.loss_N).confidence_interval()
        assert (found.loss.low, found.loss.high) == pytest.approx((test.low, test.high))
    with pytest.raises(ProcrayError, match="not the same items"):
        compare(one[0], one[1])
    with pytest.raises(ProcrayError, match="not the same items"):
        compare(one[0], ask(make_model(40), material, ["hops"], count=30, seed=1)[0][0])


def test_one_item_says_nothing_about_the_spread():
    assert interval(np.array([0.5])).low == -math.inf

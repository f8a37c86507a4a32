from __future__ import annotations

import functools
import random
from collections import Counter

import numpy as np
import pytest
import slow_families as slow
from checks import assert_shifted
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks

FORMS = [("present", "one"), ("absent", "one"), ("present", "drawn"), ("absent", "drawn")]


def sentences(word):
    """The whole sentences of a sequence: where the structure's brackets are all closed."""
    found, start, depth = [], 0, 0
    for place, token in enumerate(word):
        depth += (token == 0) - (token == 5)
        assert depth >= 0
        if not depth:
            found.append(tuple(word[start : place + 1]))
            start = place + 1
    return found, word[start:]


@given(size=st.integers(1, 9), length=st.integers(2, 300), form=st.sampled_from(FORMS), seed=st.integers(0, 2**64))
@settings(max_examples=40, deadline=None)
def test_brackets_and_dependencies_are_closed_within_a_sentence(size, length, form, seed):
    task = tasks.get("mp_struct_core", length=length, heads=form[0], arguments=form[1])
    batch = task.sample(seed, "train", 1, size)
    assert batch.tokens_BT.shape == (size, length)
    assert_shifted(batch, pad=14)
    assert batch.mask_BT[:, :-1].all()
    assert not batch.mask_BT[:, -1].any()
    known = possible(*form)
    for word in batch.tokens_BT.tolist():
        whole, rest = sentences(word)
        for sentence in whole:
            counts = Counter(sentence)
            assert all(counts[kind] == counts[kind + 5] for kind in range(5))
            assert counts[1] <= 1
            assert counts[2] + counts[3] == 1
            assert all(counts[head] == (form[0] == "present") for head in (10, 11, 12))
            for kind in (1, 2, 3):
                if counts[kind]:
                    assert sentence.index(kind) < sentence.index(kind + 5)
            assert sentence in known
        assert any(list(sentence[: len(rest)]) == rest for sentence in known)


@functools.cache
def possible(heads, arguments):
    """Sentences with their chances, from many draws of the slow sampler."""
    rng = random.Random(0)
    drawn = Counter(tuple(slow.mp_sentence(rng, heads, arguments)) for _ in range(20_000))
    return {sentence: times / 20_000 for sentence, times in drawn.items()}


@pytest.mark.parametrize("form", FORMS)
def test_sentences_are_as_frequent_as_the_slow_ones(form):
    task = tasks.get("mp_struct_core", length=600, heads=form[0], arguments=form[1])
    drawn = Counter()
    for word in task.sample(0, "train", 0, 2000).tokens_BT.tolist():
        drawn.update(sentences(word)[0][:8])  # a cut favours short ones
    known = possible(*form)
    total = sum(drawn.values())
    assert set(drawn) == set(known)
    if form[0] == "present":
        assert len(known) == {"one": 24, "drawn": 8 + 24 + 48}[form[1]]
    assert sum(abs(drawn[one] / total - share) for one, share in known.items()) / 2 < 0.06


def test_a_sentence_is_that_of_the_released_format():
    """Worked out by hand: a clause without movement, and one with it."""
    task = tasks.get("mp_struct_core", length=60)
    found = {
        task.text(np.array(sentence))
        for word in task.sample(0, "train", 0, 400).tokens_BT.tolist()
        for sentence in sentences(word)[0]
    }
    assert "[ [ ] [ CP ] [ [ (A [ (sel ] [ sel) ] ] [ TP A) ] [ [ VP ] [ ] [ [ (sel ] [ sel) ] ] ] ] ]" in found
    assert (
        "[ [ [ (B [ (sel ] [ sel) ] ] ] [ CP (move ] [ [ ] [ TP B) ] [ [ VP ] [ move) ] [ [ (sel ] [ sel) ] ] ] ] ]"
        in found
    )


def test_sentences_of_one_sequence_are_independent():
    words = tasks.get("mp_struct_core", length=400).sample(0, "train", 0, 2000).tokens_BT.tolist()
    moved = np.array([[1 in sentence for sentence in sentences(word)[0][:6]] for word in words])
    assert np.abs(np.corrcoef(moved.T) - np.eye(6)).max() < 0.1
    assert moved.mean() == pytest.approx(0.5, abs=0.02)

from __future__ import annotations

import random

import numpy as np
import pytest
import slow_families as slow
from checks import assert_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks
from procray.tasks.lime import WORDS

KINDS = {
    "lime_deduct": ("pattern", "substitution", "result"),
    "lime_abduct": ("pattern", "result", "substitution"),
    "lime_induct": ("result", "substitution", "pattern"),
}


def parsed(words, kind):
    """A sequence by its parts; what is wrong in its layout fails."""
    question, answer = (" ".join(words)).split(" | ")
    header, one, other = question.split(" <space> ")
    rest, math = header.split(" <MATH> ")
    upper, lower = rest.removeprefix("<UPPER> ").split(" <LOWER> ")
    parts = dict(zip(KINDS[kind], (one, other, answer), strict=True))
    substitution = {}
    for entry in parts["substitution"].split(" , "):
        letter, symbols = entry.split(" : ")
        assert symbols.startswith("[ ")
        assert symbols.endswith(" ]")
        substitution[letter] = symbols[2:-2].split()
    return {
        "upper": upper.split(),
        "lower": lower.split(),
        "math": math.split(),
        "pattern": parts["pattern"].split(),
        "result": parts["result"].split(),
        "substitution": substitution,
        "answer": answer.split(),
    }


def checked(words, kind, length):
    """`parsed`, with what must hold for every sequence."""
    found = parsed(words, kind)
    pattern, letters = found["pattern"], set(found["upper"])
    own = [*found["upper"], *found["lower"], *found["math"]]
    assert len(set(own)) == len(own)
    assert (len(found["lower"]), len(found["math"])) == (24, 20)
    assert set(pattern) & letters == letters == set(found["substitution"])
    assert list(found["substitution"]) == found["upper"]
    assert set(pattern) - letters <= set(found["math"])
    places = sum(place in letters for place in pattern)
    assert places in (6, 8, 10)
    assert len(letters) <= places // 2
    assert 5 <= len(pattern) - places <= length
    for symbols in found["substitution"].values():
        assert 2 <= len(symbols) <= 8
        assert set(symbols) <= set(found["lower"] + found["math"])
    assert found["result"] == slow.put_in(pattern, found["substitution"])
    return found


@pytest.mark.parametrize("kind", KINDS)
@given(size=st.integers(1, 9), length=st.integers(5, 54), alphabet=st.integers(49, 400), seed=st.integers(0, 2**64))
@settings(max_examples=25, deadline=None)
def test_the_three_parts_belong_together(kind, size, length, alphabet, seed):
    task = tasks.get(kind, length=length, alphabet=alphabet)
    batch = task.sample(seed, "train", 1, size)
    sequences = []
    for row in batch.tokens_BT.tolist():
        used = [token for token in row if token != task.pad]
        assert row == used + [task.pad] * (len(row) - len(used))
        found = checked([task.word(token) if token < task.symbols else "|" for token in used], kind, length)
        assert all(int(symbol) < alphabet for symbol in [*found["upper"], *found["lower"], *found["math"]])
        answer = len(found["answer"])
        sequences.append((used[:-answer], used[-answer:]))
    assert_batch(batch, sequences, pad=task.pad)
    assert batch.nominal_tokens == size * task.nominal(length)
    assert batch.tokens_BT.shape[1] <= task.positions


@pytest.mark.parametrize("kind", KINDS)
def test_the_slow_sampler_makes_the_same_sequences(kind):
    """Numbers of all parts, and symbols, have the same means in both."""
    task = tasks.get(kind, length=12, alphabet=60)
    rng = random.Random(0)
    slowly = [slow.SLOW_FAMILIES[kind](rng, 12, 60) for _ in range(3000)]
    quickly = [
        [token for token in row if token != task.pad] for row in task.sample(0, "train", 0, 3000).tokens_BT.tolist()
    ]

    def about(sequences):
        measured = []
        for tokens in sequences:
            found = checked([task.word(token) if token < task.symbols else "|" for token in tokens], kind, 12)
            first = found["pattern"][0] in found["upper"]
            sizes = [len(found[name]) for name in ("upper", "pattern", "result")]
            lengths = [len(symbols) for symbols in found["substitution"].values()]
            lower = np.mean([symbol in found["lower"] for symbol in found["substitution"][found["upper"][0]]])
            measured.append([len(tokens), *sizes, np.mean(lengths), first, lower, int(found["lower"][3]) / 60])
        return np.array(measured, float)

    one, other = about(slowly), about(quickly)
    error = np.sqrt(one.var(axis=0) / len(one) + other.var(axis=0) / len(other))
    assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) < 4.5 * error).all()
    assert np.allclose(one.std(axis=0), other.std(axis=0), rtol=0.12)


def test_symbols_are_uniform_whatever_their_number():
    """Both ways of picking different symbols."""
    for alphabet in (49, 70, 1000):
        task = tasks.get("lime_deduct", length=5, alphabet=alphabet)
        tokens = task.sample(0, "train", 0, 4000).tokens_BT
        start = (tokens == alphabet + WORDS.index("<LOWER>")).argmax(axis=1)
        lower = np.stack([row[place + 1 : place + 25] for row, place in zip(tokens, start, strict=True)])
        share = np.bincount(lower.ravel(), minlength=alphabet) / 4000
        assert len(share) == alphabet
        assert share == pytest.approx(np.full(alphabet, 24 / alphabet), abs=0.04)
        assert (np.diff(np.sort(lower, axis=1)) > 0).all()

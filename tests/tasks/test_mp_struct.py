from __future__ import annotations

import functools
import random
from collections import Counter

import numpy as np
import pytest
import slow_families as slow
from checks import assert_shifted

from procray import tasks
from procray.errors import TaskError
from procray.tasks.mp_struct import TOKENS, WITHOUT

FORMS = [(without, 0.2, 0.2) for without in WITHOUT] + [("nothing", 0.5, 0.9), ("nothing", 0.0, 1.0)]


def words(task, batch):
    return [[TOKENS[token] for token in row] for row in batch.tokens_BT.tolist()]


def first_sentence(word, without):
    """Up to where the brackets are closed; without Merge, where the next clause begins."""
    if without != "merge":
        depths = np.cumsum([(token == "[") - (token == "]") for token in word])
        return tuple(word[: int((depths == 0).argmax()) + 1])
    heads = [place for place, token in enumerate(word) if token in ("C", "C(+wh)")]
    end = heads[1]
    return tuple(word[: end - (6 if word[end - 1] == "]" and word[end - 6] == "MOV[+wh]" else 0)])


@functools.cache
def expected(form):
    rng = random.Random(0)
    counts = Counter(tuple(slow.mp_derivation(rng, *form)) for _ in range(30_000))
    return {sentence: count / 30_000 for sentence, count in counts.items()}


@pytest.mark.parametrize("form", FORMS)
def test_sentences_are_as_frequent_as_the_slow_way_derives_them(form):
    task = tasks.get("mp_struct", length=160, without=form[0], goal_wh=form[1], c_wh=form[2])
    batch = task.sample(3, "train", 0, 20_000)
    assert_shifted(batch, pad=22)
    assert batch.mask_BT[:, :-1].all()
    assert not batch.mask_BT[:, -1].any()
    found = Counter(first_sentence(word, form[0]) for word in words(task, batch))
    known = expected(form)
    assert set(found) <= set(known) or sum(found[one] for one in set(found) - set(known)) < 10
    for sentence, share in known.items():
        assert found[sentence] / 20_000 == pytest.approx(share, abs=0.02), sentence


def test_ids_are_places_in_the_alphabet_as_in_the_released_code():
    assert sorted(TOKENS) == TOKENS
    assert len(TOKENS) == 22
    assert (TOKENS[0], TOKENS[19], TOKENS[21]) == ("C", "[", "]")


def test_what_is_left_out_is_not_there():
    def seen(without):
        task = tasks.get("mp_struct", length=1000, without=without)
        return {token for word in words(task, task.sample(0, "train", 0, 20)) for token in word}

    assert {"TR[DP]", "MOV[+wh]", "C(+wh)", "T(+EPP,uNum:pl)", "CP"} <= seen("nothing")
    assert not {"TR[DP]", "TR[-wh]", "MOV[+wh]", "C(+wh)"} & seen("move")
    assert not {"CP", "TP", "VP"} & seen("merge")
    assert {token for token in seen("agree") if token.startswith("T(")} == {"T(+EPP,uNum:u)"}
    with pytest.raises(TaskError, match="without is 'mvoe'"):
        tasks.get("mp_struct", without="mvoe")

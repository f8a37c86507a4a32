"""Whether the items ask for what the probes say, and for nothing that can be had more cheaply."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import slow_probes
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.corpora.tokenizer import load_tokenizer
from procray.downstream.material import of_symbols, of_text
from procray.downstream.probes import PROBES
from procray.downstream.probes.agreement import words_of
from procray.downstream.probes.brackets import known_brackets
from procray.downstream.probes.hops import CHOICES, NAMES, SOLVED
from procray.downstream.probes.identifiers import NAME, uses_of
from procray.downstream.probes.noise import BEFORE, SCORED
from procray.downstream.probes.retrieval import PASSAGE
from procray.errors import CorpusError

COUNT = 40
CONDITIONS = [(name, value) for name, probe in PROBES.items() for value in probe.values[:3]]


def questions(items):
    """What was seen and what is asked for, of every scored token."""
    for tokens, scored in zip(items.tokens_BT.tolist(), items.scored_BT, strict=True):
        for place in np.flatnonzero(scored):
            yield tokens[:place], tokens[place]


@pytest.mark.parametrize(("name", "value"), CONDITIONS)
def test_items_are_made_from_the_seed_alone(name, value, material):
    make = PROBES[name].make
    one, again, other = (
        make(material, 1, value, COUNT),
        make(material, 1, value, COUNT),
        make(material, 2, value, COUNT),
    )
    assert one.items.digest == again.items.digest != other.items.digest
    assert 0 < one.chance < 1
    assert one.items.positions <= PROBES[name].positions(value) or name == "agreement"


@pytest.mark.parametrize(("name", "value"), CONDITIONS)
def test_random_tokens_are_never_special_ones(name, value, material):
    special = material.tokenizer.separator
    assert special not in material.entries
    made = PROBES[name].make(material, 0, value, COUNT)
    for items in (made.items, made.control):
        if items is None:
            continue
        assert special not in items.tokens_BT[items.scored_BT]
        if name in ("induction", "hops"):
            assert np.isin(items.tokens_BT, material.entries).all()
        if name in ("brackets", "agreement"):  # a document begins with one
            read_BT = np.flip(np.logical_or.accumulate(np.flip(items.scored_BT, 1), 1), 1)
            assert ((items.tokens_BT == special) & read_BT).sum(1).tolist() == [1] * len(items.tokens_BT)


@settings(max_examples=25, deadline=None)
@given(symbols=st.integers(8, 300), seed=st.integers(0, 2**31))
def test_induction_is_solved_by_looking_back(symbols, seed):
    made = PROBES["induction"].make(of_symbols(symbols), seed, 8, 5)
    for seen, token in questions(made.items):
        assert slow_probes.retrieved(seen) == token
    assert made.items.scored_BT.sum(1).tolist() == [7] * 5
    assert all(len(set(row[:8])) == 8 for row in made.items.tokens_BT.tolist())


@settings(max_examples=25, deadline=None)
@given(symbols=st.integers(NAMES + 1, 300), seed=st.integers(0, 2**31), steps=st.integers(1, 4))
def test_hops_are_solved_by_walking_and_by_nothing_less(symbols, seed, steps):
    made = PROBES["hops"].make(of_symbols(symbols), seed, steps, 20)
    for (seen, token), choices in zip(questions(made.items), made.items.choices_BK.tolist(), strict=True):
        assert slow_probes.hopped(seen) == token == choices[0]
        assert len(set(choices)) == CHOICES
        answers = seen[3 * NAMES + 1 :: 3][:SOLVED]
        assert not {*answers, seen[-1]} & set(choices)  # none of the choices can be left out
        assert {*answers, seen[-1], *choices} == set(seen[0 : 3 * NAMES : 3])


def test_brackets_are_closed_by_keeping_track(material):
    pairs = dict(zip(*(part.tolist() for part in known_brackets(material)), strict=True))
    for depth in PROBES["brackets"].values:
        made = PROBES["brackets"].make(material, 0, depth, COUNT)
        for (seen, token), choices in zip(questions(made.items), made.items.choices_BK.tolist(), strict=True):
            assert slow_probes.closed(seen, pairs) == token == choices[0]
            assert sorted(choices) == sorted(pairs.values())
            assert sum(one in pairs for one in seen) == depth
            names = [one for one in seen[1:] if one not in pairs and one not in pairs.values()]
            assert all(material.tokenizer.decode(np.array([one])).strip(" ").isalpha() for one in names)
        right = made.items.tokens_BT[made.items.scored_BT]
        assert len(set(right.tolist())) == len(pairs)  # each type is right now and then


def test_passages_are_retrieved_by_looking_back_and_not_without_them(material):
    sizes = set()
    for distance in (8, 32):
        made = PROBES["retrieval"].make(material, 0, distance, COUNT)
        passages = made.items.tokens_BT[:, -PASSAGE:]
        assert (made.items.tokens_BT[:, :PASSAGE] == passages).all()
        assert (made.control.tokens_BT[:, PASSAGE:] == made.items.tokens_BT[:, PASSAGE:]).all()
        assert (made.control.scored_BT == made.items.scored_BT).all()
        assert (made.control.tokens_BT[:, :PASSAGE] != passages).any(1).all()
        assert made.items.tokens_BT.shape[1] == 2 * PASSAGE + distance
        sizes.add(passages.tobytes())
        hits = [slow_probes.retrieved(seen) == token for seen, token in questions(made.items)]
        assert np.mean(hits) > 0.95  # a cue may stand in what lies between as well
        lost = [slow_probes.retrieved(seen) == token for seen, token in questions(made.control)]
        assert np.mean(lost) < 0.6
    assert len(sizes) == 1  # every distance asks for the same passages
    text = material.tokenizer.decode(passages[0])
    assert any(text in document for document in material.texts)


def test_sentences_agree_and_what_stands_between_does_not(material):
    words = words_of(material.texts)
    number = {**{one: 0 for one, _ in words.nouns}, **{many: 1 for _, many in words.nouns}}
    verbs = {**{one: 0 for one, _ in words.verbs}, **{many: 1 for _, many in words.verbs}}
    for between in (0, 2):
        items = PROBES["agreement"].make(material, 0, between, COUNT).items
        sentences = [
            material.tokenizer.decode(row[1 : np.flatnonzero(scored)[-1] + 1]).split(" ")
            for row, scored in zip(items.tokens_BT, items.scored_BT, strict=True)
        ]
        for right, wrong in zip(sentences[::2], sentences[1::2], strict=True):
            *said, verb = right
            nouns = said[1::3]
            assert said[0] == "The"
            assert set(said[3::3]) <= {"the"}
            assert len(nouns) == 1 + between == len(set(nouns))
            assert verbs[verb] == number[nouns[0]]
            assert {number[noun] for noun in nouns[1:]} <= {1 - number[nouns[0]]}
            assert (said, verbs[wrong[-1]]) == (wrong[:-1], 1 - verbs[verb])
        # Both numbers of a sentence: always to prefer one verb is right half of the time.
        assert [right[-1] for right in sentences[::4]] == [wrong[-1] for wrong in sentences[3::4]]


def test_nouns_are_words_in_both_numbers(texts):
    words = words_of(texts)
    assert ("door", "doors") in words.nouns
    together = " ".join(texts).lower()
    for one, many in words.nouns:
        assert re.search(rf"\b{one}\b", together)
        assert re.search(rf"\b{many}\b", together)


def test_names_stood_before_and_the_control_lacks_them(material):
    tokenizer = material.tokenizer
    probe = PROBES["identifiers"]
    for distance in (32, 64):
        made = probe.make(material, 0, distance, COUNT)
        assert len(made.items) > 10
        assert len(made.control) == len(made.items)
        for items, there in ((made.items, True), (made.control, False)):
            known = 0
            for row, scored in zip(items.tokens_BT, items.scored_BT, strict=True):
                first, last = np.flatnonzero(scored)[[0, -1]]
                name = tokenizer.decode(row[first : last + 1]).strip()
                before = NAME.findall(tokenizer.decode(row[:first]))
                known += any(name.endswith(one) or one in name for one in before)
            assert (known / len(items) > 0.9) if there else (known / len(items) < 0.2)


def test_uses_are_those_that_a_reader_finds():
    text = "read_file = 1\nx = read_file + 2\nmaxValue = read_file\nplain words plain words"
    (first, second) = uses_of((text,))
    assert [text[use.start :].startswith(use.name) for use in (first, second)] == [True, True]
    assert (first.before, second.before) == (0, first.start)


def test_noise_replaces_such_a_share_and_nothing_that_is_scored(material):
    made = {share: PROBES["noise"].make(material, 0, share, 200).items.tokens_BT for share in (0, 0.1, 0.4, 1)}
    clean = made[0]
    stream = material.stream.tolist()
    starts = {tuple(stream[i : i + 8]) for i in range(len(stream))}
    assert all(tuple(row[:8]) in starts for row in clean.tolist())
    for share, tokens in made.items():
        assert (tokens[:, BEFORE:] == clean[:, BEFORE:]).all()
        assert tokens.shape[1] == BEFORE + SCORED
        changed = (tokens[:, :BEFORE] != clean[:, :BEFORE]).mean()
        assert share * 0.85 - 0.03 < changed <= share + 0.03
    kept = made[0.4][:, :BEFORE] == clean[:, :BEFORE]
    assert (made[0.1][:, :BEFORE] == clean[:, :BEFORE])[kept].all()  # the larger share has replaced it as well


def test_conditions_share_what_they_ask_for(material):
    """Distances and shares of noise can be compared item by item."""
    shares = [PROBES["noise"].make(material, 0, share, COUNT).items for share in (0, 0.4)]
    assert (shares[0].tokens_BT[:, BEFORE:] == shares[1].tokens_BT[:, BEFORE:]).all()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("retrieval", "two words", "too few for two stretches of 12"),
        ("noise", "two words", "too few for two stretches of 64"),
        ("agreement", "no nouns here " * 50, "0 nouns that occur in both numbers"),
        ("identifiers", "only prose, without a name. " * 50, "it is not code"),
        ("brackets", "12345 67890 " * 50, "no tokens of letters only"),
    ],
)
def test_text_that_items_cannot_be_made_of(name, text, says, byte):
    probe = PROBES[name]
    with pytest.raises(CorpusError, match=says):
        probe.make(of_text(byte, [text]), 0, probe.values[-1] if name == "brackets" else probe.values[0], COUNT)


def test_too_few_symbols():
    with pytest.raises(CorpusError, match="8 different tokens are needed, and there are 5"):
        PROBES["induction"].make(of_symbols(5), 0, 8, COUNT)
    with pytest.raises(CorpusError, match=f"{NAMES + 1} different tokens are needed, and there are 5"):
        PROBES["hops"].make(of_symbols(5), 0, 1, COUNT)


def test_brackets_that_the_tokenizer_lacks():
    letters = load_tokenizer("char", '["a", "b", "(", ")"]')
    with pytest.raises(CorpusError, match="fewer than two of the brackets"):
        PROBES["brackets"].make(of_text(letters, ["ab(ab)" * 20]), 0, 1, COUNT)


def test_what_a_tokenizer_does_not_know_is_left_out():
    letters = load_tokenizer("char", '["a", "b", " "]')
    material = of_text(letters, ["ab ba", "ab \ufffd", "ab\nba", ""])
    assert material.texts == ("ab ba",)
    assert material.entries.tolist() == [0, 1, 2]
    with pytest.raises(CorpusError, match="no held-out text that the tokenizer can write"):
        of_text(letters, ["\ufffd"])


def test_every_probe_says_what_it_is_for():
    for name, probe in PROBES.items():
        assert probe.name == name
        assert len(probe.shows) > 40
        assert "chance" in probe.scoring
        assert list(probe.values) == sorted(probe.values)
    page = (Path(__file__).parents[2] / "docs" / "downstream.md").read_text()
    rows = {row.split("|")[1].strip(" `"): row for row in page.splitlines() if row.startswith("| `")}
    assert set(rows) == set(PROBES)
    assert all(rows[name].endswith(f"| {probe.shows} |") for name, probe in PROBES.items())

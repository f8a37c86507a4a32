"""Agreement: a verb that agrees with its subject, across nouns of the other number between them.

Shape suffixes: none; texts are put together one by one.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from procray.downstream.items import Items, padded
from procray.downstream.material import Material
from procray.downstream.probe import Made, Probe, generator
from procray.errors import CorpusError

VERBS = (("is", "are"), ("was", "were"), ("has", "have"), ("does", "do"))
BETWEEN = ("of", "near", "behind", "with", "for", "in", "from", "by")
LARGEST = 4  # nouns between
MOST_NOUNS = 200
_BEFORE_ONE = re.compile(r"\b(?:a|an|the|this|each|every) ([a-z]{3,14})\b")
_BEFORE_MANY = re.compile(r"\b(?:the|these|those|all|two|some|many|several) ([a-z]{3,14}s)\b")


@dataclass(frozen=True)
class Words:
    """The words of a text that sentences are made of: nouns as (one, many), verbs likewise, words between nouns."""

    nouns: tuple[tuple[str, str], ...]
    verbs: tuple[tuple[str, str], ...]
    between: tuple[str, ...]


@lru_cache(maxsize=4)
def words_of(texts: tuple[str, ...]) -> Words:
    """Nouns are words that follow an article at least twice and follow one with an -s as well, the commonest first.

    Raises:
        CorpusError: too few to make sentences of.
    """
    one: Counter[str] = Counter()
    many: Counter[str] = Counter()
    seen: set[str] = set()
    for text in texts:
        lower = text.lower()
        one.update(_BEFORE_ONE.findall(lower))
        many.update(_BEFORE_MANY.findall(lower))
        seen.update(re.findall(r"[a-z]+", lower))
    nouns = [
        (word, f"{word}s")
        for word, times in sorted(one.items(), key=lambda pair: (-pair[1], pair[0]))
        if times >= 2 and not word.endswith("s") and many[f"{word}s"]
    ][:MOST_NOUNS]
    verbs = [pair for pair in VERBS if set(pair) <= seen]
    between = [word for word in BETWEEN if word in seen]
    if len(nouns) < LARGEST + 2 or not verbs or not between:
        raise CorpusError(
            f"the held-out text has {len(nouns)} nouns that occur in both numbers, {len(verbs)} pairs of verbs and "
            f"{len(between)} words to stand between nouns; at least {LARGEST + 2}, 1 and 1 are needed"
        )
    return Words(tuple(nouns), tuple(verbs), tuple(between))


def make(material: Material, seed: int, value: float, count: int) -> Made:
    """`The keys of the box near the door are`: what stands between has the other number than the subject.

    Every sentence comes in both numbers, so that always preferring one verb is right in half of them.
    """
    assert material.tokenizer is not None
    words = words_of(material.texts)
    rng = generator(seed, "agreement")
    contexts, endings = [], []
    for number in range(count):
        mine = number % 2
        if mine == 0:
            drawn = rng.permutation(len(words.nouns))[: LARGEST + 1]
            joined = rng.integers(0, len(words.between), LARGEST)
            verb = words.verbs[rng.integers(0, len(words.verbs))]
        text = f"The {words.nouns[drawn[0]][mine]}"
        for place in range(int(value)):
            text += f" {words.between[joined[place]]} the {words.nouns[drawn[place + 1]][1 - mine]}"
        contexts += [text, text]
        endings += [f" {verb[mine]}", f" {verb[1 - mine]}"]
    rows, scored = material.endings(contexts, endings)
    begin = np.array([material.tokenizer.separator])
    tokens_BT, scored_BT = padded([np.concatenate([begin, row]) for row in rows], scored)
    return Made(Items(tokens_BT, scored_BT, rows=2), chance=0.5)


AGREEMENT = Probe(
    name="agreement",
    shows="whether a verb agrees with its subject, and not with the nouns that stand between them",
    scoring=(
        "sentences of nouns, verbs and words between them that the held-out text has; the verb in the subject's number "
        "is compared with the same in the number of the nouns between; chance: one half"
    ),
    values=(0, 1, 2, 3, 4),
    unit="nouns between",
    text=True,
    positions=lambda nouns: 1 + 2 + 3 * int(nouns),
    make=make,
)

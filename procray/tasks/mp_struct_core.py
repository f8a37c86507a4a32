"""MP-STRUCT CORE: labelled brackets with the dependencies of a sentence.

The CORE variant of MP-STRUCT (`mp_struct`), by the generator of the paper's code (osekilab/LAD-PPT, arXiv 2605.16758),
which is also that of a follow-up, arXiv 2609.39827 (gucci-j/verify-ppt-at-scale).
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field
from typing import ClassVar

from procray.tasks.lengths import Length
from procray.tasks.parameters import choice, length_of
from procray.tasks.sentences import Sentences, SentenceTask, sentences

KINDS = 5  # of brackets: the structure, and four dependencies
STRUCTURE, MOVE, AGREE_A, AGREE_B, SELECT = range(KINDS)
CP, TP, VP, LEAF = range(2 * KINDS, 2 * KINDS + 4)
_NAMES = ("", "move", "A", "B", "sel")
_ARGUMENTS = ((0, 0.33), (1, 0.33), (2, 0.34))  # how many a verb has, and how often, with `arguments: drawn`


@dataclass(frozen=True)
class MpStructCore(SentenceTask):
    """Sentence after sentence, cut off at exactly L tokens; every position but the last is scored.

    A sentence is `[ specifier head [ specifier head [ verb subject argument ] ] ]`: a clause (CP) around a tense phrase
    (TP) around a verb phrase (VP), each part in brackets of its own. Dependencies are brackets across these: the
    subject opens an agreement, of kind A or B with probability 1/2 each, that the head of TP closes; every noun opens
    a selection in one bracket and closes it in the next. With probability 1/2 the subject has moved to the specifier
    of CP; then the head of CP opens a movement that the subject's place in VP closes, and the specifier of TP is
    empty. The parts of VP come in random order. With `arguments: drawn` a verb has 0, 1 or 2 of them (0.33, 0.33,
    0.34).

    Ids: 0 opens structure, 1..4 open movement, A, B, selection; 5..9 close them; 10..12 are the heads of CP, TP, VP,
    left out with `heads: absent`; 13 never occurs. The released code writes these numbers as text for its tokenizer.
    """

    name: ClassVar[str] = "mp_struct_core"
    summary: ClassVar[str] = (
        "phrase-structure brackets with movement, agreement and selection; every token is predicted"
    )
    length: Length = field(default=2048, metadata=length_of("L: tokens of the whole sequence"))
    heads: str = field(
        default="present", metadata=choice("tokens that name the head of a phrase", ("present", "absent"))
    )
    arguments: str = field(default="one", metadata=choice("of a verb: one, or a drawn number", ("one", "drawn")))

    @property
    def symbols(self) -> int:
        return LEAF + 1

    def word(self, token: int) -> str:
        if token >= 2 * KINDS:
            return ("CP", "TP", "VP", "leaf")[token - 2 * KINDS]
        kind = token % KINDS
        if kind == STRUCTURE:
            return "[" if token == STRUCTURE else "]"
        return f"({_NAMES[kind]}" if token < KINDS else f"{_NAMES[kind]})"

    def language(self) -> Sentences:
        return _sentences(self.heads == "present", self.arguments == "drawn")


@functools.lru_cache(maxsize=4)
def _sentences(heads: bool, several: bool) -> Sentences:
    chances: dict[tuple[int, ...], float] = {}
    for moved, agree in itertools.product((False, True), (AGREE_A, AGREE_B)):
        for arguments, share in _ARGUMENTS if several else ((1, 1.0),):
            parts = [_in_brackets([VP] * heads), _in_brackets([KINDS + MOVE] * moved)]
            parts += [_in_brackets(_noun())] * arguments
            ways = list(itertools.permutations(parts))
            for order in ways:
                sentence = tuple(_sentence(moved, agree, list(order), heads))
                chances[sentence] = chances.get(sentence, 0.0) + 0.25 * share / len(ways)
    return sentences(chances)


def _sentence(moved: bool, agree: int, verb_phrase: list[list[int]], heads: bool) -> list[int]:
    subject = _in_brackets([agree, *_noun()])
    verb = _in_brackets([token for part in verb_phrase for token in part])
    tense = _in_brackets([TP] * heads + [KINDS + agree])
    phrase = _in_brackets((_in_brackets([]) if moved else subject) + tense + verb)
    clause = _in_brackets([CP] * heads + [MOVE] * moved)
    return _in_brackets((_in_brackets(subject) if moved else _in_brackets([])) + clause + phrase)


def _noun() -> list[int]:
    return _in_brackets([SELECT]) + _in_brackets([KINDS + SELECT])


def _in_brackets(content: list[int]) -> list[int]:
    return [STRUCTURE, *content, KINDS + STRUCTURE]

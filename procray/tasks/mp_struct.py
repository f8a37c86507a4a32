"""MP-STRUCT: derivations with Merge, Agree and Move, written as labelled brackets, after the code of arXiv 2605.16758.

The released code is osekilab/LAD-PPT, with `strip_lexical`, its default: words are left out, their categories stand for
them. Its three ablations are here too.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field
from typing import ClassVar

from procray.tasks.lengths import Length
from procray.tasks.parameters import choice, length_of, number
from procray.tasks.sentences import Sentences, SentenceTask, sentences

TOKENS = sorted(
    [
        "[", "]", "CP", "TP", "VP", "C", "C(+wh)", "MOV[+wh]", "TR[DP]", "TR[-wh]", "[-wh]", "V", "D", "N",
        *(f"DP[Num:{num}]" for num in ("sg", "pl")),
        *(f"T({epp}uNum:{num})" for epp in ("", "+EPP,") for num in ("sg", "pl", "u")),
    ]
)  # fmt: skip
_ID = {token: id for id, token in enumerate(TOKENS)}
WITHOUT = ("nothing", "merge", "move", "agree")


@dataclass(frozen=True)
class MpStruct(SentenceTask):
    """Sentence after sentence, cut off at exactly L tokens; every position but the last is scored.

    A sentence is `[ CP specifier [ C ] [ [ TP specifier [ T ] [ [ VP V [ argument ] [ argument ] ] ] ] ] ]`. Subject
    and object are phrases `[ DP[Num] [ D ] [ N ] ]` of one number, singular or plural with probability 1/2, in either
    order; T shows the number of the subject (Agree). The subject has moved to the specifier of TP and left a trace.
    Each of both has the feature `[-wh]` with probability `goal_wh`, and C is `C(+wh)` with probability `c_wh`; then a
    phrase with the feature, the object before the subject, moves to the specifier of CP behind `MOV[+wh]`, and an
    object leaves a trace.

    `without: merge` leaves the brackets out but for those of specifiers, and phrases are `D N DP[Num]`; `without: move`
    leaves everything where it is, with no `C(+wh)`; `without: agree` shows no number on T. As in the released code the
    label `+EPP` stays on T in all of them. Ids are places in the alphabet of tokens, as there.
    """

    name: ClassVar[str] = "mp_struct"
    summary: ClassVar[str] = "derivations with Merge, Agree and Move as labelled brackets; every token is predicted"
    length: Length = field(default=1024, metadata=length_of("L: tokens of the whole sequence"))
    without: str = field(default="nothing", metadata=choice("the operation that is left out", WITHOUT))
    goal_wh: float = field(default=0.2, metadata=number("chance that a phrase has the feature -wh", 0, 1))
    c_wh: float = field(default=0.2, metadata=number("chance that C has the feature +wh", 0, 1))

    @property
    def symbols(self) -> int:
        return len(TOKENS)

    def word(self, token: int) -> str:
        return TOKENS[token]

    def language(self) -> Sentences:
        return _sentences(self.without, self.goal_wh, self.c_wh)


@functools.lru_cache(maxsize=16)
def _sentences(without: str, goal_wh: float, c_wh: float) -> Sentences:
    chances: dict[tuple[int, ...], float] = {}
    asks = (False, True) if without != "move" else (False,)
    for num, subject, thing, ask, object_first in itertools.product(
        ("sg", "pl"), (False, True), (False, True), asks, (False, True)
    ):
        chance = 0.25 * (goal_wh if subject else 1 - goal_wh) * (goal_wh if thing else 1 - goal_wh)
        if len(asks) > 1:
            chance *= c_wh if ask else 1 - c_wh
        if chance:
            words = tuple(_ID[token] for token in _sentence(num, subject, thing, ask, object_first, without))
            chances[words] = chances.get(words, 0.0) + chance
    return sentences(chances)


def _sentence(num: str, subject: bool, thing: bool, ask: bool, object_first: bool, without: str) -> list[str]:
    """One sentence.

    Args:
        subject, thing: whether subject and object have the feature -wh.
        ask: whether C has the feature +wh.
    """
    merge, move = without != "merge", without != "move"

    def bare(wh: bool) -> list[str]:
        inside = ["[", f"DP[Num:{num}]", "[", "D", "]", "[", "N", "]", "]"] if merge else ["D", "N", f"DP[Num:{num}]"]
        return [*inside, *["[-wh]"] * wh]

    def argument(wh: bool, moved: bool) -> list[str]:
        return (["TR[-wh]"] if wh else ["TR[DP]"]) if moved else bare(wh)

    moved = ask and (thing or subject)
    arguments = [argument(thing, moved and thing), argument(subject, move)]
    if not object_first:
        arguments.reverse()
    tense = f"T(+EPP,uNum:{'u' if without == 'agree' else num})"
    raised = ["[", *bare(subject), "]"] if move else []
    asked = ["MOV[+wh]", "[", *bare(False), "]"] if moved else []
    head = "C(+wh)" if ask else "C"
    if not merge:
        return [*asked, head, *raised, tense, "V", *arguments[0], *arguments[1]]
    verb = ["[", "VP", "V", "[", *arguments[0], "]", "[", *arguments[1], "]", "]"]
    phrase = ["[", "TP", *raised, "[", tense, "]", "[", *verb, "]", "]"]
    return ["[", "CP", *asked, "[", head, "]", "[", *phrase, "]", "]"]

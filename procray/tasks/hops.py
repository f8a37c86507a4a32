"""HOPS: who stands k steps further, in a relation that the sequence itself shows.

The idea is that of DEPO in "Physics of Language Models: Part 4.1" (Allen-Zhu 2025), whose generator is public
(facebookresearch/PhysicsLM4); the format is ours.

Shape suffixes: B sequences, N names, Q questions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.lengths import Length, longest_of
from procray.tasks.parameters import LARGEST_VOCAB, choice, length_of, whole
from procray.tasks.rng import below, words
from procray.tasks.sequences import shifted, shuffles
from procray.tasks.task import BaseTask


@dataclass(frozen=True)
class Hops(BaseTask):
    """`x1 y1 .. xL yL | k1 q1 a1 .. km qm am`: y follows x, and a stands k steps behind q. Loss on the a alone.

    L different names of 0..alphabet-1; the pairs come in random order. With `shape: cycle` they close one ring, with
    `shape: permutation` every name's follower is drawn from all permutations, so that there may be several rings. Of
    the `questions` (at most L) each asks for another name and for k steps, k uniform from 1..`hops`; the token
    alphabet + k - 1 says which. The released DEPO writes a name in several tokens, draws L for every sequence, and has
    no separator but tokens before the questions' answers.
    """

    name: ClassVar[str] = "hops"
    summary: ClassVar[str] = "follow a drawn permutation k steps:  x y x y .. | +k x answer .."
    shortest: ClassVar[int] = 2
    longest: ClassVar[int] = 2048
    length: Length = field(default=32, metadata=length_of("L: names, and so pairs"))
    alphabet: int = field(default=100, metadata=whole("names to choose from", 2, LARGEST_VOCAB))
    hops: int = field(default=8, metadata=whole("most steps of a question", 1, 1024))
    questions: int = field(default=8, metadata=whole("questions of a sequence, at most one for each name", 1, 1024))
    shape: str = field(default="cycle", metadata=choice("one ring, or any permutation", ("cycle", "permutation")))

    @property
    def symbols(self) -> int:
        return self.alphabet + self.hops

    def problems(self) -> list[str]:
        longest = longest_of(self.length)
        if longest > self.alphabet:
            return [f"alphabet is {self.alphabet}; expected at least {longest}, so that {longest} names can differ"]
        return []

    def nominal(self, length: int) -> int:
        return 2 * length + 1 + 3 * min(self.questions, length)

    def word(self, token: int) -> str:
        return str(token) if token < self.alphabet else f"+{token - self.alphabet + 1}"

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        asked = min(self.questions, length)
        start = 2 * length + 1
        # Names in the order of the ring, or, where there may be several, in any; both are random. The first one once
        # more follows the last. All look-ups are in flat arrays.
        name = np.empty((size, length + 1), np.int32)
        name[:, :length] = shuffles(rng, size, self.alphabet, length)
        name[:, length] = name[:, 0]
        row_B1 = np.arange(0, name.size, length + 1)[:, None]
        shown_BN, place_BN = shuffles(rng, 2 * size, length).reshape(2, size, length)
        place_BQ = place_BN[:, :asked]
        steps_BQ = below(words(rng, size, asked), self.hops)
        flat = name.reshape(-1)
        if self.shape == "cycle":
            shown_BN += row_B1
            follower_BN = flat[1:].take(shown_BN)
            answer_BQ = place_BQ + steps_BQ
            answer_BQ += 1
            answer_BQ %= length
        else:
            next_BN = shuffles(rng, size, length)
            follows = next_BN.reshape(-1)
            each_B1 = np.arange(0, follows.size, length)[:, None]
            follower_BN = flat.take(follows.take(shown_BN + each_B1) + row_B1)
            shown_BN += row_B1
            answer_BQ = place_BQ
            for step in range(self.hops):
                answer_BQ = np.where(step <= steps_BQ, follows.take(answer_BQ + each_B1), answer_BQ)
        tokens_BT = np.empty((size, self.nominal(length)), np.int32)
        tokens_BT[:, 0 : start - 1 : 2] = flat.take(shown_BN)
        tokens_BT[:, 1 : start - 1 : 2] = follower_BN
        tokens_BT[:, start - 1] = self.symbols
        tokens_BT[:, start::3] = self.alphabet + steps_BQ
        tokens_BT[:, start + 1 :: 3] = flat.take(place_BQ + row_B1)
        tokens_BT[:, start + 2 :: 3] = flat.take(answer_BQ + row_B1)
        mask_BT = np.zeros(tokens_BT.shape, bool)
        mask_BT[:, start + 1 :: 3] = True
        return Batch(tokens_BT, shifted(tokens_BT, self.pad), mask_BT, tokens_BT.size)

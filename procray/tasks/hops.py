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
from procray.tasks.sequences import orders, picked, shifted
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
        row_B1 = np.arange(size)[:, None]
        names_BN = picked(rng, size, length, self.alphabet)
        shown_BN = orders(rng, size, length)
        place_BQ = orders(rng, size, length)[:, :asked]
        steps_BQ = rng.integers(1, self.hops + 1, (size, asked))
        if self.shape == "cycle":
            follower_BN = (shown_BN + 1) % length
            answer_BQ = (place_BQ + steps_BQ) % length
        else:
            next_BN = orders(rng, size, length)
            follower_BN = next_BN[row_B1, shown_BN]
            answer_BQ = place_BQ
            for step in range(self.hops):
                answer_BQ = np.where(step < steps_BQ, next_BN[row_B1, answer_BQ], answer_BQ)
        tokens_BT = np.empty((size, self.nominal(length)), np.int32)
        start = 2 * length + 1
        tokens_BT[:, 0 : start - 1 : 2] = names_BN[row_B1, shown_BN]
        tokens_BT[:, 1 : start - 1 : 2] = names_BN[row_B1, follower_BN]
        tokens_BT[:, start - 1] = self.symbols
        tokens_BT[:, start::3] = self.alphabet + steps_BQ - 1
        tokens_BT[:, start + 1 :: 3] = names_BN[row_B1, place_BQ]
        tokens_BT[:, start + 2 :: 3] = names_BN[row_B1, answer_BQ]
        mask_BT = np.zeros(tokens_BT.shape, bool)
        mask_BT[:, start + 1 :: 3] = True
        return Batch(tokens_BT, shifted(tokens_BT, self.pad), mask_BT, size * self.nominal(length))

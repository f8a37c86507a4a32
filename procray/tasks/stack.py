"""STACK: the final content of a stack after pushes and pops (arXiv 2601.21725).

Shape suffixes: B sequences, L operations, N symbols.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.lengths import Length
from procray.tasks.parameters import length_of, vocabulary
from procray.tasks.sequences import answered, column
from procray.tasks.task import BaseTask

POP = 0
LIKELY = 0.75  # the chance of a push in the first two thirds, and of a pop afterwards


@dataclass(frozen=True)
class Stack(BaseTask):
    """`L operations | the final stack from top to bottom`, nominally padded to 2L tokens.

    An operation is a symbol 1..V-1, which pushes it and is never one already on the stack, or 0,
    which pops. Operation i (from 0) is a pop if it is the last and the stack holds more than one;
    else a push if the stack holds at most one; else a push with probability 0.75 while
    i < int(2L/3), and a pop with probability 0.75 from there on. When every symbol is on the stack,
    a push becomes a pop. From L = 3 and V = 3 on the stack never ends empty and the whole always
    fits into 2L tokens, so nothing is ever cut off.
    """

    name: ClassVar[str] = "stack"
    summary: ClassVar[str] = "carry out pushes and pops (P), write the stack:  operations | top..bottom"
    shortest: ClassVar[int] = 3
    length: Length = field(default=64, metadata=length_of("L: operations"))
    vocab: int = field(default=100, metadata=vocabulary(low=3))

    @property
    def symbols(self) -> int:
        return self.vocab

    def nominal(self, length: int) -> int:
        return 2 * length

    def word(self, token: int) -> str:
        return "P" if token == POP else str(token)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        # The stack is the tail of a permutation of the symbols, its top the tail's first: a push
        # swaps a uniformly chosen free symbol to the border and moves the border, a pop moves it back.
        count = self.vocab - 1
        symbols_NB = np.repeat(np.arange(1, self.vocab, dtype=np.int32)[:, None], size, axis=1)
        free_B = np.full(size, count)
        coins_LB = rng.random((length, size))
        choices_LB = rng.random((length, size))
        operations_LB = np.empty((length, size), np.int32)
        columns_B = np.arange(size)
        for i in range(length):
            depth_B = count - free_B
            chance = LIKELY if i < int(2 * length / 3) else 1 - LIKELY
            push_B = (depth_B <= 1) | ((coins_LB[i] < chance) & (free_B > 0) & (i < length - 1))
            chosen_B = (choices_LB[i] * free_B).astype(np.intp)
            border_B = np.maximum(free_B - 1, 0)
            picked_B, displaced_B = symbols_NB[chosen_B, columns_B], symbols_NB[border_B, columns_B]
            # Where nothing is pushed, both swaps put back what was there.
            symbols_NB[chosen_B, columns_B] = np.where(push_B, displaced_B, picked_B)
            symbols_NB[border_B, columns_B] = np.where(push_B, picked_B, symbols_NB[border_B, columns_B])
            operations_LB[i] = np.where(push_B, picked_B, POP)
            free_B += np.where(push_B, -1, 1)
        depth_B = count - free_B
        deepest = int(depth_B.max())
        rest_BL = symbols_NB[np.minimum(free_B[:, None] + np.arange(deepest), count - 1), columns_B[:, None]]
        prefix_BP = np.hstack([operations_LB.T, column(self.vocab, size)])
        return answered(prefix_BP, rest_BL, depth_B, self.pad, self.nominal(length))

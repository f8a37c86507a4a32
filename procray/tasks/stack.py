"""STACK: the final content of a stack after pushes and pops (arXiv 2601.21725).

Shape suffixes: B sequences, L operations, S = L + 1 moments, N symbols.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.lengths import Length
from procray.tasks.parameters import length_of, vocabulary
from procray.tasks.sequences import answered
from procray.tasks.task import BaseTask
from procray.tasks.walks import bounced

POP = 0
LIKELY = 0.75  # the chance of a push in the first two thirds, and of a pop afterwards


@dataclass(frozen=True)
class Operations(BaseTask):
    """What STACK and QUEUE have in common."""

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


@dataclass(frozen=True)
class Stack(Operations):
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

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        count = self.vocab - 1
        depths_SB = depths(rng, size, length, count)
        free_LB = count - depths_SB[:-1]  # symbols that are not on the stack before each operation
        push_LB = depths_SB[1:] > depths_SB[:-1]
        # The stack is the tail of a permutation of the symbols, its top the tail's first. A push
        # swaps a uniformly chosen free symbol to the border and moves the border; a pop only moves
        # the border, which is a swap of the border with itself.
        columns_B = np.arange(size)
        border_LB = np.maximum(free_LB - 1, 0)
        chosen_LB = np.where(push_LB, (rng.random((length, size)) * free_LB).astype(np.intp), border_LB)
        border_LB, chosen_LB = border_LB * size + columns_B, chosen_LB * size + columns_B
        symbols_NB, picked_LB = swapped(self.vocab, chosen_LB, border_LB)
        operations_LB = np.where(push_LB, picked_LB, POP)
        depth_B = depths_SB[-1]
        tail_BN = (count - depth_B)[:, None] + np.arange(int(depth_B.max()))
        rest_BN = symbols_NB[np.minimum(tail_BN, count - 1), columns_B[:, None]]
        np.putmask(rest_BN, tail_BN >= count, self.pad)
        return answered([operations_LB.T, self.vocab], rest_BN, self.pad, self.nominal(length))


def swapped(vocab: int, chosen_LB: np.ndarray, border_LB: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`symbols_NB, picked_LB`: permutations after a swap of two places at every operation, and what was then moved.

    Places count in the flattened `symbols_NB`; the symbols 1..vocab - 1 begin in order.
    """
    length, size = chosen_LB.shape
    symbols_NB = np.repeat(np.arange(1, vocab, dtype=np.int32)[:, None], size, axis=1)
    flat = symbols_NB.reshape(-1)
    picked_LB = np.empty((length, size), np.int32)
    for i in range(length):
        picked_LB[i] = flat[chosen_LB[i]]
        flat[chosen_LB[i]] = flat[border_LB[i]]
        flat[border_LB[i]] = picked_LB[i]
    return symbols_NB, picked_LB


def depths(rng: np.random.Generator, size: int, length: int, count: int) -> np.ndarray:
    """`depths_SB`, S = L + 1: depth before the first operation and after each."""
    pushes = int(2 * length / 3)
    chance_L = np.where(np.arange(length) < pushes, LIKELY, 1 - LIKELY)
    chance_L[-1] = 0.0  # the last operation pops wherever something lies on top of something
    ups_LB = rng.random((length, size)) < chance_L[:, None]
    depths_SB = np.zeros((length + 1, size), np.intp)
    depths_SB[1:] = bounced(ups_LB[1:], count - 1)  # symbols above the lowest one, which the first operation pushes
    depths_SB[1:] += 1
    return depths_SB

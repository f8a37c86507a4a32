"""QUEUE: the final content of a queue, after the operations of STACK.

STACK's twin: it differs in nothing but which end a removal takes from. arXiv follow-ups of 2601.21725 name a QUEUE as
their control beside STACK; their code was not found, so this format is ours.

Shape suffixes: B sequences, L operations, S = L + 1 moments, N symbols.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.sequences import answered
from procray.tasks.stack import POP, Operations, depths, swapped


@dataclass(frozen=True)
class Queue(Operations):
    """`L operations | the final queue from front to back`, nominally padded to 2L tokens.

    An operation is a symbol 1..V-1, which joins the queue at its back and is never one already in it, or 0, which
    removes the one in front. When to join and when to remove follows the law of `stack`, so the lengths of both tasks'
    outputs have one distribution.
    """

    name: ClassVar[str] = "queue"
    summary: ClassVar[str] = "carry out arrivals and removals (P), write the queue:  operations | front..back"

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        count = self.vocab - 1
        depths_SB = depths(rng, size, length, count)
        join_LB = depths_SB[1:] > depths_SB[:-1]
        # The symbols stand in a ring. The queue runs from the number of removals to the number of arrivals, and what
        # follows up to its front again is free. An arrival swaps a uniformly chosen free symbol to the border.
        columns_B = np.arange(size)
        arrivals_SB = np.zeros((length + 1, size), np.intp)
        np.cumsum(join_LB, axis=0, out=arrivals_SB[1:])
        border_LB = arrivals_SB[:-1]
        free_LB = count - depths_SB[:-1]
        chosen_LB = border_LB + np.where(join_LB, (rng.random((length, size)) * free_LB).astype(np.intp), 0)
        border_LB, chosen_LB = border_LB % count * size + columns_B, chosen_LB % count * size + columns_B
        symbols_NB, picked_LB = swapped(self.vocab, chosen_LB, border_LB)
        operations_LB = np.where(join_LB, picked_LB, POP)
        depth_B = depths_SB[-1]
        place_BN = np.arange(int(depth_B.max()))
        removed_B = arrivals_SB[-1] - depth_B
        rest_BN = symbols_NB[(removed_B[:, None] + place_BN) % count, columns_B[:, None]]
        np.putmask(rest_BN, place_BN >= depth_B[:, None], self.pad)
        return answered([operations_LB.T, self.vocab], rest_BN, self.pad, self.nominal(length))

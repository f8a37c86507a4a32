"""QUEUE: the final content of a queue, after the operations of STACK.

STACK's twin: it differs in nothing but which end a removal takes from. arXiv follow-ups of 2601.21725 name a QUEUE as
their control beside STACK; their code was not found, so this format is ours.

Shape suffixes: B sequences, L operations, S = L + 1 moments, N arrivals or places of the queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.rng import below, words
from procray.tasks.sequences import shifted, shuffles
from procray.tasks.stack import Operations
from procray.tasks.walks import bounced


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
        words_LB = words(rng, length, size)  # the two lowest bits are a coin, and the whole chooses a symbol
        coins_LB = words_LB & np.uint32(3)
        joins_LB = np.empty((length, size), bool)
        likely = int(2 * length / 3)
        np.not_equal(coins_LB[:likely], 0, out=joins_LB[:likely])
        np.equal(coins_LB[likely:], 0, out=joins_LB[likely:])
        joins_LB[-1] = False
        depths_SB = np.zeros((length + 1, size), np.int16)
        np.add(bounced(joins_LB[1:], count - 1), 1, out=depths_SB[1:])  # the first operation is an arrival
        np.greater(depths_SB[1:], depths_SB[:-1], out=joins_LB)
        arrived_LB = np.arange(length, dtype=np.int16)[:, None] + depths_SB[:-1]
        arrived_LB >>= 1  # before each operation
        most = int(arrived_LB.max()) + 1
        symbols_BN = np.empty((size, most), np.int32)
        symbols_BN[:, :count] = shuffles(rng, size, count, most)
        symbols_BN += 1
        # Of the symbols that are not in the queue, as many as have left it stand at the departures 0, 1, .. and were
        # not taken since; numbers below 0 stand for the rest.
        place_LB = below(words_LB, count - depths_SB[:-1], np.int16 if count < 2**14 else np.int32)
        place_LB += arrived_LB
        place_LB -= count
        joined_BN = _joined(joins_LB, arrived_LB, place_LB, symbols_BN, count)
        flat = joined_BN.reshape(-1)
        row_B = np.arange(0, flat.size, most)
        operations_LB = flat.take(arrived_LB + row_B)
        operations_LB *= joins_LB  # a removal is 0
        depth_B1 = depths_SB[-1, :, None].astype(np.intp)
        place_N = np.arange(int(depth_B1.max()))
        first_B1 = row_B[:, None] + ((length - depth_B1) >> 1)  # as many have left
        inside_BN = place_N < depth_B1
        tokens_BT = np.empty((size, length + 1 + len(place_N)), np.int32)
        tokens_BT[:, :length] = operations_LB.T
        tokens_BT[:, length] = self.symbols
        tokens_BT[:, length + 1 :] = flat.take(first_B1 + place_N, mode="clip")
        tokens_BT[:, length + 1 :][~inside_BN] = self.pad
        mask_BT = np.zeros(tokens_BT.shape, bool)
        mask_BT[:, length:-1] = inside_BN
        return Batch(tokens_BT, shifted(tokens_BT, self.pad), mask_BT, size * self.nominal(length))


def _joined(
    joins_LB: np.ndarray, arrived_LB: np.ndarray, place_LB: np.ndarray, symbols_BN: np.ndarray, count: int
) -> np.ndarray:
    """`joined_BN`: the symbols that join the queue, in order.

    Arrival j either takes the new symbol j of its row in `symbols_BN`, or the symbol at an earlier departure, where it
    leaves the new symbol j in exchange. Of what is exchanged, only who takes it next is looked for, so that few numbers
    are sorted and then followed. With fewer symbols than arrivals, the new symbol j from `count` on is the one that
    stands at departure j - count then.
    """
    size, most = symbols_BN.shape
    taken_LB = place_LB >= (0 if most <= count else np.maximum(arrived_LB - (count - 1), 0))
    taken_LB &= joins_LB
    asks = np.flatnonzero(taken_LB)
    arrival, departure = arrived_LB.reshape(-1)[asks].astype(np.intp), place_LB.reshape(-1)[asks]
    if most > count:
        old = np.flatnonzero((arrived_LB >= count) & joins_LB)
        old_arrival = arrived_LB.reshape(-1)[old].astype(np.intp)
        asks, arrival = np.concatenate([asks, old]), np.concatenate([arrival, old_arrival])
        departure = np.concatenate([departure, old_arrival - count])
    # Nodes: what joins, row by row, then what the new symbols are. A code is the departure (that is, the node of what
    # joined there) and the arrival that asks for it.
    bits = (most - 1).bit_length()
    codes = ((asks % size * most + departure) << bits) | arrival
    codes.sort()
    departure, arrival = codes >> bits, codes & ((1 << bits) - 1)
    base = departure // most * most
    new = size * most
    follows = np.arange(2 * new)
    follows[:new] += new
    asking = base + arrival
    if most > count:
        asking[arrival - (departure - base) == count] += new
    found = departure.copy()
    again = np.flatnonzero(departure[1:] == departure[:-1])
    found[again + 1] = new + base[again] + arrival[again]
    while True:
        follows[asking] = found
        further = follows[found]
        if (further == found).all():
            break
        found = further
    if most > count:
        return symbols_BN.reshape(-1).take(follows.take(follows[:new]) - new).reshape(size, most)
    joined_BN = symbols_BN.copy()
    joined_BN.reshape(-1)[asking] = symbols_BN.reshape(-1).take(found - new)
    return joined_BN

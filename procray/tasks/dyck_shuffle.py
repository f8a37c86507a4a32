"""k-DYCK SHUFFLE: brackets of k types that need not nest (arXiv 2601.21725).

Shape suffixes: B sequences, T positions, S = T + 1 moments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.dyck import all_but_last, bracket
from procray.tasks.lengths import Length
from procray.tasks.parameters import fraction, length_of, whole
from procray.tasks.task import BaseTask


@dataclass(frozen=True)
class DyckShuffle(BaseTask):
    """Interleaved bracket words, cut off at exactly L tokens, so brackets may stay open at the end.

    Ids as in `dyck`. Token by token: with nothing open, open; with `max_depth` brackets open, close;
    else open with probability `p_open`, and close otherwise. An opening's type is uniform over the
    k types; a closing's is uniform over the types that are open, whatever their counts.
    """

    name: ClassVar[str] = "dyck_shuffle"
    summary: ClassVar[str] = "brackets of k types, each balanced for itself, interleaved; every token is predicted"
    shortest: ClassVar[int] = 2
    longest: ClassVar[int] = 32_768
    length: Length = field(default=2048, metadata=length_of("L: tokens of the whole word"))
    k: int = field(default=64, metadata=whole("types of brackets", 1, 16_384))
    p_open: float = field(default=0.5, metadata=fraction("chance to open where closing is possible too"))
    max_depth: int = field(default=16, metadata=whole("most brackets open at once", 1, 16_384))

    @property
    def symbols(self) -> int:
        return 2 * self.k

    @property
    def separator(self) -> None:
        return None

    @property
    def pad(self) -> int:
        return 2 * self.k

    def nominal(self, length: int) -> int:
        return length

    def word(self, token: int) -> str:
        return bracket(token, self.k)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        opens_TB = _openings(rng.random((length, size), np.float32) < self.p_open, self.max_depth)
        new_TB = rng.integers(0, self.k, (length, size), dtype=np.intp)
        choices_TB = rng.random((length, size))
        change_TB = np.where(opens_TB, np.intp(1), np.intp(-1))
        # `counts` has k cells for each sequence; a type is named by the place of its count. `listed`
        # names the types that are open, so that a uniform choice among them takes one look-up:
        # `start_B` is where a sequence's list starts, `end_B` where it ends and new ones go.
        slots = min(self.k, self.max_depth) + 1  # the last stays free for a type that is listed already
        counts = np.zeros(size * self.k, np.intp)
        listed = np.zeros(size * slots, np.intp)
        origin_B, start_B = np.arange(size) * self.k, np.arange(size) * slots
        end_B = start_B.copy()
        new_TB += origin_B
        types_TB = np.empty((length, size), np.intp)
        for i in range(length):
            open_B = opens_TB[i]
            chosen_B = start_B + (choices_TB[i] * (end_B - start_B)).astype(np.intp)
            type_B = np.where(open_B, new_TB[i], listed.take(chosen_B))
            count_B = counts.take(type_B) + change_TB[i]
            counts[type_B] = count_B
            types_TB[i] = type_B
            # An opening is written behind the list, which it lengthens if it is the first of its type.
            # A type that closed for good gives its place to the last one; any other keeps it.
            gone_B = count_B == 0
            listed[np.where(open_B, end_B, chosen_B)] = np.where(gone_B, listed.take(end_B - 1, mode="wrap"), type_B)
            end_B += open_B & (count_B == 1)
            end_B -= gone_B
        tokens_TB = types_TB - origin_B + np.where(opens_TB, 0, self.k)
        tokens_BT = tokens_TB.T.astype(np.int32, order="C")
        return all_but_last(tokens_BT, self.pad, self.nominal(length))


def _openings(coins_TB: np.ndarray, max_depth: int) -> np.ndarray:
    """`opens_TB`: where a token opens. A true coin opens, except that depth stays in 0..max_depth."""
    length, size = coins_TB.shape
    steps_TB = np.where(coins_TB, np.int32(1), np.int32(-1))
    depths_SB = np.zeros((length + 1, size), np.int32)  # S = T + 1: before the first token and after each
    for i in range(length):
        # Both ends turn the step around.
        np.add(depths_SB[i], steps_TB[i], out=depths_SB[i + 1])
        np.absolute(depths_SB[i + 1], out=depths_SB[i + 1])
        np.minimum(depths_SB[i + 1], 2 * max_depth - depths_SB[i + 1], out=depths_SB[i + 1])
    return depths_SB[1:] > depths_SB[:-1]

"""k-DYCK SHUFFLE: brackets of k types that need not nest (arXiv 2601.21725).

Shape suffixes: B sequences, T positions, S slots for types that are open.
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
        coins_TB = rng.random((length, size), np.float32) < self.p_open
        new_TB = rng.integers(0, self.k, (length, size), dtype=np.int32)
        choices_TB = rng.random((length, size))
        tokens_TB = np.empty((length, size), np.int32)
        # Each sequence keeps the list of its open types (the first `kinds_B` slots) and their counts,
        # so that a uniform choice among them takes one look-up. Slot S is scrap.
        slots = min(self.k, self.max_depth)
        open_SB = np.zeros((slots + 1, size), np.int32)
        counts_KB = np.zeros((self.k, size), np.int32)
        kinds_B = np.zeros(size, np.intp)
        depth_B = np.zeros(size, np.int32)
        columns_B = np.arange(size)
        for i in range(length):
            opens_B = (coins_TB[i] | (depth_B == 0)) & (depth_B < self.max_depth)
            slot_B = (choices_TB[i] * kinds_B).astype(np.intp)
            type_B = np.where(opens_B, new_TB[i], open_SB[slot_B, columns_B])
            tokens_TB[i] = np.where(opens_B, type_B, type_B + self.k)
            change_B = np.where(opens_B, 1, -1)
            count_B = counts_KB[type_B, columns_B] + change_B
            counts_KB[type_B, columns_B] = count_B
            depth_B += change_B
            appears_B = opens_B & (count_B == 1)
            vanishes_B = count_B == 0  # only a closing ends at zero
            open_SB[np.where(appears_B, kinds_B, slots), columns_B] = type_B
            last_B = open_SB[np.maximum(kinds_B - 1, 0), columns_B]
            open_SB[np.where(vanishes_B, slot_B, slots), columns_B] = last_B
            kinds_B += appears_B
            kinds_B -= vanishes_B
        return all_but_last(np.ascontiguousarray(tokens_TB.T), self.pad, self.nominal(length))

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
from procray.tasks.walks import bounced


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

    def _coins(self, rng: np.random.Generator, size: int, length: int) -> np.ndarray:
        """`ups_TB`: which tokens open where both ways are possible."""
        return rng.random((length, size), np.float32) < self.p_open

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        depths_SB = bounced(self._coins(rng, size, length), self.max_depth)
        opens_TB = depths_SB[1:] > depths_SB[:-1]
        new_TB = rng.integers(0, self.k, (length, size), dtype=np.intp)
        choices_TB = rng.random((length, size))
        choices_TB[opens_TB] = 1.0  # an opening is written behind the list
        # `memory` holds a list and k counts for each sequence; a type is named by the place of its count. The list
        # names the types that are open, so that a uniform choice among them takes one look-up. Its last slot stays
        # free for a type that is listed already; the cell before all lists is read where a list is empty.
        slots = min(self.k, self.max_depth) + 1
        memory = np.zeros(1 + size * (slots + self.k), np.intp)
        lists_B, counts_B = 1 + np.arange(size) * slots, 1 + size * slots + np.arange(size) * self.k
        new_TB += counts_B
        changes_TB = np.where(opens_TB, 1, -1)
        types_TB = np.empty((length, size), np.intp)
        # So small operations cost their calls: all write to arrays that are there, none converts a number.
        origins_2B = np.stack([lists_B, lists_B - 1])
        listed_2B, places_2B = np.zeros((2, size)), np.empty((2, size), np.intp)
        (chosen_B, number_B), (place_B, last_B) = listed_2B, places_2B
        count_B, entry_B, zero_B, one_B = np.array([0, 0, 0, 1])[:, None].repeat(size, axis=1)
        changed_B, moves_B = np.empty(size), np.empty(size, bool)
        rows = zip(opens_TB, new_TB, choices_TB, changes_TB, changes_TB.astype(float), types_TB, strict=True)
        for open_B, new_B, choice_B, change_B, longer_B, type_B in rows:
            np.multiply(choice_B, number_B, out=chosen_B)
            np.copyto(places_2B, listed_2B, casting="unsafe")
            np.add(places_2B, origins_2B, out=places_2B)
            memory.take(place_B, out=type_B, mode="clip")
            memory.take(last_B, out=entry_B, mode="clip")
            np.copyto(type_B, new_B, where=open_B)
            # Counts are kept doubled, so that from none to one and back again they pass 1.
            memory.take(type_B, out=count_B, mode="clip")
            np.add(count_B, change_B, out=count_B)
            np.equal(count_B, one_B, out=moves_B)
            np.add(number_B, longer_B, out=changed_B)
            np.copyto(number_B, changed_B, where=moves_B)
            np.add(count_B, change_B, out=count_B)
            memory[type_B] = count_B
            # A type that closed for good gives its place to the last one; any other keeps it.
            np.not_equal(count_B, zero_B, out=moves_B)
            np.copyto(entry_B, type_B, where=moves_B)
            memory[place_B] = entry_B
        tokens_TB = types_TB - counts_B + np.where(opens_TB, 0, self.k)
        tokens_BT = tokens_TB.T.astype(np.int32, order="C")
        return all_but_last(tokens_BT, self.pad, self.nominal(length))

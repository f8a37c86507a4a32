"""HAYSTACK: look up a key's value among pairs; the first diagnostic (arXiv 2505.22308).

Shape suffixes: B sequences, N pairs, T positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import CORRECTED, OFFICIAL, Batch
from procray.tasks.parameters import whole
from procray.tasks.sequences import random_orders, shifted
from procray.tasks.task import BaseTask

VOCAB = 256
FIRST_KEY = 128
# Keys and markers fill the ids 128..255, which alone would allow 64 pairs; the 100 positions of
# the papers' model hold 2 * 48 + 3.
MOST_PAIRS = 48


@dataclass(frozen=True)
class Haystack(BaseTask):
    """`key value key value ... marker answer`, with loss on the answer only.

    n pairs, n uniform from 1..pairs. Keys are 128 + a with distinct a from 0..pairs-1; values are
    uniform from 1..127 and may repeat; the marker 128 + pairs + a asks for the pair with key a,
    uniform among those present; the answer is its value. Id 0 pads to 2 pairs + 3 tokens. With
    `pairs` = 30 this is the released format (63 tokens, keys from 128, markers from 158).
    Guessing a value scores 0.8 %, guessing one of the values present 13.3 %.
    """

    name: ClassVar[str] = "haystack"
    summary: ClassVar[str] = "diagnostic: which value stood behind this key?  k v k v ... ?k v"
    diagnostic: ClassVar[bool] = True
    pairs: int = field(default=30, metadata=whole("most pairs in one sequence; each has 1..pairs", 1, MOST_PAIRS))

    @property
    def length(self) -> int:
        return self.pairs

    @property
    def symbols(self) -> int:
        return VOCAB

    @property
    def separator(self) -> None:
        return None

    @property
    def pad(self) -> int:
        return 0

    @property
    def vocab_size(self) -> int:
        return VOCAB

    def nominal(self, length: int) -> int:
        return 2 * length + 3

    def word(self, token: int) -> str:
        if token < FIRST_KEY:
            return str(token)
        key = token - FIRST_KEY
        return f"k{key}" if key < self.pairs else f"?k{key - self.pairs}"

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        counts_B = rng.integers(1, length + 1, size)
        asked_B = rng.integers(0, counts_B)
        longest = int(counts_B.max())
        pairs_BN2 = np.empty((size, longest + 1, 2), np.int32)
        np.add(random_orders(rng, size, self.pairs)[:, :longest], FIRST_KEY, out=pairs_BN2[:, :-1, 0], casting="unsafe")
        pairs_BN2[:, :-1, 1] = rng.integers(1, FIRST_KEY, (size, longest), dtype=np.uint16)
        # A pair is cleared as one number, and the place of the marker with it.
        whole_BN = pairs_BN2.view(np.int64)[:, :, 0]
        row_B = np.arange(size)
        found_B = whole_BN[row_B, asked_B]
        whole_BN *= np.arange(longest + 1) < counts_B[:, None]
        whole_BN[row_B, counts_B] = found_B
        pairs_BN2[row_B, counts_B, 0] += self.pairs
        tokens_BT = pairs_BN2.reshape(size, -1)
        mask_BT = np.zeros(tokens_BT.shape, bool)
        mask_BT[row_B, 2 * counts_B] = True
        return Batch(
            tokens_BT,
            shifted(tokens_BT, self.pad),
            mask_BT,
            size * self.nominal(length),
            mask_BT.view(np.uint8) * np.uint8(OFFICIAL | CORRECTED),
        )

"""k-DYCK: balanced brackets of k types, properly nested (arXiv 2601.21725).

Shape suffixes: B sequences, T positions, N pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.lengths import Length
from procray.tasks.parameters import fraction, length_of, whole
from procray.tasks.sequences import shifted
from procray.tasks.task import BaseTask


def bracket(token: int, k: int) -> str:
    """`(7` opens and `7)` closes a bracket of type 7."""
    return f"({token}" if token < k else f"{token - k})"


def all_but_last(tokens_BT: np.ndarray, pad: int, nominal: int) -> Batch:
    """Plain language modelling: every position but the last is scored (openings cannot be predicted)."""
    mask_BT = np.ones(tokens_BT.shape, bool)
    mask_BT[:, -1] = False
    return Batch(tokens_BT, shifted(tokens_BT, pad), mask_BT, len(tokens_BT) * nominal)


@dataclass(frozen=True)
class Dyck(BaseTask):
    """A balanced word of exactly L tokens: ids 0..k-1 open, k..2k-1 close, 2k pads.

    Token by token: with nothing open, open; when as many tokens remain as are open, close them
    all; else open with probability `p_open`, and close otherwise. An opening's type is uniform.
    Defaults are the released configuration's (k 64, 2,048 tokens, p_open 0.5); the command-line
    defaults of the same code are k 16 and 128 tokens.
    """

    name: ClassVar[str] = "dyck"
    summary: ClassVar[str] = "balanced, properly nested brackets of k types; every token is predicted"
    shortest: ClassVar[int] = 2
    longest: ClassVar[int] = 32_768  # half of it, the greatest depth, fits into 15 bits
    multiple: ClassVar[int] = 2
    length: Length = field(default=2048, metadata=length_of("L: tokens of the whole word, even"))
    k: int = field(default=64, metadata=whole("types of brackets", 1, 16_384))
    p_open: float = field(default=0.5, metadata=fraction("chance to open where closing is possible too"))

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
        levels_BT = _levels((rng.random((length, size), np.float32) < self.p_open).T)
        # On one level openings and closings alternate, so after sorting by (level, position) the
        # even places are the openings, each followed by the closing that belongs to it.
        places_BT = levels_BT.astype(np.int16).argsort(axis=1, kind="stable")  # a radix sort up to 16 bits
        places_BT += np.arange(0, size * length, length)[:, None]
        pairs_BN2 = np.empty((size, length // 2, 2), np.int32)
        pairs_BN2[:, :, 0] = rng.integers(0, self.k, (size, length // 2), dtype=np.int32)
        np.add(pairs_BN2[:, :, 0], self.k, out=pairs_BN2[:, :, 1])
        tokens_BT = np.empty((size, length), np.int32)
        tokens_BT.reshape(-1)[places_BT.reshape(-1)] = pairs_BN2.reshape(-1)
        return all_but_last(tokens_BT, self.pad, self.nominal(length))


def _levels(coins_BT: np.ndarray) -> np.ndarray:
    """`levels_BT`: brackets open around each token, not counting its own pair. A true coin opens.

    Depth turns around below 0, which lifts the walk of the coins by 2 wherever it falls below all that was lifted so
    far. As many tokens as are open must remain after each one; depth and remaining tokens are both even or both odd,
    so that bound leads straight down once it is met, and cuts off all that lies above it.
    """
    size, length = coins_BT.shape
    walk_BT = coins_BT.astype(np.int32, order="C")
    walk_BT *= 2
    walk_BT -= 1
    np.cumsum(walk_BT, axis=1, out=walk_BT)
    lowest_BT = np.minimum.accumulate(walk_BT, axis=1)
    np.minimum(lowest_BT, 0, out=lowest_BT)
    depths_BS = np.zeros((size, length + 1), np.int32)  # S = T + 1: before the first token and after each
    np.subtract(1, lowest_BT, out=depths_BS[:, 1:])
    depths_BS &= ~1
    depths_BS[:, 1:] += walk_BT
    np.minimum(depths_BS[:, 1:], np.arange(length - 1, -1, -1, dtype=np.int32), out=depths_BS[:, 1:])
    return np.minimum(depths_BS[:, :-1], depths_BS[:, 1:])

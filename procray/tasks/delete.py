"""DELETE: remove one symbol from a sequence (arXiv 2601.21725)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.lengths import Length
from procray.tasks.parameters import length_of, vocabulary
from procray.tasks.sequences import answered, draw_symbols
from procray.tasks.task import BaseTask


@dataclass(frozen=True)
class Delete(BaseTask):
    """`x1..xL | r | x without the first occurrence of r`, nominally padded to 2L+3 tokens.

    `r` is uniform and independent of x, so it is often absent (at V = 100 present with probability
    0.15, 0.28, 0.48 for L = 16, 32, 64); then the output equals the input. With L = 1 and r present
    the output is empty and nothing of that sequence is scored.
    """

    name: ClassVar[str] = "delete"
    summary: ClassVar[str] = "remove the first occurrence of r, if there is one:  x1..xL | r | x without r"
    length: Length = field(default=64, metadata=length_of("L: symbols of the input"))
    vocab: int = field(default=100, metadata=vocabulary())

    @property
    def symbols(self) -> int:
        return self.vocab

    def nominal(self, length: int) -> int:
        return 2 * length + 3

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        x_BL = draw_symbols(rng, size, length, self.vocab)
        removed_B1 = draw_symbols(rng, size, 1, self.vocab)
        moved_BL = np.logical_or.accumulate(x_BL == removed_B1, axis=1)
        output_BL = np.full_like(x_BL, self.pad)
        output_BL[:, :-1] = x_BL[:, 1:]
        np.copyto(output_BL, x_BL, where=~moved_BL)
        return answered([x_BL, self.vocab, removed_B1, self.vocab], output_BL, self.pad, self.nominal(length))

"""UNION: the union of two sequences (arXiv 2601.21725)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.lengths import Length
from procray.tasks.parameters import length_of, vocabulary
from procray.tasks.sequences import answered, distinct, draw_symbols
from procray.tasks.task import BaseTask


@dataclass(frozen=True)
class Union(BaseTask):
    """`a | b | the distinct symbols of a then b in order of first occurrence`.

    `a` and `b` have L//2 symbols each; the output is nominally padded to L, which makes
    2 (L//2) + 2 + L tokens. The output is scored, from the second separator on.
    """

    name: ClassVar[str] = "union"
    summary: ClassVar[str] = "the union of two halves, first occurrences in order:  a | b | distinct(a b)"
    shortest: ClassVar[int] = 2
    length: Length = field(default=64, metadata=length_of("L: symbols of both inputs together, L//2 each"))
    vocab: int = field(default=100, metadata=vocabulary())

    @property
    def symbols(self) -> int:
        return self.vocab

    def nominal(self, length: int) -> int:
        return 2 * (length // 2) + 2 + length

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        half = length // 2
        x_BL = draw_symbols(rng, size, 2 * half, self.vocab)
        output_BL = distinct(x_BL, self.pad)
        return answered(
            [x_BL[:, :half], self.vocab, x_BL[:, half:], self.vocab], output_BL, self.pad, self.nominal(length)
        )

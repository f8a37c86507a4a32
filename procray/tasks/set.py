"""SET: drop repeated symbols (arXiv 2601.21725)."""

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
class Set(BaseTask):
    """`x1..xL | the distinct symbols of x in order of first occurrence`, nominally padded to 2L+1 tokens.

    The paper's teaser figure draws a symmetric difference of two sequences; its code and text
    describe this.
    """

    name: ClassVar[str] = "set"
    summary: ClassVar[str] = "drop repeated symbols, first occurrences stay in order:  x1..xL | distinct(x)"
    length: Length = field(default=64, metadata=length_of("L: symbols of the input"))
    vocab: int = field(default=100, metadata=vocabulary())

    @property
    def symbols(self) -> int:
        return self.vocab

    def nominal(self, length: int) -> int:
        return 2 * length + 1

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        x_BL = draw_symbols(rng, size, length, self.vocab)
        return answered([x_BL, self.vocab], distinct(x_BL, self.pad), self.pad, self.nominal(length))

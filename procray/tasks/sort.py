"""SORT: sort a sequence by token id (arXiv 2601.21725)."""

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
class Sort(BaseTask):
    """`x1..xL | x sorted ascending, duplicates kept`: 2L+1 tokens, L of them scored."""

    name: ClassVar[str] = "sort"
    summary: ClassVar[str] = "sort by token id, duplicates kept:  x1..xL | sorted(x)"
    length: Length = field(default=64, metadata=length_of("L: symbols of the input"))
    vocab: int = field(default=100, metadata=vocabulary())

    @property
    def symbols(self) -> int:
        return self.vocab

    def nominal(self, length: int) -> int:
        return 2 * length + 1

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        x_BL = draw_symbols(rng, size, length, self.vocab)
        return answered([x_BL, self.vocab], np.sort(x_BL, axis=1), self.pad, self.nominal(length))

"""SORTING: a diagnostic of arXiv 2505.22308 whose format and code are unpublished; the definition is ours.

Shape suffixes: B sequences, L numbers, T positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from procray.batch import CORRECTED, FIRST, Batch
from procray.tasks.parameters import whole
from procray.tasks.sequences import answered
from procray.tasks.task import BaseTask


@dataclass(frozen=True)
class Sorting(BaseTask):
    """`x = sorted(x)`: L numbers, uniform from 0..V-1 with repetition, then the same in ascending order.

    The definition is ours; the paper's is unpublished, so its numbers are no reference for this task. As in the
    arithmetic diagnostics, the answer has ids of its own: a number n of x is n, in the answer it is V + n; `=` is 2V,
    the padding 2V+1. All L numbers of the answer are trained and scored; as its length is known, there is no stop.
    That sets it apart from the warm-up task SORT, which it would otherwise repeat.
    """

    name: ClassVar[str] = "sorting"
    summary: ClassVar[str] = (
        "diagnostic: numbers in ascending order:  x = sorted(x)  (definition ours; the paper's is unpublished)"
    )
    diagnostic: ClassVar[bool] = True
    numbers: int = field(default=10, metadata=whole("L: how many numbers are sorted", 1, 1024))
    values: int = field(default=100, metadata=whole("V: numbers are 0..V-1", 2, 32_768))

    @property
    def length(self) -> int:
        return self.numbers

    @property
    def symbols(self) -> int:
        return 2 * self.values

    @property
    def vocab_size(self) -> int:
        return 2 * self.values + 2

    def nominal(self, length: int) -> int:
        return 2 * length + 1

    def word(self, token: int) -> str:
        return str(token % self.values)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        x_BL = rng.integers(0, self.values, (size, length), dtype=np.int32)
        batch = answered([x_BL, self.symbols], self.values + np.sort(x_BL, axis=1), self.pad, self.nominal(length))
        parts_BT = np.where(batch.mask_BT, CORRECTED, 0).astype(np.uint8)
        parts_BT[:, length] |= FIRST
        return replace(batch, parts_BT=parts_BT)

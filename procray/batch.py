"""What tasks and corpora hand to the training loop.

Shape suffixes: B sequences, T positions, W cells of a cellular automaton.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np

AnyBatch = TypeVar("AnyBatch", "Batch", "RowBatch")


@dataclass(frozen=True)
class Batch:
    """Token sequences with their next-token targets.

    `tokens_BT` is the whole sequence, `targets_BT` the same shifted left by one, `mask_BT` true
    where the target is scored. `nominal_tokens` counts the batch as the papers do: sequences x
    nominal length, separators and padding included, also where the arrays are trimmed.
    """

    tokens_BT: np.ndarray  # integer
    targets_BT: np.ndarray  # integer
    mask_BT: np.ndarray  # bool
    nominal_tokens: int

    def rows(self, part: slice | np.ndarray, end: int | None = None) -> Batch:
        """The same batch restricted to some sequences; the widths stay, unless `end` cuts them."""
        return _rows(self, part, end)


@dataclass(frozen=True)
class RowBatch:
    """Rows of a cellular automaton: one position is one row of W binary cells.

    `targets_BTW` is the row that follows each row; every cell of a masked position is scored.
    """

    rows_BTW: np.ndarray  # uint8, 0 or 1
    targets_BTW: np.ndarray  # uint8, 0 or 1
    mask_BT: np.ndarray  # bool
    nominal_tokens: int

    def rows(self, part: slice | np.ndarray, end: int | None = None) -> RowBatch:
        return _rows(self, part, end)


def _rows(batch: AnyBatch, part: slice | np.ndarray, end: int | None) -> AnyBatch:
    arrays = {
        field.name: value[part][:, :end]
        for field in fields(batch)
        if isinstance(value := getattr(batch, field.name), np.ndarray)
    }
    share = len(arrays["mask_BT"]) / max(1, len(batch.mask_BT))
    return replace(batch, nominal_tokens=round(batch.nominal_tokens * share), **arrays)

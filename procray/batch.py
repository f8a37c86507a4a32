"""What tasks and corpora hand to the training loop.

Shape suffixes: B sequences, T positions, W cells of a cellular automaton.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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

    def rows(self, part: slice) -> Batch:
        """The same batch restricted to some sequences; the widths stay."""
        share = len(range(*part.indices(len(self.tokens_BT)))) / max(1, len(self.tokens_BT))
        return Batch(
            self.tokens_BT[part], self.targets_BT[part], self.mask_BT[part], round(self.nominal_tokens * share)
        )


@dataclass(frozen=True)
class RowBatch:
    """Rows of a cellular automaton: one position is one row of W binary cells.

    `targets_BTW` is the row that follows each row; every cell of a masked position is scored.
    """

    rows_BTW: np.ndarray  # uint8, 0 or 1
    targets_BTW: np.ndarray  # uint8, 0 or 1
    mask_BT: np.ndarray  # bool
    nominal_tokens: int

    def rows(self, part: slice) -> RowBatch:
        share = len(range(*part.indices(len(self.rows_BTW)))) / max(1, len(self.rows_BTW))
        return RowBatch(
            self.rows_BTW[part], self.targets_BTW[part], self.mask_BT[part], round(self.nominal_tokens * share)
        )

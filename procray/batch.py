"""What tasks and corpora hand to the training loop.

Shape suffixes: B sequences, T positions, W cells of a cellular automaton.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np

# The parts that a position may play in the answer of a diagnostic, as bits of `Batch.parts_BT`.
OFFICIAL = 1  # scored by the paper's released code: not the first digit, but the end
CORRECTED = 2  # its target is a digit (or whatever an answer is made of)
FIRST = 4  # its target is the first of them
STOP = 8  # its target is the end of the answer

# Accuracies of an evaluation that do not depend on what is trained, and the positions that they are taken over.
PARTS = {
    "official_accuracy": OFFICIAL,
    "corrected_accuracy": CORRECTED,
    "first_accuracy": FIRST,
    "stop_accuracy": STOP,
}
EXACT_MATCH = "exact_match"  # the fraction of sequences whose answer and its end are right

AnyBatch = TypeVar("AnyBatch", "Batch", "RowBatch")


@dataclass(frozen=True)
class Batch:
    """Token sequences with their next-token targets.

    `tokens_BT` is the whole sequence, `targets_BT` the same shifted left by one, `mask_BT` true
    where the target is scored. `nominal_tokens` counts the batch as the papers do: sequences x
    nominal length, separators and padding included, also where the arrays are trimmed.
    `parts_BT`, of diagnostics alone, says what else an evaluation tells apart, trained or not.
    """

    tokens_BT: np.ndarray  # integer
    targets_BT: np.ndarray  # integer
    mask_BT: np.ndarray  # bool
    nominal_tokens: int
    parts_BT: np.ndarray | None = None  # uint8, see above

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

"""The fixed test set of a diagnostic task, and how training keeps clear of it.

Small tasks repeat themselves: HAYSTACK has 3,810 sequences of one pair, and a test set of 4,000 holds more than a
hundred of them. A training sequence that stands in the test set is therefore drawn anew, as the papers' code does.

Shape suffixes: B sequences, T positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from procray.batch import Batch
from procray.errors import TaskError
from procray.tasks import BaseTask

ATTEMPTS = 100  # of drawing a sequence that is not in the test set
_SLOTS = 1 << 17
# What stands behind the end of a sequence, given the padding.
_FILL: dict[str, Callable[[int], int]] = {
    "tokens_BT": lambda pad: pad,
    "targets_BT": lambda pad: pad,
    "mask_BT": lambda pad: 0,
    "parts_BT": lambda pad: 0,
}
_EXACT = 53  # bits up to which a float64 counts exactly, so that the order of a sum does not matter


class TestSet:
    """Held-out sequences that are made once and looked up quickly.

    Attributes:
        batches: the sequences in their order, together as far as `positions` allow.
    """

    __test__ = False  # no test of pytest

    def __init__(self, task: BaseTask, made: Iterable[Batch], positions: int):
        self._task = task
        whole = _joined(list(made), task.pad)
        size = max(1, positions // whole.mask_BT.shape[1])
        self.batches = [whole.rows(slice(first, first + size)) for first in range(0, len(whole.mask_BT), size)]
        bits = _EXACT - (task.vocab_size - 1).bit_length() - (task.positions - 1).bit_length()
        self._weights_T = np.random.default_rng(0).integers(1, 2**bits, task.positions).astype(np.float64)
        sums_B = self._sums(whole.tokens_BT)
        self._known = frozenset(sums_B.tolist())
        self._taken = np.zeros(_SLOTS, bool)
        self._taken[sums_B & (_SLOTS - 1)] = True

    def occurs(self, tokens_BT: np.ndarray) -> np.ndarray:
        """`rows_N`: which sequences are in the test set, whatever padding either has.

        Sequences are told apart by a random weighted sum; one in 10^8 of HAYSTACK is taken for another.
        """
        sums_B = self._sums(tokens_BT)
        maybe_N = np.flatnonzero(self._taken[sums_B & (_SLOTS - 1)])  # all that are, and few others
        return maybe_N[[total in self._known for total in sums_B[maybe_N].tolist()]] if len(maybe_N) else maybe_N

    def kept_clear(self, batch: Batch, seed: int, stream: str, index: int, length: int | None) -> Batch:
        """Batch `index` of a stream without sequences of the test set: a pure function of its arguments.

        Raises:
            TaskError: there is hardly any sequence left to train on.
        """
        rows_N = self.occurs(batch.tokens_BT)
        attempt = 0
        while len(rows_N):
            attempt += 1
            if attempt > ATTEMPTS:
                raise TaskError(
                    f"{self._task.name}: nearly every sequence is among the {len(self._known)} different ones of the "
                    "test set, so that nothing is left to train on; choose fewer evaluate.sequences or a larger task"
                )
            fresh = self._task.sample(seed, stream, index, len(rows_N), length, attempt)
            assert isinstance(fresh, Batch)
            batch = _replaced(batch, rows_N, fresh, self._task.pad)
            rows_N = rows_N[self.occurs(fresh.tokens_BT)]
        return batch

    def _sums(self, tokens_BT: np.ndarray) -> np.ndarray:
        """A whole number for each sequence that padding does not change."""
        weights_T = self._weights_T[: tokens_BT.shape[1]]
        sums_B = tokens_BT.astype(np.float64) @ weights_T - self._task.pad * weights_T.sum()
        return sums_B.astype(np.int64)


def _joined(batches: list[Batch], pad: int) -> Batch:
    width = max(batch.mask_BT.shape[1] for batch in batches)
    wide = [_widened(batch, width, pad) for batch in batches]
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(batch, name) for batch in wide])
        for name in _FILL
        if getattr(wide[0], name) is not None
    }
    return replace(wide[0], nominal_tokens=sum(batch.nominal_tokens for batch in batches), **arrays)


def _replaced(batch: Batch, rows_N: np.ndarray, fresh: Batch, pad: int) -> Batch:
    """The batch with other sequences in some of its rows; wider where they need it."""
    width = fresh.mask_BT.shape[1]
    if width > batch.mask_BT.shape[1]:
        batch = _widened(batch, width, pad)
    for name, fill in _FILL.items():
        value = getattr(batch, name)
        if value is not None:
            value[rows_N, :width] = getattr(fresh, name)
            value[rows_N, width:] = fill(pad)
    return batch


def _widened(batch: Batch, width: int, pad: int) -> Batch:
    missing = ((0, 0), (0, width - batch.mask_BT.shape[1]))
    arrays: dict[str, Any] = {
        name: np.pad(value, missing, constant_values=fill(pad))
        for name, fill in _FILL.items()
        if (value := getattr(batch, name)) is not None
    }
    return replace(batch, **arrays)

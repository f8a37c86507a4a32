"""SHUFFLED: another task's tokens in random order, a control without structure.

Shape suffixes: B sequences, T positions, W cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from procray.batch import Batch, RowBatch
from procray.files import canonical_json
from procray.tasks.lengths import Curriculum
from procray.tasks.rng import generator
from procray.tasks.sequences import shifted
from procray.tasks.task import Task

SUMMARY = "a control: every sequence's tokens, separators included, in random order; the scored positions stay"


@dataclass(frozen=True)
class Shuffled:
    """The very batches of `task`, each sequence permuted within itself.

    What is permuted: all tokens of a sequence except its padding, uniformly, inputs, separators and
    outputs alike, so that neither the layout nor the relation of output to input survives. What
    stays: every sequence's multiset of tokens (hence all token frequencies), its length, and the
    loss mask, so the number and the places of the scored positions. Targets are again the next
    tokens. Rows of `eca_rows` are permuted in time and stay whole. What a permutation cannot remove
    is the multiset itself: in a shuffled IDENTITY each symbol still occurs an even number of times.
    The papers do not say whether theirs included separators, outputs or the mask.
    """

    name: ClassVar[str] = "shuffled"
    diagnostic: ClassVar[bool] = False
    task: Task

    @property
    def symbols(self) -> int:
        return self.task.symbols

    @property
    def separator(self) -> int | None:
        return self.task.separator

    @property
    def pad(self) -> int:
        return self.task.pad

    @property
    def vocab_size(self) -> int:
        return self.task.vocab_size

    @property
    def positions(self) -> int:
        return self.task.positions

    @property
    def rows(self) -> int | None:
        return self.task.rows

    @property
    def mean_tokens(self) -> float:
        return self.task.mean_tokens

    @property
    def curriculum(self) -> Curriculum | None:
        return self.task.curriculum

    def sample(self, seed: int, stream: str, index: int, size: int, length: int | None = None) -> Batch | RowBatch:
        return self.shuffle(self.task.sample(seed, stream, index, size, length), seed, stream, index)

    def shuffle(self, batch: Batch | RowBatch, seed: int, stream: str, index: int) -> Batch | RowBatch:
        """Batch `index` of a stream of `task`, permuted."""
        rng = generator(seed, stream, canonical_json(self.recipe()), index)
        if isinstance(batch, RowBatch):
            rows_BSW = np.concatenate([batch.rows_BTW, batch.targets_BTW[:, -1:]], axis=1)
            order_BS = rng.random(rows_BSW.shape[:2]).argsort(axis=1)
            rows_BSW = np.take_along_axis(rows_BSW, order_BS[:, :, None], axis=1)
            return RowBatch(rows_BSW[:, :-1], rows_BSW[:, 1:], batch.mask_BT, batch.nominal_tokens)
        keys_BT = rng.random(batch.tokens_BT.shape)
        keys_BT[batch.tokens_BT == self.pad] = 2.0  # padding stays behind
        tokens_BT = np.take_along_axis(batch.tokens_BT, keys_BT.argsort(axis=1), axis=1)
        return Batch(tokens_BT, shifted(tokens_BT, self.pad), batch.mask_BT, batch.nominal_tokens)

    def nominal_tokens(self, seed: int, stream: str, index: int, size: int, length: int | None = None) -> int:
        return self.task.nominal_tokens(seed, stream, index, size, length)

    def recipe(self) -> dict[str, Any]:
        return {"shuffled": self.task.recipe()}

    def text(self, tokens_T: np.ndarray) -> str:
        return self.task.text(tokens_T)

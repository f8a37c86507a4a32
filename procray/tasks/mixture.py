"""MIXTURE: several tasks in one stream.

Shape suffixes: B sequences, T positions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from procray.batch import Batch
from procray.errors import TaskError
from procray.files import canonical_json
from procray.tasks.rng import generator
from procray.tasks.task import Task

SUMMARY = "several tasks in one stream: every batch belongs to one of them, drawn by weight"


@dataclass(frozen=True)
class Mixture:
    """Every batch comes whole from one part, drawn by weight from the batch's own counter.

    So a weight is a share of batches, hence of sequences; shares of tokens follow from the parts'
    lengths (`tokens_by_part` counts them). A batch is the part's own batch of that number, with its
    separator and padding moved to ids that no part uses for data: data ids stay below `symbols`,
    the largest of the parts', the separator is `symbols` and the padding comes last. Data ids are
    shared: 5 is the symbol 5 of SET and the bracket 5 of k-DYCK. Where all parts have one
    vocabulary, nothing moves.
    """

    name: ClassVar[str] = "mixture"
    diagnostic: ClassVar[bool] = False
    rows: ClassVar[None] = None
    curriculum: ClassVar[None] = None
    parts: tuple[tuple[Task, float], ...]  # the weights sum to 1

    @property
    def symbols(self) -> int:
        return max(task.symbols for task, _ in self.parts)

    @property
    def separator(self) -> int | None:
        return self.symbols if any(task.separator is not None for task, _ in self.parts) else None

    @property
    def pad(self) -> int:
        return self.symbols + (self.separator is not None)

    @property
    def vocab_size(self) -> int:
        return self.pad + 1

    @property
    def positions(self) -> int:
        return max(task.positions for task, _ in self.parts)

    @property
    def mean_tokens(self) -> float:
        return sum(weight * task.mean_tokens for task, weight in self.parts)

    def part(self, seed: int, stream: str, index: int) -> int:
        """Which of `parts` batch `index` belongs to."""
        drawn = generator(seed, stream, canonical_json(self.recipe()), index).random()
        bounds = np.cumsum([weight for _, weight in self.parts])
        return min(int(np.searchsorted(bounds, drawn, side="right")), len(self.parts) - 1)

    def sample(self, seed: int, stream: str, index: int, size: int, length: int | None = None) -> Batch:
        _no_length(length)
        task, _ = self.parts[self.part(seed, stream, index)]
        batch = task.sample(seed, stream, index, size)
        assert isinstance(batch, Batch)
        return Batch(
            self._moved(task, batch.tokens_BT),
            self._moved(task, batch.targets_BT),
            batch.mask_BT,
            batch.nominal_tokens,
        )

    def nominal_tokens(self, seed: int, stream: str, index: int, size: int, length: int | None = None) -> int:
        _no_length(length)
        task, _ = self.parts[self.part(seed, stream, index)]
        return task.nominal_tokens(seed, stream, index, size)

    def tokens_by_part(self, seed: int, stream: str, indices: Iterable[int], size: int) -> list[int]:
        """Nominal tokens that each part contributes to these batches, in the order of `parts`."""
        tokens = [0] * len(self.parts)
        for index in indices:
            number = self.part(seed, stream, index)
            tokens[number] += self.parts[number][0].nominal_tokens(seed, stream, index, size)
        return tokens

    def recipe(self) -> dict[str, Any]:
        return {"mixture": [{"task": task.recipe(), "weight": weight} for task, weight in self.parts]}

    def text(self, tokens_T: np.ndarray) -> str:
        tokens = np.asarray(tokens_T).tolist()
        while tokens and tokens[-1] == self.pad:
            tokens.pop()
        return " ".join("|" if token == self.separator else str(token) for token in tokens)

    def _moved(self, task: Task, tokens_BT: np.ndarray) -> np.ndarray:
        moved_BT = np.where(tokens_BT == task.pad, self.pad, tokens_BT).astype(np.int32)
        if task.separator is not None:
            moved_BT[tokens_BT == task.separator] = self.symbols
        return moved_BT


def _no_length(length: int | None) -> None:
    if length is not None:
        raise TaskError(f"mixture: length {length} was asked for, but every part has its own")

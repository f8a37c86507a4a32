"""MIXTURE: several tasks in one stream.

Shape suffixes: B sequences, T positions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from procray.batch import Batch, RowBatch
from procray.errors import TaskError
from procray.files import canonical_json
from procray.tasks.rng import generator
from procray.tasks.shuffled import Shuffled
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

    With `prefix`, every sequence begins with a token that names its part: the ids behind the
    padding, one a part. It is read and counted, and never scored.
    """

    name: ClassVar[str] = "mixture"
    diagnostic: ClassVar[bool] = False
    rows: ClassVar[None] = None
    curriculum: ClassVar[None] = None
    parts: tuple[tuple[Task, float], ...]  # the weights sum to 1
    prefix: bool = False

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
        return self.pad + 1 + self.prefix * len(self.parts)

    @property
    def positions(self) -> int:
        return max(task.positions for task, _ in self.parts) + self.prefix

    @property
    def mean_tokens(self) -> float:
        return sum(weight * task.mean_tokens for task, weight in self.parts) + self.prefix

    @property
    def labels(self) -> list[str]:
        """A name for each part; a task that is there several times is numbered."""
        names = [_name(task.recipe()) for task, _ in self.parts]
        return [
            name if names.count(name) == 1 else f"{name} {names[: number + 1].count(name)}"
            for number, name in enumerate(names)
        ]

    def part(self, seed: int, stream: str, index: int) -> int:
        """Which of `parts` batch `index` belongs to, with a prefix and without."""
        drawn = generator(seed, stream, canonical_json({"mixture": self.recipe()["mixture"]}), index).random()
        bounds = np.cumsum([weight for _, weight in self.parts])
        return min(int(np.searchsorted(bounds, drawn, side="right")), len(self.parts) - 1)

    def sample(self, seed: int, stream: str, index: int, size: int, length: int | None = None) -> Batch:
        _no_length(length)
        return self.of_part((self.part(seed, stream, index),), seed, stream, index, size)

    def of_part(
        self, part: tuple[int, ...], seed: int, stream: str, index: int, size: int, length: int | None = None
    ) -> Batch:
        """Batch `index` of a stream, of a part that is named and not drawn.

        Args:
            part: its number in `parts`; where it is a mixture itself, its part in that one follows.
            length: in place of one that the part draws.
        """
        number, *inner = part
        task, _ = self.parts[number]
        batch = of_part(task, tuple(inner), seed, stream, index, size, length)
        assert isinstance(batch, Batch)
        tokens_BT, targets_BT = self._moved(task, batch.tokens_BT), self._moved(task, batch.targets_BT)
        mask_BT = batch.mask_BT
        if self.prefix:
            targets_BT = np.hstack([tokens_BT[:, :1], targets_BT])
            tokens_BT = np.hstack([np.full((size, 1), self.pad + 1 + number, np.int32), tokens_BT])
            mask_BT = np.hstack([np.zeros((size, 1), bool), mask_BT])
        return Batch(tokens_BT, targets_BT, mask_BT, batch.nominal_tokens + self.prefix * size)

    def nominal_tokens(self, seed: int, stream: str, index: int, size: int, length: int | None = None) -> int:
        _no_length(length)
        return self._part_and_tokens(seed, stream, index, size)[1]

    def tokens_by_part(self, seed: int, stream: str, indices: Iterable[int], size: int) -> list[int]:
        """Nominal tokens that each part contributes to these batches, in the order of `parts`."""
        tokens = [0] * len(self.parts)
        for index in indices:
            number, count = self._part_and_tokens(seed, stream, index, size)
            tokens[number] += count
        return tokens

    def recipe(self) -> dict[str, Any]:
        recipe: dict[str, Any] = {"mixture": [{"task": task.recipe(), "weight": weight} for task, weight in self.parts]}
        return {**recipe, "prefix": True} if self.prefix else recipe

    def text(self, tokens_T: np.ndarray) -> str:
        tokens = np.asarray(tokens_T).tolist()
        while tokens and tokens[-1] == self.pad:
            tokens.pop()
        words = {self.pad + 1 + number: f"<{label}>" for number, label in enumerate(self.labels) if self.prefix}
        words |= {} if self.separator is None else {self.separator: "|"}
        return " ".join(words.get(token, str(token)) for token in tokens)

    def _part_and_tokens(self, seed: int, stream: str, index: int, size: int) -> tuple[int, int]:
        number = self.part(seed, stream, index)
        return number, self.parts[number][0].nominal_tokens(seed, stream, index, size) + self.prefix * size

    def _moved(self, task: Task, tokens_BT: np.ndarray) -> np.ndarray:
        moved_BT = np.where(tokens_BT == task.pad, self.pad, tokens_BT).astype(np.int32)
        if task.separator is not None:
            moved_BT[tokens_BT == task.separator] = self.symbols
        return moved_BT


def of_part(
    task: Task, part: tuple[int, ...], seed: int, stream: str, index: int, size: int, length: int | None
) -> Batch | RowBatch:
    """Batch `index` of a stream of any task; where it is a mixture, or shuffles one, of a part as `Mixture.of_part`."""
    if not part:
        return task.sample(seed, stream, index, size, length)
    if isinstance(task, Mixture):
        return task.of_part(part, seed, stream, index, size, length)
    assert isinstance(task, Shuffled), "only mixtures have parts"
    return task.shuffle(of_part(task.task, part, seed, stream, index, size, length), seed, stream, index)


def _name(recipe: dict[str, Any]) -> str:
    if "shuffled" in recipe:
        return f"shuffled {_name(recipe['shuffled'])}"
    return str(recipe.get("name", "mixture"))


def _no_length(length: int | None) -> None:
    if length is not None:
        raise TaskError(f"mixture: length {length} was asked for, but every part has its own")

"""The task among the text of a phase, as the loop sees it; see `procray.training.interleaving`.

Sequences of the task stand each for itself at their own length, padded to the longest of their batch: none is packed
with others, or with text. Every update is on one kind of data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from procray import tasks
from procray.batch import Batch, RowBatch
from procray.errors import EnvironmentProblem, TaskError
from procray.training.interleaving import Interleaving
from procray.training.recipe import PhaseRecipe
from procray.training.runtime import Runtime
from procray.training.source import Source, TaskSource


@dataclass(frozen=True)
class Interleaved:
    """Batches of the task, in the rows that its symbols have.

    Attributes:
        offset: rows of the tokenizer, which come before.
        micro_batch: sequences that a process takes at once.
    """

    interleaving: Interleaving
    source: TaskSource
    offset: int
    micro_batch: int

    def batch(self, update: int) -> Batch:
        """The global batch of an update on the task, from 0."""
        return self._moved(self.source.batch(update, None))

    def validation(self) -> Iterator[Batch]:
        return map(self._moved, self.source.validation(None))

    def _moved(self, batch: Batch | RowBatch) -> Batch:
        assert isinstance(batch, Batch)
        tokens_BT, targets_BT = (array.astype(np.int64) + self.offset for array in (batch.tokens_BT, batch.targets_BT))
        return replace(batch, tokens_BT=tokens_BT, targets_BT=targets_BT)


def interleaved(recipe: PhaseRecipe, text: Source, runtime: Runtime) -> Interleaved | None:
    """The task of a phase on text; None where there is none.

    A process takes as many positions of it at once as of text, so that it needs no more memory.

    Raises:
        TaskError: a task whose sequences cannot stand among the text.
        EnvironmentProblem: batches that cannot be shared out.
    """
    found = recipe.interleaving
    if found is None or found.task is None:
        return None
    task = tasks.from_recipe(found.task)
    if task.rows is not None or task.curriculum is not None or task.vocab_size > found.rows:
        raise TaskError(f"the sequences of {task.name} cannot stand among text: it has {found.rows} rows for them")
    if task.positions > recipe.model.context:
        raise TaskError(
            f"{task.name} makes sequences of up to {task.positions} positions, "
            f"but the model has a context of {recipe.model.context}"
        )
    uneven = runtime.shard and found.batch % runtime.world_size
    if found.batch < runtime.world_size or uneven:
        raise EnvironmentProblem(
            f"{found.batch} sequences of {task.name} cannot be shared by {runtime.world_size} workers"
        )
    source = TaskSource(task, recipe.seed, found.batch, found.sequences, recipe.evaluation.split, role=found.role)
    micro_batch = max(1, runtime.micro_batch * recipe.model.context // task.positions)
    return Interleaved(found, source, text.vocab - found.rows, micro_batch)

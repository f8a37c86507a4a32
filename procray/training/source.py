"""Where batches come from: a task or a prepared corpus, as the loop sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from procray import tasks
from procray.batch import Batch, RowBatch
from procray.corpora import Prepared, hub_sequences
from procray.errors import CorpusError, TaskError
from procray.tasks import BaseTask, Mixture, Task
from procray.tasks.sequences_from import SequencesFrom
from procray.tasks.strata import strata
from procray.training.held_out import TestSet
from procray.training.noise import Noise, noisy
from procray.training.recipe import PhaseRecipe

# One validation set for all training seeds.
VALIDATION_SEED = 0
VALIDATION_BATCH = 32
VALIDATION_POSITIONS = 16384  # of text, and of diagnostics, in one evaluation batch


class Curriculum(Protocol):
    """Lengths that grow with mastery; see `procray.tasks`."""

    @property
    def start(self) -> int: ...
    @property
    def mastery(self) -> float: ...
    def after(self, length: int) -> int: ...


class Source(Protocol):
    """Everything the loop knows about its data. Batches are pure functions of the step."""

    @property
    def vocab(self) -> int: ...
    @property
    def rows(self) -> int | None:
        """Cells of a row in the row form of a cellular automaton; None for tokens."""

    @property
    def context(self) -> int:
        """The longest sequence of any batch."""

    @property
    def whole_answers(self) -> bool:
        """Whether a sequence has an answer that can be right as a whole (tasks; not text)."""

    @property
    def curriculum(self) -> Curriculum | None: ...

    def batch(self, step: int, length: int | None) -> Batch | RowBatch:
        """The global batch of update `step`, from 0. Ranks take rows rank::world_size."""

    def validation(self, length: int | None) -> Iterator[Batch | RowBatch]:
        """The fixed held-out set."""

    def exposure(self, step: int) -> dict[str, Any]:
        """After `step` updates: `epoch` and `unique_tokens` of text, `tokens_by_task` of a mixture, else nothing."""


@dataclass(frozen=True)
class TaskSource:
    """Batches of a task: a training stream of the recipe's seed and role, stream `validation` (or `tuning`) of seed 0.

    With `disjoint`, training sequences that occur in the held-out set are drawn anew.
    """

    task: Task
    seed: int
    size: int
    held_out: int
    split: str = "validation"
    whole_answers: bool = True
    disjoint: bool = False
    role: str = ""
    _counted: list[tuple[int, list[int]]] = field(default_factory=list, compare=False, repr=False)  # step, tokens
    _test_sets: dict[int | None, TestSet] = field(default_factory=dict, compare=False, repr=False)  # by length

    @property
    def vocab(self) -> int:
        return self.task.vocab_size

    @property
    def rows(self) -> int | None:
        return self.task.rows

    @property
    def context(self) -> int:
        return self.task.positions

    @property
    def curriculum(self) -> Curriculum | None:
        return self.task.curriculum

    @property
    def stream(self) -> str:
        """The name of the training stream, which no held-out one bears."""
        return f"train/{self.role}" if self.role else "train"

    def batch(self, step: int, length: int | None) -> Batch | RowBatch:
        batch = self.task.sample(self.seed, self.stream, step, self.size, length)
        if not self.disjoint:
            return batch
        assert isinstance(batch, Batch)
        return self._test_set(length).kept_clear(batch, self.seed, self.stream, step, length)

    def validation(self, length: int | None) -> Iterator[Batch | RowBatch]:
        return iter(self._test_set(length).batches) if self.disjoint else self._drawn(length)

    def _test_set(self, length: int | None) -> TestSet:
        if length not in self._test_sets:
            assert isinstance(self.task, BaseTask)
            made = (batch for batch in self._drawn(length) if isinstance(batch, Batch))
            self._test_sets[length] = TestSet(self.task, made, VALIDATION_POSITIONS)
        return self._test_sets[length]

    def _drawn(self, length: int | None) -> Iterator[Batch | RowBatch]:
        """Parts and lengths in the shares in which training draws them, so that few batches are no poor sample."""
        index = 0
        for stratum in strata(self.task, self.held_out):
            for first in range(0, stratum.count, VALIDATION_BATCH):
                size = min(VALIDATION_BATCH, stratum.count - first)
                yield stratum.sample(VALIDATION_SEED, self.split, index, size, length)
                index += 1

    def exposure(self, step: int) -> dict[str, Any]:
        if isinstance(self.task, SequencesFrom):
            return self.task.exposure(step * self.size)
        return {"tokens_by_task": self._tokens_by_task(step)} if isinstance(self.task, Mixture) else {}

    def _tokens_by_task(self, step: int) -> dict[str, int]:
        """Nominal tokens that the first `step` batches took from each part; counted on from where it was asked last."""
        assert isinstance(self.task, Mixture)
        known, tokens = (
            self._counted[0] if self._counted and self._counted[0][0] <= step else (0, [0] * len(self.task.parts))
        )
        more = self.task.tokens_by_part(self.seed, self.stream, range(known, step), self.size)
        self._counted[:] = [(step, [a + b for a, b in zip(tokens, more, strict=True)])]
        return dict(zip(self.task.labels, self._counted[0][1], strict=True))


@dataclass(frozen=True)
class TextSource:
    """Blocks of a prepared corpus in the order of the recipe's seed and role; noise is in the training blocks alone."""

    prepared: Prepared
    seed: int
    size: int
    held_out: int
    context: int
    split: str = "validation"
    rows: int | None = None
    whole_answers: bool = False
    curriculum: Curriculum | None = None
    role: str = ""
    noise: Noise | None = None
    symbols: int = 0  # rows behind those of the tokenizer, for what is no text

    @property
    def vocab(self) -> int:
        return self.prepared.vocab_size + self.symbols

    def batch(self, step: int, length: int | None) -> Batch:
        """Where a length is asked for, every block is cut off behind so many tokens."""
        batch = self.prepared.batch(self.seed, step, self.size, self.context, self.role)
        if self.noise is not None:
            batch = noisy(batch, self.noise, self.prepared.vocab_size, self.seed, self.role, step)
        if length is None:
            return batch
        return replace(batch.rows(slice(None), length), nominal_tokens=self.size * length)

    def validation(self, length: int | None) -> Iterator[Batch]:
        size = max(1, min(self.held_out, VALIDATION_POSITIONS // self.context))
        return self.prepared.validation(self.held_out, self.context, size, self.split)

    def exposure(self, step: int) -> dict[str, Any]:
        return self.prepared.exposure(step * self.size, self.context)


def task_source(recipe: PhaseRecipe) -> TaskSource:
    """The source of a recipe whose data is a task.

    Raises:
        TaskError: an unknown task, or sequences longer than the model's context.
        CorpusError, EnvironmentProblem: sequences of the hub cannot be fetched.
    """
    task = tasks.from_recipe(hub_sequences.here(recipe.data["task"]))
    if task.positions > recipe.model.context:
        raise TaskError(
            f"{task.name} makes sequences of up to {task.positions} positions, "
            f"but the model has a context of {recipe.model.context}"
        )
    held_out = recipe.evaluation
    disjoint = recipe.kind == "diagnostic" and isinstance(task, BaseTask) and task.rows is None
    return TaskSource(
        task, recipe.seed, recipe.batch, held_out.sequences, held_out.split, disjoint=disjoint, role=recipe.role
    )


def text_source(recipe: PhaseRecipe, prepared: Prepared) -> TextSource:
    """The source of a recipe whose data is a corpus; blocks are as long as the model's context.

    Raises:
        CorpusError: the recipe's data is not a corpus.
    """
    if "corpus" not in recipe.data:
        raise CorpusError(f"a corpus was expected in the recipe's data, which has {', '.join(sorted(recipe.data))}")
    held_out = recipe.evaluation
    return TextSource(
        prepared,
        recipe.seed,
        recipe.batch,
        held_out.sequences,
        recipe.model.context,
        held_out.split,
        role=recipe.role,
        noise=recipe.noise,
        symbols=0 if recipe.interleaving is None else recipe.interleaving.rows,
    )

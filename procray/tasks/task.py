"""What a task is, and what the single tasks have in common.

Shape suffixes: B sequences, T positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar, Protocol

import numpy as np

from procray.batch import Batch, RowBatch
from procray.errors import TaskError
from procray.tasks.lengths import Curriculum, Length, draw_length, longest_of, possible, write_length
from procray.tasks.rng import generator


class Task(Protocol):
    """A source of batches with its parameters filled in; immutable and cheap.

    Token ids: data symbols are 0..symbols-1, then (where the task has them) the separator and the padding.
    """

    @property
    def name(self) -> str: ...
    @property
    def diagnostic(self) -> bool:
        """True for a task that measures what a model can do, rather than warms one up."""

    @property
    def symbols(self) -> int:
        """Token ids below this one are data."""

    @property
    def separator(self) -> int | None: ...
    @property
    def pad(self) -> int: ...
    @property
    def vocab_size(self) -> int:
        """Rows of the embedding that the model needs (2, the values of a cell, for the row form of ECA)."""

    @property
    def positions(self) -> int:
        """Positions that the model needs: the nominal tokens of the longest sequence."""

    @property
    def rows(self) -> int | None:
        """Cells of a row where batches are `RowBatch`; None for token sequences."""

    @property
    def mean_tokens(self) -> float:
        """Expected nominal tokens of one sequence: the whole nominal length, separators and padding included."""

    @property
    def curriculum(self) -> Curriculum | None: ...

    def sample(self, seed: int, stream: str, index: int, size: int, length: int | None = None) -> Batch | RowBatch:
        """Batch `index` (from 0) of a stream: a pure function of its arguments.

        Args:
            seed, stream: name a stream of data; any other seed or name gives unrelated data.
            index: which batch of the stream.
            size: sequences in the batch.
            length: takes the place of the task's own length (a curriculum's current one).

        Returns:
            A batch trimmed to its longest sequence.

        Raises:
            TaskError: for a length that the task cannot make or its positions cannot hold.
        """

    def nominal_tokens(self, seed: int, stream: str, index: int, size: int, length: int | None = None) -> int:
        """`sample(...).nominal_tokens` without making the batch."""

    def recipe(self) -> dict[str, Any]:
        """Plain data with every parameter filled in; `from_recipe` is the inverse."""

    def text(self, tokens_T: np.ndarray) -> str:
        """One readable line: symbols separated by spaces, `|` for the separator, no trailing padding."""


class BaseTask(ABC):
    """The part of `Task` that every single task shares; a subclass is a frozen dataclass of its parameters.

    A subclass says what its sequences look like (`draw`) and how long they nominally are (`nominal`).
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    diagnostic: ClassVar[bool] = False
    shortest: ClassVar[int] = 1
    longest: ClassVar[int] = 8192
    multiple: ClassVar[int] = 1  # lengths must be multiples of this
    never_mastered: ClassVar[str] = ""  # why lengths that grow with mastery would not; empty where they may

    @property
    @abstractmethod
    def length(self) -> Length: ...

    @property
    @abstractmethod
    def symbols(self) -> int: ...

    @abstractmethod
    def nominal(self, length: int) -> int:
        """Tokens of one sequence of this length, separators and padding included."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch | RowBatch:
        """`size` sequences of one length."""

    @property
    def separator(self) -> int | None:
        return self.symbols

    @property
    def pad(self) -> int:
        return self.symbols + 1

    @property
    def vocab_size(self) -> int:
        return self.pad + 1

    @property
    def positions(self) -> int:
        return self.nominal(longest_of(self.length))

    @property
    def rows(self) -> int | None:
        return None

    @property
    def mean_tokens(self) -> float:
        lengths = possible(self.length, self.multiple)
        return sum(self.nominal(length) for length in lengths) / len(lengths)

    @property
    def curriculum(self) -> Curriculum | None:
        return self.length if isinstance(self.length, Curriculum) else None

    def sample(
        self, seed: int, stream: str, index: int, size: int, length: int | None = None, attempt: int = 0
    ) -> Batch | RowBatch:
        """As `Task.sample`; a later `attempt` gives unrelated sequences of the batch's own length."""
        assert size >= 1, "a batch has at least one sequence"
        rng = generator(seed, stream, self.name, index)
        length = self._length_of_batch(rng, length)
        return self.draw(
            generator(seed, f"{stream}, again {attempt}", self.name, index) if attempt else rng, size, length
        )

    def nominal_tokens(self, seed: int, stream: str, index: int, size: int, length: int | None = None) -> int:
        return size * self.nominal(self._length_of_batch(generator(seed, stream, self.name, index), length))

    def problems(self) -> list[str]:
        """What is wrong with parameters that are right one by one, each as `name is ...; expected ...`."""
        return []

    def recipe(self) -> dict[str, Any]:
        parameters = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        if "length" in parameters:
            parameters["length"] = write_length(self.length)
        return {"name": self.name, **parameters}

    def text(self, tokens_T: np.ndarray) -> str:
        tokens = np.asarray(tokens_T).tolist()
        while tokens and tokens[-1] == self.pad:
            tokens.pop()
        return " ".join("|" if token == self.separator else self.word(token) for token in tokens)

    def word(self, token: int) -> str:
        """How `text` writes one data symbol."""
        return str(token)

    def _length_of_batch(self, rng: np.random.Generator, wanted: int | None) -> int:
        if wanted is None:
            return draw_length(self.length, self.multiple, rng)
        high = longest_of(self.length)
        if not self.shortest <= wanted <= high or wanted % self.multiple:
            kind = "an even length" if self.multiple == 2 else "a length"
            raise TaskError(
                f"{self.name}: length {wanted} was asked for; expected {kind} from {self.shortest} to {high}"
            )
        return wanted

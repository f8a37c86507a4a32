"""Sequences of sentences of which there are few: each is drawn as a whole, and the last is cut off.

Shape suffixes: B sequences, T positions, N sentences of a sequence, K different sentences, W tokens of a sentence.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np

from procray.batch import Batch
from procray.tasks.dyck import all_but_last
from procray.tasks.task import BaseTask


class Sentences(NamedTuple):
    """All sentences of a language.

    Attributes:
        tokens_KW: filled up at the end.
        lengths_K: of each.
        below_K: the chance of each or of one before it, but for the last.
    """

    tokens_KW: np.ndarray
    lengths_K: np.ndarray
    below_K: np.ndarray


def sentences(chances: Mapping[tuple[int, ...], float]) -> Sentences:
    """Sentences with their chances, in their order."""
    tokens_KW = np.zeros((len(chances), max(map(len, chances))), np.int32)
    for row_W, sentence in zip(tokens_KW, chances, strict=True):
        row_W[: len(sentence)] = sentence
    below_K = np.cumsum(list(chances.values()))
    return Sentences(tokens_KW, np.array([len(sentence) for sentence in chances]), below_K[:-1])


def drawn(rng: np.random.Generator, size: int, length: int, known: Sentences) -> np.ndarray:
    """`tokens_BT`: sentence after sentence, cut off at exactly `length` tokens."""
    tokens_KW, lengths_K, below_K = known
    most = -(-length // int(lengths_K.min()))
    drawn_BN = np.searchsorted(below_K, rng.random((size, most)), side="right")
    held_BN = lengths_K[drawn_BN]
    begun_BN = held_BN.cumsum(axis=1)
    begun_BN -= held_BN
    tokens_BT = np.empty((size, length + tokens_KW.shape[1]), np.int32)
    # Later sentences overwrite what earlier, longer ones leave behind them.
    row_B = np.arange(size)[:, None]
    for drawn_B, begun_B in zip(drawn_BN.T, np.minimum(begun_BN, length).T, strict=True):
        tokens_BT[row_B, begun_B[:, None] + np.arange(tokens_KW.shape[1])] = tokens_KW[drawn_B]
    return np.ascontiguousarray(tokens_BT[:, :length])


class SentenceTask(BaseTask):
    """A task whose sequences are sentence after sentence, cut off at exactly L tokens; all but the last is scored."""

    shortest: ClassVar[int] = 2
    longest: ClassVar[int] = 32_768

    @property
    def separator(self) -> None:
        return None

    @property
    def pad(self) -> int:
        return self.symbols

    def nominal(self, length: int) -> int:
        return length

    @abstractmethod
    def language(self) -> Sentences:
        """All of its sentences."""

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        return all_but_last(drawn(rng, size, length, self.language()), self.pad, self.nominal(length))

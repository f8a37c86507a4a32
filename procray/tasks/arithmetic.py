"""ADDITION, REVERSED ADDITION and MULTIPLICATION: diagnostics of arXiv 2505.22308, in the format of its code.

`a + b = r stop`, one token a digit. Ids 0..9 are the digits of a and b, 10 the sign, 11 `=`, 12 the padding, 20..29
the digits of r, 30 the stop; the vocabulary is 31. Both numbers have `digits` digits, the first of them not 0.

The released code trains and scores the positions whose *current* token is a digit of r or the stop. So the first
digit of r, which is predicted at `=`, is neither trained nor scored, while the stop is, and so is one padding behind
it where the format has room: `mask: official`. `mask: corrected`, the default, is every digit of r and the stop.
An evaluation reports the accuracies of both, whichever is trained.

Shape suffixes: B sequences, D digits, T positions.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import CORRECTED, FIRST, OFFICIAL, STOP, Batch
from procray.tasks.parameters import choice, whole
from procray.tasks.sequences import shifted
from procray.tasks.task import BaseTask

SIGN, EQUALS, PAD, ANSWER, STOP_TOKEN, VOCAB = 10, 11, 12, 20, 30, 31

_MASKS = {"corrected": CORRECTED | STOP, "official": OFFICIAL}
_GROUP = 4  # digits that are looked up at once
# `_DIGIT[-1][n]` is the last digit of n, `_DIGIT[-2][n]` the one before.
_DIGIT = (np.arange(10**_GROUP) // 10 ** np.arange(_GROUP)[::-1, None] % 10).astype(np.int32)


@dataclass(frozen=True)
class _Arithmetic(BaseTask):
    """What the three have in common."""

    diagnostic: ClassVar[bool] = True
    sign: ClassVar[str] = "+"
    reversed: ClassVar[bool] = False  # numbers are written from the least significant digit on
    digits: int
    mask: str = field(
        default="corrected",
        metadata=choice(
            "what is trained and counts as accuracy: every digit and the stop, or as released, not the first digit",
            _MASKS,
        ),
    )

    @property
    def length(self) -> int:
        return self.digits

    @property
    def symbols(self) -> int:
        return VOCAB

    @property
    def separator(self) -> None:
        return None

    @property
    def pad(self) -> int:
        return PAD

    @property
    def vocab_size(self) -> int:
        return VOCAB

    @abstractmethod
    def result(self, a_B: np.ndarray, b_B: np.ndarray) -> np.ndarray:
        """`r_B`."""

    @abstractmethod
    def most_digits(self, length: int) -> int:
        """Digits of the longest result; the shortest has one fewer."""

    def word(self, token: int) -> str:
        if token < SIGN:
            return str(token)
        return {SIGN: self.sign, EQUALS: "=", PAD: "_", STOP_TOKEN: "."}.get(token, str(token - ANSWER))

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        a_B, b_B = rng.integers(10 ** (length - 1), 10**length, (2, size))
        r_B, most = self.result(a_B, b_B), self.most_digits(length)
        short_B = r_B < 10 ** (most - 1)
        start = 2 * length + 2  # of the result
        columns_TB = np.empty((start + most + 1, size), np.int32)  # whole columns at a time are written faster
        self._write(columns_TB[:length], a_B)
        columns_TB[length] = SIGN
        self._write(columns_TB[length + 1 : start - 1], b_B)
        columns_TB[start - 1] = EQUALS
        # A short result gives way in its last place to the stop, so its last digit must stand in the place before.
        self._write(columns_TB[start:-1], r_B if self.reversed else np.where(short_B, 10 * r_B, r_B))
        columns_TB[start:-1] += ANSWER
        np.putmask(columns_TB[-2], short_B, STOP_TOKEN)
        columns_TB[-1] = np.where(short_B, PAD, STOP_TOKEN)
        roles_2T = np.stack([self._roles(length, most), self._roles(length, most - 1)])
        end = len(columns_TB) - bool(short_B.all())
        tokens_BT = np.ascontiguousarray(columns_TB[:end].T)
        parts_BT = roles_2T[:, :end].take(short_B, axis=0)
        mask_BT = ((roles_2T & _MASKS[self.mask]) > 0)[:, :end].take(short_B, axis=0)
        return Batch(tokens_BT, shifted(tokens_BT, PAD), mask_BT, size * self.nominal(length), parts_BT)

    def _write(self, columns_DB: np.ndarray, numbers_B: np.ndarray) -> None:
        write_digits(columns_DB[::-1] if self.reversed else columns_DB, numbers_B)

    def _roles(self, length: int, digits: int) -> np.ndarray:
        """The part that each position plays in a sequence whose result has so many digits."""
        start, end = 2 * length + 2, self.nominal(length)
        roles_T = np.zeros(end, np.uint8)
        stop = start + digits  # where the stop stands; it is predicted one before
        roles_T[start - 1 : stop - 1] |= CORRECTED
        roles_T[start - 1] |= FIRST
        roles_T[stop - 1] |= STOP
        roles_T[start : min(stop + 1, end - 1)] |= OFFICIAL
        return roles_T[: start + self.most_digits(length) + 1]


@dataclass(frozen=True)
class Addition(_Arithmetic):
    """`a + b = r stop`, numbers written as usual; 3 `digits` + 4 tokens. With 5 digits the released task."""

    name: ClassVar[str] = "addition"
    summary: ClassVar[str] = "diagnostic: the sum of two numbers, most significant digit first:  a + b = sum stop"
    digits: int = field(default=5, metadata=whole("digits of either number", 1, 17))

    def nominal(self, length: int) -> int:
        return 3 * length + 4

    def most_digits(self, length: int) -> int:
        return length + 1

    def result(self, a_B: np.ndarray, b_B: np.ndarray) -> np.ndarray:
        return a_B + b_B


@dataclass(frozen=True)
class ReversedAddition(Addition):
    """ADDITION with all three numbers written from the least significant digit on. With 10 digits the released task."""

    name: ClassVar[str] = "reversed_addition"
    summary: ClassVar[str] = "diagnostic: the sum of two numbers, least significant digit first:  a + b = sum stop"
    reversed: ClassVar[bool] = True
    digits: int = field(default=10, metadata=whole("digits of either number", 1, 17))


@dataclass(frozen=True)
class Multiplication(_Arithmetic):
    """`a * b = r stop`, numbers written as usual; padded to 5 `digits` + 4 tokens. With 5 digits the released task."""

    name: ClassVar[str] = "multiplication"
    summary: ClassVar[str] = (
        "diagnostic: the product of two numbers, most significant digit first:  a * b = product stop"
    )
    sign: ClassVar[str] = "*"
    digits: int = field(default=5, metadata=whole("digits of either number", 1, 9))

    def nominal(self, length: int) -> int:
        return 5 * length + 4

    def most_digits(self, length: int) -> int:
        return 2 * length

    def result(self, a_B: np.ndarray, b_B: np.ndarray) -> np.ndarray:
        return a_B * b_B


def write_digits(columns_DB: np.ndarray, numbers_B: np.ndarray) -> None:
    """Fills the rows with the last D decimal digits of the numbers, most significant first."""
    for end in range(len(columns_DB), 0, -_GROUP):
        above_B = numbers_B // 10**_GROUP
        low_B = numbers_B - above_B * 10**_GROUP
        for place in range(max(0, end - _GROUP), end):
            _DIGIT[place - end].take(low_B, out=columns_DB[place], mode="clip")
        numbers_B = above_B

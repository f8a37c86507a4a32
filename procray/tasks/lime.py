"""LIME: DEDUCT, ABDUCT and INDUCT of arXiv 2101.06223, in the format of its code (tonywu95/LIME).

A pattern, a substitution for its letters, and the result of putting the one into the other: two of them are given, the
third is asked for. Which symbols are letters differs from sequence to sequence, so that nothing but their places in
these three tells what they mean.

Shape suffixes: B sequences, N columns, P places of a pattern, C letters, R symbols in place of a letter.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.lengths import Length
from procray.tasks.parameters import length_of, whole
from procray.tasks.sequences import Columns, picked, ragged, random_orders
from procray.tasks.task import BaseTask

LETTERS = (3, 5)  # of which a pattern may be made, least and most; it has twice as many places for them
LOWER, MATH = 24, 20  # symbols of the two other kinds that a sequence names
FEWEST = 5  # mathematical symbols in a pattern
LENGTHS = (2, 8)  # symbols in the place of a letter
WORDS = (":", "[", "]", ",", "<UPPER>", "<LOWER>", "<MATH>", "<space>")


@dataclass(frozen=True)
class _Lime(BaseTask):
    """`<UPPER> letters <LOWER> 24 symbols <MATH> 20 symbols <space> given <space> given | asked`.

    A pattern has a number of mathematical symbols, uniform from 5 to `length`, and letters: 3 to 5 are picked, and
    each of twice as many places takes one of them; all places are in random order. A substitution `A : [ x y .. ] , ..`
    replaces each letter that occurs by 2 to 8 symbols of the two other kinds. All symbols of a sequence are different
    ones of the `alphabet`.

    The released code trains an encoder and a decoder, and the end of the answer with them; here both halves are one
    sequence, and as in the other tasks the end is not trained. It draws one of the three questions for every sequence,
    which is its task "mixed"; a mixture of the three draws one for every batch.
    """

    shortest: ClassVar[int] = FEWEST
    longest: ClassVar[int] = 54
    length: Length = field(default=19, metadata=length_of("most mathematical symbols in a pattern"))
    alphabet: int = field(default=1000, metadata=whole("symbols to choose from", LETTERS[1] + LOWER + MATH, 32_768))

    @property
    def symbols(self) -> int:
        return self.alphabet + len(WORDS)

    def nominal(self, length: int) -> int:
        """The longest possible one; those of one batch are drawn and differ."""
        header, pattern, result = LETTERS[1] + LOWER + MATH + 4, 2 * LETTERS[1] + length, 16 * LETTERS[1] + length
        return header + pattern + 1 + (LETTERS[1] * (LENGTHS[1] + 5) - 1) + 1 + result

    def word(self, token: int) -> str:
        return str(token) if token < self.alphabet else WORDS[token - self.alphabet]

    @abstractmethod
    def _parts(self, pattern: Columns, substitution: Columns, result: Columns) -> tuple[Columns, Columns, Columns]:
        """What is given, in its order, and what is asked for."""

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        places, most = 2 * LETTERS[1] + length, LETTERS[1]
        row_B1 = np.arange(size)[:, None]
        letters_B1 = rng.integers(LETTERS[0], most + 1, (size, 1))
        count_B1 = 2 * letters_B1 + rng.integers(FEWEST, length + 1, (size, 1))
        own_BN = picked(rng, size, most + LOWER + MATH, self.alphabet)
        # The first of the pattern's places in a random order are those of its letters.
        order_BP = random_orders(rng, size, places)
        inside_BP = order_BP < count_B1
        first_BP = inside_BP & (inside_BP.cumsum(axis=1, dtype=np.int8) <= 2 * letters_B1)
        letter_BP = np.zeros((size, places), bool)
        letter_BP[row_B1, order_BP] = first_BP
        inside_BP = np.arange(places) < count_B1
        which_BP = (rng.random((size, places), np.float32) * letters_B1.astype(np.float32)).astype(np.intp)
        used_BC = np.zeros((size, most), bool)
        used_BC[np.broadcast_to(row_B1, (size, places))[letter_BP], which_BP[letter_BP]] = True
        sign_BP = most + LOWER + rng.integers(0, MATH, (size, places))
        symbols_BP = np.take_along_axis(own_BN, np.where(letter_BP, which_BP, sign_BP), axis=1)
        # What replaces a letter.
        length_BC = rng.integers(LENGTHS[0], LENGTHS[1] + 1, (size, most))
        chosen_BN = rng.integers(most, most + LOWER + MATH, (size, most * LENGTHS[1]))
        replaced_BCR = np.take_along_axis(own_BN, chosen_BN, axis=1).reshape(size, most, LENGTHS[1])
        held_BCR = np.arange(LENGTHS[1]) < length_BC[:, :, None]
        result_BPR = replaced_BCR[row_B1, which_BP]
        shown_BPR = held_BCR[row_B1, which_BP] & inside_BP[:, :, None]
        sign_BP = ~letter_BP
        result_BPR[sign_BP, 0] = symbols_BP[sign_BP]
        shown_BPR[sign_BP, 1:] = False
        header = self._header(own_BN, used_BC)
        substitution = self._substitution(own_BN[:, :most], used_BC, replaced_BCR, held_BCR)
        result = result_BPR.reshape(size, -1), shown_BPR.reshape(size, -1)
        one, other, asked = self._parts((symbols_BP, inside_BP), substitution, result)
        space = self._words(size, "<space>")
        separator = np.full((size, 1), self.separator, np.int32), np.ones((size, 1), bool)
        return ragged(_joined(header, one, space, other, separator), asked, self.pad, self.nominal(length))

    def _words(self, size: int, word: str) -> Columns:
        return np.full((size, 1), self.alphabet + WORDS.index(word), np.int32), np.ones((size, 1), bool)

    def _header(self, own_BN: np.ndarray, used_BC: np.ndarray) -> Columns:
        """Which symbols are of which kind; of the letters those that occur."""
        size, most = used_BC.shape
        every_BN = np.ones((size, LOWER + MATH), bool)
        lower, math = own_BN[:, most : most + LOWER], own_BN[:, most + LOWER :]
        return _joined(
            self._words(size, "<UPPER>"), (own_BN[:, :most], used_BC),
            self._words(size, "<LOWER>"), (lower, every_BN[:, :LOWER]),
            self._words(size, "<MATH>"), (math, every_BN[:, LOWER:]),
            self._words(size, "<space>"),
        )  # fmt: skip

    def _substitution(
        self, letters_BC: np.ndarray, used_BC: np.ndarray, replaced_BCR: np.ndarray, held_BCR: np.ndarray
    ) -> Columns:
        """`, A : [ x y ]` for each letter that occurs, without the first comma."""
        size, most, longest = held_BCR.shape
        colon, begin, end, comma = (self.alphabet + WORDS.index(word) for word in ":[],")
        tokens_BCN = np.empty((size, most, longest + 5), np.int32)
        kept_BCN = np.repeat(used_BC[:, :, None], longest + 5, axis=2)
        tokens_BCN[:, :, 0] = comma
        kept_BCN[:, 0, 0] = False
        kept_BCN[:, 1:, 0] &= np.logical_or.accumulate(used_BC[:, :-1], axis=1)
        tokens_BCN[:, :, 1] = letters_BC
        tokens_BCN[:, :, 2:4] = colon, begin
        tokens_BCN[:, :, 4:-1] = replaced_BCR
        kept_BCN[:, :, 4:-1] &= held_BCR
        tokens_BCN[:, :, -1] = end
        return tokens_BCN.reshape(size, -1), kept_BCN.reshape(size, -1)


def _joined(*parts: Columns) -> Columns:
    return np.concatenate([part[0] for part in parts], axis=1), np.concatenate([part[1] for part in parts], axis=1)


@dataclass(frozen=True)
class LimeDeduct(_Lime):
    __doc__ = _Lime.__doc__
    name: ClassVar[str] = "lime_deduct"
    summary: ClassVar[str] = "LIME: put a substitution into a pattern:  kinds, pattern, substitution | result"

    def _parts(self, pattern: Columns, substitution: Columns, result: Columns) -> tuple[Columns, Columns, Columns]:
        return pattern, substitution, result


@dataclass(frozen=True)
class LimeAbduct(_Lime):
    __doc__ = _Lime.__doc__
    name: ClassVar[str] = "lime_abduct"
    summary: ClassVar[str] = "LIME: which substitution gives this result?  kinds, pattern, result | substitution"

    def _parts(self, pattern: Columns, substitution: Columns, result: Columns) -> tuple[Columns, Columns, Columns]:
        return pattern, result, substitution


@dataclass(frozen=True)
class LimeInduct(_Lime):
    __doc__ = _Lime.__doc__
    name: ClassVar[str] = "lime_induct"
    summary: ClassVar[str] = "LIME: which pattern has this result?  kinds, result, substitution | pattern"

    def _parts(self, pattern: Columns, substitution: Columns, result: Columns) -> tuple[Columns, Columns, Columns]:
        return result, substitution, pattern

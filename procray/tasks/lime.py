"""LIME: DEDUCT, ABDUCT and INDUCT of arXiv 2101.06223, in the format of its code (tonywu95/LIME).

A pattern, a substitution for its letters, and the result of putting the one into the other: two of them are given, the
third is asked for. Which symbols are letters differs from sequence to sequence, so that nothing but their places in
these three tells what they mean.

Shape suffixes: B sequences, N columns, P places of a pattern, C letters, R runs or tokens of a block, Q of a shelf.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.tasks.lengths import Length
from procray.tasks.parameters import length_of, whole
from procray.tasks.rng import below, words
from procray.tasks.sequences import picked, shifted
from procray.tasks.task import BaseTask

LETTERS = (3, 5)  # of which a pattern may be made, least and most; it has twice as many places for them
LOWER, MATH = 24, 20  # symbols of the two other kinds that a sequence names
FEWEST = 5  # mathematical symbols in a pattern
LENGTHS = (2, 8)  # symbols in the place of a letter
WORDS = (":", "[", "]", ",", "<UPPER>", "<LOWER>", "<MATH>", "<space>")
MOST = LETTERS[1]
# Where things stand on a row's shelf: the letters, the header from `<LOWER>` on, words and the separator, a block for
# each letter, which is a comma, the letter, a colon, a bracket and what replaces it; and the pattern.
HEADER = MOST
SIGNS = HEADER + 1 + LOWER + 1
WORD = SIGNS + MATH + 1
BLOCKS = WORD + len(WORDS) + 1
BLOCK = 4 + LENGTHS[1]
PATTERN = BLOCKS + MOST * BLOCK

Runs = tuple[np.ndarray, np.ndarray]  # (B, R) where on the shelf runs of tokens start, and how long they are


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
    def _parts(self, pattern: Runs, substitution: Runs, result: Runs) -> tuple[Runs, Runs, Runs]:
        """What is given, in its order, and what is asked for."""

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        places = 2 * MOST + length
        drawn_BN = below(words(rng, size, 2 + places + MOST * (1 + LENGTHS[1])), _bounds(length))
        letters_B1 = LETTERS[0] + drawn_BN[:, :1]
        count_B1 = 2 * letters_B1 + FEWEST + drawn_BN[:, 1:2]
        length_BC = LENGTHS[0] + drawn_BN[:, 2 + places : 2 + places + MOST]
        # A shelf of what a row's tokens are taken from.
        shelf_BQ = np.empty((size, PATTERN + places), np.int32)
        flat = shelf_BQ.reshape(-1)
        row_B1 = np.arange(0, flat.size, PATTERN + places)[:, None]
        own_BN = picked(rng, size, MOST + LOWER + MATH, self.alphabet)
        shelf_BQ[:, :MOST] = own_BN[:, :MOST]
        shelf_BQ[:, HEADER + 1 : SIGNS - 1] = own_BN[:, MOST:-MATH]
        shelf_BQ[:, SIGNS : SIGNS + MATH] = own_BN[:, -MATH:]
        shelf_BQ[:, WORD:BLOCKS] = self.alphabet + np.arange(len(WORDS) + 1)
        for place, word in ((HEADER, "<LOWER>"), (SIGNS - 1, "<MATH>"), (SIGNS + MATH, "<space>")):
            shelf_BQ[:, place] = self.alphabet + WORDS.index(word)
        block_BCR = shelf_BQ[:, BLOCKS:PATTERN].reshape(size, MOST, BLOCK)
        for place, word in enumerate(",,:["):
            block_BCR[:, :, place] = self.alphabet + WORDS.index(word)
        block_BCR[:, :, 1] = own_BN[:, :MOST]
        chosen_BN = drawn_BN[:, 2 + places + MOST :]
        chosen_BN += chosen_BN >= LOWER  # `<MATH>` stands between them
        chosen_BN += row_B1 + (HEADER + 1)
        block_BCR[:, :, 4:] = flat.take(chosen_BN).reshape(size, MOST, LENGTHS[1])
        # The letters' places are those of the smallest words.
        bits = np.uint32((places - 1).bit_length())
        place_BP = words(rng, size, places) << bits
        place_BP |= np.arange(places, dtype=np.uint32)
        inside_BP = np.arange(places) < count_B1
        place_BP[~inside_BP] = 2**32 - 1
        place_BP.sort(axis=1)
        is_letter_BN = np.arange(2 * MOST) < 2 * letters_B1
        place_BN = place_BP[:, : 2 * MOST] & ((np.uint32(1) << bits) - np.uint32(1))
        place_N = (place_BN + np.arange(0, size * places, places)[:, None])[is_letter_BN]
        which_BN = below(words(rng, size, 2 * MOST), letters_B1)
        which_N = which_BN[is_letter_BN]
        letter_N = (which_BN + np.arange(0, size * MOST, MOST)[:, None])[is_letter_BN]
        used_BC = np.zeros((size, MOST), bool)
        used_BC.reshape(-1)[letter_N] = True
        starts_BP = drawn_BN[:, 2 : 2 + places] + SIGNS
        starts_BP.reshape(-1)[place_N] = which_N
        shelf_BQ[:, PATTERN:] = flat.take(starts_BP + row_B1)
        starts_BP.reshape(-1)[place_N] = BLOCKS + 4 + BLOCK * which_N
        lengths_BP = inside_BP.astype(np.intp)
        lengths_BP.reshape(-1)[place_N] = length_BC.reshape(-1)[letter_N]
        pattern = np.full((size, 1), PATTERN), count_B1
        substitution = _substitution(used_BC, length_BC)
        one, other, asked = self._parts(pattern, substitution, (starts_BP, lengths_BP))
        parts = [_upper(used_BC), one, _word(size, "<space>"), other, _word(size), asked]
        starts_BR, lengths_BR = (np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True))
        starts_BR += row_B1
        return _taken(flat, starts_BR, lengths_BR, asked[1].shape[1], self.pad, self.nominal(length))


@functools.lru_cache(maxsize=8)
def _bounds(length: int) -> np.ndarray:
    """Of the numbers that a row draws: letters, signs, one for each place, lengths, what replaces the letters."""
    bounds = (LETTERS[1] - LETTERS[0] + 1, length - FEWEST + 1, MATH, LENGTHS[1] - LENGTHS[0] + 1, LOWER + MATH)
    return np.repeat(bounds, (1, 1, 2 * MOST + length, MOST, MOST * LENGTHS[1]))


def _word(size: int, word: str = "") -> Runs:
    """The same word in all rows, or the separator."""
    start = WORD + (WORDS.index(word) if word else len(WORDS))
    return np.full((size, 1), start), np.ones((size, 1), bool)


def _upper(used_BC: np.ndarray) -> Runs:
    """Which symbols are of which kind; of the letters those that occur."""
    starts_R = np.array([WORD + WORDS.index("<UPPER>"), *range(MOST), HEADER])
    lengths_BR = np.empty((len(used_BC), len(starts_R)), np.intp)
    lengths_BR[:, 0], lengths_BR[:, 1:-1], lengths_BR[:, -1] = 1, used_BC, WORD - HEADER
    return np.broadcast_to(starts_R, lengths_BR.shape), lengths_BR


def _substitution(used_BC: np.ndarray, length_BC: np.ndarray) -> Runs:
    """`, A : [ x y ]` for each letter that occurs, without the first comma."""
    later_BC = np.zeros(used_BC.shape, bool)
    np.logical_or.accumulate(used_BC[:, :-1], axis=1, out=later_BC[:, 1:])
    starts_BCR = np.empty((*used_BC.shape, 2), np.intp)
    starts_BCR[:, :, 0] = BLOCKS + BLOCK * np.arange(MOST) + ~later_BC
    starts_BCR[:, :, 1] = WORD + WORDS.index("]")
    lengths_BCR = np.empty(starts_BCR.shape, np.intp)
    lengths_BCR[:, :, 0] = (3 + length_BC + later_BC) * used_BC
    lengths_BCR[:, :, 1] = used_BC
    return starts_BCR.reshape(len(used_BC), -1), lengths_BCR.reshape(len(used_BC), -1)


def _taken(
    shelf: np.ndarray, starts_BR: np.ndarray, lengths_BR: np.ndarray, asked: int, pad: int, nominal: int
) -> Batch:
    """The batch of these runs of the shelves, row by row, with loss on the last `asked` runs as in `answered`."""
    size, runs = lengths_BR.shape
    ends_BR = np.cumsum(lengths_BR, axis=1)
    whole_B1 = ends_BR[:, -1:]
    longest = int(whole_B1.max())
    # What a row lacks of the longest one is taken from a run of padding behind the shelves.
    shelf = np.concatenate([shelf, np.full(longest, pad, np.int32)])
    lacks_BR = np.empty((2, size, runs + 1), np.intp)
    lacks_BR[0, :, 1:-1] = starts_BR[:, 1:] - ends_BR[:, :-1]
    lacks_BR[0, :, 0], lacks_BR[0, :, -1:] = starts_BR[:, 0], len(shelf) - longest - whole_B1
    lacks_BR[0] -= np.arange(0, size * longest, longest)[:, None]
    lacks_BR[1, :, :-1], lacks_BR[1, :, -1:] = lengths_BR, longest - whole_B1
    taken = np.repeat(lacks_BR[0].reshape(-1), lacks_BR[1].reshape(-1))
    taken += np.arange(len(taken))
    tokens_BT = shelf.take(taken).reshape(size, longest)
    place_T = np.arange(1, longest + 1)
    mask_BT = place_T < whole_B1
    mask_BT &= place_T >= ends_BR[:, -asked - 1, None]
    return Batch(tokens_BT, shifted(tokens_BT, pad), mask_BT, size * nominal)


@dataclass(frozen=True)
class LimeDeduct(_Lime):
    __doc__ = _Lime.__doc__
    name: ClassVar[str] = "lime_deduct"
    summary: ClassVar[str] = "LIME: put a substitution into a pattern:  kinds, pattern, substitution | result"

    def _parts(self, pattern: Runs, substitution: Runs, result: Runs) -> tuple[Runs, Runs, Runs]:
        return pattern, substitution, result


@dataclass(frozen=True)
class LimeAbduct(_Lime):
    __doc__ = _Lime.__doc__
    name: ClassVar[str] = "lime_abduct"
    summary: ClassVar[str] = "LIME: which substitution gives this result?  kinds, pattern, result | substitution"

    def _parts(self, pattern: Runs, substitution: Runs, result: Runs) -> tuple[Runs, Runs, Runs]:
        return pattern, result, substitution


@dataclass(frozen=True)
class LimeInduct(_Lime):
    __doc__ = _Lime.__doc__
    name: ClassVar[str] = "lime_induct"
    summary: ClassVar[str] = "LIME: which pattern has this result?  kinds, result, substitution | pattern"

    def _parts(self, pattern: Runs, substitution: Runs, result: Runs) -> tuple[Runs, Runs, Runs]:
        return result, substitution, pattern

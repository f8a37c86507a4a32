"""Puts sequences together: `input | output`, shifted targets, the loss mask, distinct symbols.

Shape suffixes: B sequences, T positions, P symbols of a prefix, L symbols, N any number of columns.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from procray.batch import Batch
from procray.tasks.rng import below, words


def draw_symbols(rng: np.random.Generator, size: int, length: int, vocab: int) -> np.ndarray:
    """`symbols_BL`, independent and uniform from 1..vocab-1."""
    return rng.integers(1, vocab, (size, length), dtype=np.int32)


def random_orders(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    """`(B, N)`: in every row the numbers 0..count-1 in an order of its own, uint32; count is at most 64.

    Sorts 32-bit words whose low bits are the number and whose high bits are random, which is far faster than exchanging
    numbers. Two numbers with the same 26 random bits or more stay in ascending order: once in 100,000 rows of 48.
    """
    bits = (count - 1).bit_length()
    assert bits <= 6, "enough random bits must be left"
    words_BN = rng.integers(0, 2**32, (size, count), dtype=np.uint32)
    words_BN <<= np.uint32(bits)  # the highest bits fall off
    words_BN |= _counting(size, count)
    words_BN.sort(axis=1)
    words_BN &= np.uint32((1 << bits) - 1)
    return words_BN


@functools.lru_cache(maxsize=4)
def _counting(size: int, count: int) -> np.ndarray:
    """Rows of 0..count-1, written out: adding one row to many is slow where rows are short."""
    return np.tile(np.arange(count, dtype=np.uint32), (size, 1))


def shuffles(rng: np.random.Generator, size: int, count: int, kept: int | None = None) -> np.ndarray:
    """`(B, N)`: in every row the numbers 0..count-1 in an order of its own, or the first `kept` of them; intp.

    Sorts words as `random_orders` does, up to 256 numbers: once in 500 rows of 256, and in 7,000 of 100, two numbers
    stay in ascending order.
    """
    if count > 256:
        return rng.random((size, count)).argsort(axis=1)[:, :kept]
    bits = np.uint32((count - 1).bit_length())
    drawn_BN = words(rng, size, count)
    drawn_BN <<= bits
    drawn_BN |= _counting(size, count)
    drawn_BN.sort(axis=1)
    return (drawn_BN[:, :kept] & ((np.uint32(1) << bits) - np.uint32(1))).astype(np.intp)


def picked(rng: np.random.Generator, size: int, count: int, options: int) -> np.ndarray:
    """`(B, N)`: in every row `count` different numbers of 0..options-1 in random order, int32.

    Where there is plenty to choose from, some more are drawn with repetition and the first different ones are taken;
    a row that has too few of them is drawn again. Any row of different numbers is as likely as any other either way.
    """
    assert count <= options, "so many different numbers are there"
    drawn = count + count * count // options + 8
    if 2 * drawn > options or options.bit_length() + drawn.bit_length() > 30:
        return shuffles(rng, size, options, count).astype(np.int32)
    found_BN = distinct(below(words(rng, size, drawn), options, np.int32), options)[:, :count]
    while (short_B := found_BN[:, -1] == options).any():
        again = below(words(rng, int(short_B.sum()), drawn), options, np.int32)
        found_BN[short_B] = distinct(again, options)[:, :count]
    return found_BN


def shifted(tokens_BT: np.ndarray, pad: int) -> np.ndarray:
    """`targets_BT`: the token that follows each token; padding follows the last."""
    targets_BT = np.empty_like(tokens_BT)
    targets_BT[:, :-1] = tokens_BT[:, 1:]
    targets_BT[:, -1] = pad
    return targets_BT


def answered(prefix: Sequence[np.ndarray | int], output_BL: np.ndarray, pad: int, nominal: int) -> Batch:
    """`prefix output`, trimmed to the longest row, with loss on the output tokens only.

    The scored positions run from the last one of the prefix (the separator, which predicts the first
    output token) to the one before the last output token. The end of the output is not trained.

    Args:
        prefix: what stands before the output: symbols `(B, P)`, and tokens that are the same in every row.
        output_BL: outputs, each followed by padding up to L.
        pad: fills the rows up to the longest one.
        nominal: tokens of one sequence as the papers count them.
    """
    inside_BL = output_BL != pad
    size, longest = inside_BL.shape
    if not inside_BL[:, -1:].any():
        longest = int(np.count_nonzero(inside_BL.any(axis=0)))
    start = sum(1 if isinstance(part, int) else part.shape[1] for part in prefix)
    tokens_BT = np.empty((size, start + longest), np.int32)
    mask_BT = np.zeros(tokens_BT.shape, bool)
    mask_BT[:, start - 1 : -1] = inside_BL[:, :longest]
    tokens_BT[:, start:] = output_BL[:, :longest]
    place = 0
    for part in prefix:
        width = 1 if isinstance(part, int) else part.shape[1]
        tokens_BT[:, place : place + width] = part
        place += width
    return Batch(tokens_BT, shifted(tokens_BT, pad), mask_BT, size * nominal)


def distinct(symbols_BL: np.ndarray, pad: int) -> np.ndarray:
    """The distinct symbols of each row in the order of their first occurrences, followed by padding."""
    length = symbols_BL.shape[1]
    place_bits, symbol_bits = (length - 1).bit_length(), pad.bit_length()
    assert place_bits + symbol_bits < 31, "a symbol and its place fit into one word"
    # Sorted by (symbol, place), a first occurrence differs from what stands before it.
    words_BL = symbols_BL << place_bits
    words_BL |= np.arange(length, dtype=np.int32)
    words_BL.sort(axis=1)
    symbols_BL = words_BL >> place_bits
    repeated_BL = symbols_BL[:, 1:] == symbols_BL[:, :-1]
    # Sorted by (place, symbol), repetitions come last.
    words_BL &= (1 << place_bits) - 1
    words_BL <<= symbol_bits
    words_BL |= symbols_BL
    np.copyto(words_BL[:, 1:], 1 << 30 | pad, where=repeated_BL)
    words_BL.sort(axis=1)
    words_BL &= (1 << symbol_bits) - 1
    return words_BL

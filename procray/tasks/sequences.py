"""Puts sequences together: `input | output`, shifted targets, the loss mask, first occurrences.

Shape suffixes: B sequences, T positions, P positions of the prefix, L symbols.
"""

from __future__ import annotations

import functools

import numpy as np

from procray.batch import Batch


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


def column(token: int, size: int) -> np.ndarray:
    """`(B, 1)`: the same token in every sequence."""
    return np.full((size, 1), token, np.int32)


def shifted(tokens_BT: np.ndarray, pad: int) -> np.ndarray:
    """`targets_BT`: the token that follows each token; padding follows the last."""
    targets_BT = np.empty_like(tokens_BT)
    targets_BT[:, :-1] = tokens_BT[:, 1:]
    targets_BT[:, -1] = pad
    return targets_BT


def answered(prefix_BP: np.ndarray, output_BL: np.ndarray, counts_B: np.ndarray | int, pad: int, nominal: int) -> Batch:
    """`prefix output`, with loss on the output tokens only.

    The scored positions run from the last one of the prefix (the separator, which predicts the first
    output token) to the one before the last output token. The end of the output is not trained.

    Args:
        prefix_BP: input and separators.
        output_BL: outputs; what stands beyond a row's count is ignored.
        counts_B: output tokens of each row.
        pad: fills the rows up to the longest one.
        nominal: tokens of one sequence as the papers count them.
    """
    size, prefix = prefix_BP.shape
    counts_B1 = np.broadcast_to(np.asarray(counts_B), (size,))[:, None]
    longest = int(counts_B1.max())
    inside_BL = np.arange(longest) < counts_B1
    tokens_BT = np.empty((size, prefix + longest), np.int32)
    tokens_BT[:, :prefix] = prefix_BP
    tokens_BT[:, prefix:] = np.where(inside_BL, output_BL[:, :longest], pad)
    mask_BT = np.zeros(tokens_BT.shape, bool)
    mask_BT[:, prefix - 1 : -1] = inside_BL
    return Batch(tokens_BT, shifted(tokens_BT, pad), mask_BT, size * nominal)


def kept_first(symbols_BL: np.ndarray, keep_BL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moves the kept symbols of each row to its front, in order. Returns them and their `counts_B`."""
    counts_B = keep_BL.sum(axis=1)
    front_BL = np.zeros_like(symbols_BL)
    # Both masks are read row by row and have the same count in every row.
    front_BL[np.arange(symbols_BL.shape[1]) < counts_B[:, None]] = symbols_BL[keep_BL]
    return front_BL, counts_B


def first_occurrences(symbols_BL: np.ndarray) -> np.ndarray:
    """`first_BL`: true where a symbol stands in its row for the first time.

    Sorting the numbers `symbol, position` brings equal symbols together, earliest first, so the first
    of every run is a first occurrence. Far faster than comparing all pairs, and loop-free.
    """
    length = symbols_BL.shape[1]
    shift = max(1, (length - 1).bit_length())
    keys_BL = (symbols_BL << shift) | np.arange(length, dtype=np.int32)
    keys_BL.sort(axis=1)
    symbol_BL = keys_BL >> shift
    starts_BL = np.ones(symbols_BL.shape, bool)
    starts_BL[:, 1:] = symbol_BL[:, 1:] != symbol_BL[:, :-1]
    first_BL = np.zeros(symbols_BL.shape, bool)
    np.put_along_axis(first_BL, (keys_BL & ((1 << shift) - 1)).astype(np.intp), starts_BL, axis=1)
    return first_BL

"""The order in which blocks are read: a stateless permutation of (seed, epoch).

The order is a function of a key and nothing else, so a run resumes without a loader state, every
number of workers sees the same stream, and a baseline meets the same text in the same order as the
variants that are compared with it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

# Up to here a permutation is a table (4 MiB, sorted once per epoch); above, it is computed per
# position, so that 1e8 blocks cost no memory.
TABLE_LIMIT = 1 << 20
_ROUNDS = 6


def permuted(key: tuple[object, ...], positions: np.ndarray, size: int) -> np.ndarray:
    """Where each of `positions` lies in the permutation of `range(size)` that `key` names.

    Args:
        key: any printable values, for example `(seed, epoch)`; distinct keys give unrelated orders.
        positions: integers in `range(size)`, any shape.
        size: number of elements permuted.

    Returns:
        int64 array of the same shape; over all positions every element comes once.
    """
    if size <= TABLE_LIMIT:
        return _table(key, size)[positions].astype(np.int64)
    return _feistel(key, np.asarray(positions), size)


def _random_bits(key: tuple[object, ...], count: int) -> np.ndarray:
    """`count` uint64 from Philox. Raw bits, because NumPy promises those across versions and not `permutation`."""
    seed = hashlib.sha256(repr(key).encode()).digest()[:16]
    return np.random.Philox(key=np.frombuffer(seed, dtype="<u8")).random_raw(count)


@lru_cache(maxsize=4)
def _table(key: tuple[object, ...], size: int) -> np.ndarray:
    return np.argsort(_random_bits(key, size), kind="stable").astype(np.uint32)


@lru_cache(maxsize=4)
def _round_keys(key: tuple[object, ...]) -> np.ndarray:
    return _random_bits(key, _ROUNDS)


def _feistel(key: tuple[object, ...], positions: np.ndarray, size: int) -> np.ndarray:
    """A balanced Feistel network over the next power of four, walked until it lands below `size`."""
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    low = np.uint64((1 << int(half)) - 1)
    keys = _round_keys(key)
    value = positions.astype(np.uint64).reshape(-1)
    outside = np.arange(value.size)
    while outside.size:
        walking = value[outside]
        left, right = walking >> half, walking & low
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) & low)
        value[outside] = (left << half) | right
        outside = outside[value[outside] >= size]
    return value.astype(np.int64).reshape(positions.shape)


def _mix(bits: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al. 2014): every input bit reaches every output bit."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))

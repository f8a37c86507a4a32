"""Random walks between 0 and a highest depth, for tasks that push and pop, or open and close.

Shape suffixes: B sequences, T steps, S = T + 1 moments, N blocks of K steps.
"""

from __future__ import annotations

import math

import numpy as np


def bounced(ups_TB: np.ndarray, highest: int) -> np.ndarray:
    """`depths_SB`: from depth 0, each step leads up or down as drawn, at either end the only way there is.

    What a row of steps makes of a depth is the sum of the steps, held between what it makes of the least and of the
    greatest depth. These two are followed through all blocks of the walk at once, so that only the blocks, and not all
    steps, are taken one after the other.
    """
    length, size = ups_TB.shape
    if highest >= length:
        return _lifted(ups_TB)
    kind = np.int16 if highest < 2**14 else np.int32  # twice the highest depth must fit
    block = 2 * math.isqrt(length // 8) + 2  # steps; even, so that the depths at the start of all blocks are even
    depths_SB = np.zeros((1 + -(-length // block) * block, size), kind)
    moved_NKB = depths_SB[1:].reshape(-1, block, size)
    depths_SB[1 : length + 1] = ups_TB
    depths_SB[1 : length + 1] *= 2
    moved_NKB -= 1
    low_NKB = _followed(moved_NKB, 0, highest)
    high_NKB = _followed(moved_NKB, highest - highest % 2, highest)
    for step in range(1, block):
        moved_NKB[:, step] += moved_NKB[:, step - 1]
    depth_B = depths_SB[0]
    for moved_KB, low_KB, high_KB in zip(moved_NKB, low_NKB, high_NKB, strict=True):
        moved_KB += depth_B
        np.maximum(moved_KB, low_KB, out=moved_KB)
        np.minimum(moved_KB, high_KB, out=moved_KB)
        depth_B = moved_KB[-1]
    return depths_SB[: length + 1]


def _lifted(ups_TB: np.ndarray) -> np.ndarray:
    """`bounced` where no walk comes so high: every fall below all that was lifted so far lifts the walk by 2."""
    length, size = ups_TB.shape
    depths_SB = np.zeros((length + 1, size), np.int16 if length < 2**15 else np.int32)
    walk_TB = depths_SB[1:]
    walk_TB[:] = ups_TB
    walk_TB *= 2
    walk_TB -= 1
    walk_TB = np.cumsum(walk_TB, axis=0, out=walk_TB)
    lift_TB = np.minimum.accumulate(walk_TB, axis=0)
    np.minimum(lift_TB, 0, out=lift_TB)
    np.subtract(1, lift_TB, out=lift_TB)
    lift_TB &= ~1
    walk_TB += lift_TB
    return depths_SB


def _followed(steps_NKB: np.ndarray, start: int, highest: int) -> np.ndarray:
    """`depths_NKB` after each step, every block from the same start."""
    depths_NKB = np.empty_like(steps_NKB)
    before_NB = np.full_like(steps_NKB[:, 0], start)
    turned_NB = np.empty_like(before_NB)
    for step in range(steps_NKB.shape[1]):
        depth_NB = depths_NKB[:, step]
        np.add(before_NB, steps_NKB[:, step], out=depth_NB)
        np.absolute(depth_NB, out=depth_NB)
        np.subtract(2 * highest, depth_NB, out=turned_NB)
        np.minimum(depth_NB, turned_NB, out=depth_NB)
        before_NB = depth_NB
    return depths_NKB

"""The parts of a batch that one process takes one after the other.

Shape suffixes: B sequences, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from procray.batch import Batch, RowBatch

CPU_TRIM = 1 << 14  # positions, on a CPU; much smaller parts cost more than their padding


def micro_batches(
    batch: Batch | RowBatch, rank: int, world_size: int, most: int, trim: int = 0
) -> Sequence[Batch | RowBatch]:
    """A rank's rows of the global batch, cut into nearly equal parts of at most `most` sequences.

    Args:
        trim: with more positions than this the sequences are put in order of their last scored position first, in
            parts of about this many positions, each cut off where nothing later is scored. The sum of the losses
            stays the same. 0: never.
    """
    share = batch.rows(slice(rank, None, world_size)) if world_size > 1 else batch
    order_B, pieces = _cuts(share.mask_BT, most, trim)
    if len(pieces) == 1 and order_B is None:
        return [share]
    if order_B is None:
        return [share.rows(slice(first, last)) for first, last, _ in pieces]
    return [share.rows(order_B[first:last], length) for first, last, length in pieces]


def computed(mask_BT: np.ndarray, world_size: int, most: int, trim: int = 0) -> list[tuple[int, int]]:
    """Sequences and positions of each of the parts that all ranks compute of a global batch; see `micro_batches`."""
    masks = [mask_BT[rank::world_size] for rank in range(world_size)]
    return [(last - first, length) for mask in masks for first, last, length in _cuts(mask, most, trim)[1]]


def _cuts(mask_BT: np.ndarray, most: int, trim: int) -> tuple[np.ndarray | None, list[tuple[int, int, int]]]:
    """In which order sequences are taken (None: as they are), and by part the first, the one behind it, the length."""
    size, T = mask_BT.shape
    ends_B = np.full(size, T)
    if trim and size * T > trim:
        ends_B = (mask_BT * np.arange(1, T + 1)).max(1).clip(1)
    trimmed = bool(ends_B.min() < T)
    if trimmed:
        most = min(most, max(1, trim // T))
    count = -(-size // most)
    cuts = [size * part // count for part in range(count + 1)]
    if not trimmed:
        return None, [(first, last, T) for first, last in pairwise(cuts)]
    order_B = ends_B.argsort(kind="stable")
    return order_B, [(first, last, int(ends_B[order_B[last - 1]])) for first, last in pairwise(cuts)]

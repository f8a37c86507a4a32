"""The parts of a batch that one process takes one after the other.

Shape suffixes: B sequences, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from procray.batch import Batch, RowBatch


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
    size, T = share.mask_BT.shape
    ends_B = np.full(size, T)
    if trim and size * T > trim:
        ends_B = (share.mask_BT * np.arange(1, T + 1)).max(1).clip(1)
    trimmed = bool(ends_B.min() < T)
    if trimmed:
        most = min(most, max(1, trim // T))
    count = -(-size // most)
    cuts = [size * part // count for part in range(count + 1)]
    if not trimmed:
        return [share.rows(slice(*cut)) for cut in pairwise(cuts)] if count > 1 else [share]
    order_B = ends_B.argsort(kind="stable")
    return [share.rows(order_B[first:last], int(ends_B[order_B[last - 1]])) for first, last in pairwise(cuts)]

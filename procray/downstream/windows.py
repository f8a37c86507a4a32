"""Windows into held-out text.

Shape suffixes: B windows, T tokens.
"""

from __future__ import annotations

import numpy as np

from procray.downstream.material import Material
from procray.errors import CorpusError


def blocks(material: Material, rng: np.random.Generator, length: int, count: int) -> np.ndarray:
    """Up to `count` stretches of `length` tokens of one document each, int64 (B, T): none overlap, in random order.

    Raises:
        CorpusError: fewer than two documents' worth.
    """
    assert material.tokenizer is not None
    usable = len(material.stream) // length * length
    found_BT = material.stream[:usable].reshape(-1, length)
    found_BT = found_BT[(found_BT != material.tokenizer.separator).all(1)]
    if len(found_BT) < 2:
        raise CorpusError(
            f"the held-out text has {len(material.stream):,} tokens, too few for two stretches of {length} in documents"
        )
    return found_BT[rng.permutation(len(found_BT))[:count]]


def stretches(material: Material, rng: np.random.Generator, length: int, count: int) -> np.ndarray:
    """`count` stretches of the packed text that begin anywhere: int64 (B, T).

    Longer stretches of the same random numbers begin with the shorter ones, but at the end of the text.

    Raises:
        CorpusError: the text is shorter.
    """
    room = len(material.stream) - length
    if room < 1:
        raise CorpusError(f"the held-out text has {len(material.stream):,} tokens, too few for a stretch of {length}")
    starts_B = np.minimum((rng.random(count) * len(material.stream)).astype(np.int64), room)
    return material.stream[starts_B[:, None] + np.arange(length)]

"""Random numbers that depend on nothing but (seed, stream, task, batch number).

Philox is counter-based: its output is a function of a key and a counter. The key is made of the
seed, the stream's name and the task's name, so those never share numbers; the batch number is the
counter's highest word, so batches of one stream are 2**192 blocks apart. Nothing has to be carried
from batch to batch: any process can make any batch, in any order, and a resumed run needs no state.
"""

from __future__ import annotations

import functools

import numpy as np

from procray.files import digest


@functools.lru_cache(maxsize=1024)
def _key(seed: int, stream: str, task: str) -> int:
    return int(digest([seed, stream, task], 32), 16)  # 128 bits, all that Philox takes


def generator(seed: int, stream: str, task: str, index: int) -> np.random.Generator:
    """The generator of batch `index` (from 0) of one stream of one task."""
    assert 0 <= index < 2**64, "batches are counted from 0"
    return np.random.Generator(np.random.Philox(key=_key(int(seed), stream, task), counter=[0, 0, 0, int(index)]))

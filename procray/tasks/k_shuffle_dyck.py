"""k-SHUFFLE DYCK, as the code of arXiv 2502.19249 (michahu/pre-pretraining) makes it.

Of its follow-ups, the code of arXiv 2605.10129 has the same settings, that of arXiv 2609.39827 p_open 0.5. Token by
token the law is that of `dyck_shuffle`, which follows the code of arXiv 2601.21725; only the settings differ: there
p_open is 0.5 and the depth 16, here 0.51 and 8. What the paper itself states of them was not compared.

Shape suffixes: B sequences, T positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.tasks.dyck_shuffle import DyckShuffle
from procray.tasks.parameters import fraction, whole


@dataclass(frozen=True)
class KShuffleDyck(DyckShuffle):
    """Interleaved bracket words, cut off at exactly L tokens, so brackets may stay open at the end.

    Ids 0..k-1 open, k..2k-1 close. The first `min_depth` tokens open; from there on: with nothing open, open; with
    `max_depth` brackets open, close; else open with probability `p_open`, and close otherwise. An opening's type is
    uniform over the k types; a closing's is uniform over the types that are open, whatever their counts.

    The released code writes these numbers as text and lets Pythia's tokenizer read them, so does that of arXiv
    2609.39827 with another tokenizer (two tokens a bracket); that of arXiv 2605.10129 takes them for ids, as here.
    """

    name: ClassVar[str] = "k_shuffle_dyck"
    summary: ClassVar[str] = "brackets of k types, each balanced for itself, with the settings of arXiv 2502.19249"
    p_open: float = field(default=0.51, metadata=fraction("chance to open where closing is possible too"))
    max_depth: int = field(default=8, metadata=whole("most brackets open at once", 1, 16_384))
    min_depth: int = field(default=1, metadata=whole("openings that a sequence begins with", 1, 16_384))

    def problems(self) -> list[str]:
        if self.min_depth > self.max_depth:
            return [f"min_depth is {self.min_depth}; expected at most {self.max_depth}, the max_depth"]
        return []

    def _coins(self, rng: np.random.Generator, size: int, length: int) -> np.ndarray:
        ups_TB = super()._coins(rng, size, length)
        ups_TB[: self.min_depth] = True
        return ups_TB

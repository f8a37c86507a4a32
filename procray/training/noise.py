"""Noise in the text that a phase trains on: some of its tokens give way to random ones.

The axis of arXiv 2605.10129. Shape suffixes: B sequences, T positions, S = T + 1 tokens of a block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from procray.batch import Batch
from procray.errors import StoreError
from procray.tasks.rng import generator


@dataclass(frozen=True)
class Noise:
    """What is replaced by tokens that are uniform over the vocabulary.

    With `of: tokens` every token for itself, with `of: blocks` whole blocks, each with the chance `share`. The released
    code of that paper adds to its text p % of sequences of such tokens, which is `blocks` with a share of
    p / (100 + p); its runs have 10,000 steps whatever p is.
    """

    share: float  # above 0, at most 1
    of: Literal["tokens", "blocks"] = "tokens"

    def to_json(self) -> dict[str, Any]:
        return {"share": self.share, "of": self.of}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Noise:
        """Raises StoreError for what is none."""
        share, of = value.get("share"), value.get("of")
        if (
            not isinstance(share, int | float)
            or not 0 < share <= 1
            or of not in ("tokens", "blocks")
            or len(value) != 2
        ):
            raise StoreError(f"the recipe of a phase is damaged: {value!r} is no noise")
        return Noise(float(share), of)


def noisy(batch: Batch, noise: Noise, vocab: int, seed: int, role: str, step: int) -> Batch:
    """The batch of update `step` with its noise, a pure function of (seed, role, step).

    A token that is replaced is another one both where it is read and where it is predicted.
    """
    rng = generator(seed, f"noise/{role}", "text", step)
    size, length = batch.tokens_BT.shape
    tokens_BS = np.concatenate([batch.tokens_BT, batch.targets_BT[:, -1:]], axis=1)
    chance = rng.random((size, 1 if noise.of == "blocks" else length + 1))
    replaced_BS = np.broadcast_to(chance < noise.share, tokens_BS.shape)
    tokens_BS = np.where(replaced_BS, rng.integers(0, vocab, tokens_BS.shape, dtype=tokens_BS.dtype), tokens_BS)
    return replace(batch, tokens_BT=tokens_BS[:, :-1], targets_BT=tokens_BS[:, 1:])

"""Items: sequences, the tokens in them that are scored, and what counts as right.

Shape suffixes: B rows, N items, T tokens, K choices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Items:
    """What a model is asked. Models read from the left, so padding on the right changes nothing.

    An item is right in one of three ways:

    - by its tokens: the share of its scored tokens that the model ranks first among all of its vocabulary, or, with
      `whole`, whether it does so with every one of them;
    - by choices: one token is scored, and it is to be likelier than the others of its row of `choices_BK`;
    - by endings: `rows` rows in a row are one item, and the scored tokens of the first are to be likelier together
      than those of each other row.

    Ties are shared out, so that a model that knows nothing gets what guessing gets.

    Attributes:
        tokens_BT: int64, padded on the right with any token.
        scored_BT: bool, of the same shape; at least one in each row, never the first, which nothing comes before.
        choices_BK: int64; the right token first.
        rows: of one item.
        whole: as above.
    """

    tokens_BT: np.ndarray
    scored_BT: np.ndarray
    choices_BK: np.ndarray | None = None
    rows: int = 1
    whole: bool = False

    def __post_init__(self) -> None:
        assert self.tokens_BT.shape == self.scored_BT.shape
        assert self.scored_BT.any(1).all(), "every row scores something"
        assert not self.scored_BT[:, 0].any(), "nothing stands before the first token"
        assert len(self.tokens_BT) % self.rows == 0
        assert self.choices_BK is None or (self.scored_BT.sum(1) == 1).all()

    def __len__(self) -> int:
        return len(self.tokens_BT) // self.rows

    @property
    def positions(self) -> int:
        """Positions that a model needs to read these items; the last scored token is only predicted."""
        return int(np.flatnonzero(self.scored_BT.any(0))[-1])

    @property
    def digest(self) -> str:
        """16 hex digits of all that is asked: two models were asked the same where it is the same."""
        found = hashlib.sha256()
        choices = np.empty((0, 0)) if self.choices_BK is None else self.choices_BK
        for value in (self.tokens_BT, self.scored_BT, choices):
            found.update(f"{value.shape} {self.rows} {self.whole}\n".encode())
            found.update(np.ascontiguousarray(value, "<i8").tobytes())
        return found.hexdigest()[:16]


def padded(rows: Sequence[np.ndarray], scored: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """`tokens_BT` and `scored_BT` of rows of unequal length, of which the last `scored` tokens are scored."""
    lengths_B = np.array([len(row) for row in rows])
    place_T = np.arange(lengths_B.max())
    inside_BT = place_T < lengths_B[:, None]
    tokens_BT = np.zeros(inside_BT.shape, np.int64)
    tokens_BT[inside_BT] = np.concatenate(rows)
    return tokens_BT, inside_BT & (place_T >= (lengths_B - np.asarray(scored))[:, None])

"""Induction: a row of random tokens that stands twice in a row.

Shape suffixes: B rows, P tokens of a period, T tokens.
"""

from __future__ import annotations

import numpy as np

from procray.downstream.items import Items
from procray.downstream.material import Material
from procray.downstream.probe import Made, Probe, generator
from procray.errors import CorpusError
from procray.tasks.sequences import picked


def make(material: Material, seed: int, value: float, count: int) -> Made:
    period = int(value)
    if len(material.entries) < period:
        raise CorpusError(f"{period} different tokens are needed, and there are {len(material.entries)}")
    rng = generator(seed, "induction", str(period))
    once_BP = material.entries[picked(rng, count, period, len(material.entries))]
    tokens_BT = np.concatenate([once_BP, once_BP], 1)
    scored_BT = np.zeros(tokens_BT.shape, bool)
    scored_BT[:, period + 1 :] = True
    return Made(Items(tokens_BT, scored_BT), chance=1 / period)


INDUCTION = Probe(
    name="induction",
    shows="whether what came after a token before is said to come after it again, where nothing but the order tells",
    scoring=(
        "P different random tokens stand twice; the tokens of the second time but its first are scored among the whole "
        "vocabulary; chance: one of the P, at random"
    ),
    values=(8, 16, 32, 64, 128, 256, 512),
    unit="tokens back",
    text=False,
    positions=lambda period: 2 * int(period) - 1,
    make=make,
)

"""Noise in the context: how much worse clean text is predicted after text with random tokens in it.

Shape suffixes: B rows, T tokens.
"""

from __future__ import annotations

import numpy as np

from procray.downstream.items import Items
from procray.downstream.material import Material
from procray.downstream.probe import Made, Probe, generator
from procray.downstream.windows import blocks

BEFORE = 48
SCORED = 16


def make(material: Material, seed: int, value: float, count: int) -> Made:
    """All shares ask for the same tokens, and what a smaller share has replaced a larger one has replaced as well."""
    rng = generator(seed, "noise")
    tokens_BT = blocks(material, rng, BEFORE + SCORED, count).copy()
    shape = (len(tokens_BT), BEFORE)
    replaced_BT = rng.random(shape) < value
    random_BT = material.entries[rng.integers(0, len(material.entries), shape)]
    tokens_BT[:, :BEFORE] = np.where(replaced_BT, random_BT, tokens_BT[:, :BEFORE])
    scored_BT = np.zeros(tokens_BT.shape, bool)
    scored_BT[:, BEFORE:] = True
    return Made(Items(tokens_BT, scored_BT), material.commonest)


NOISE = Probe(
    name="noise",
    shows="how much of what a model makes of its context outlives random tokens in it",
    scoring=(
        f"of {BEFORE} tokens of held-out text such a share is replaced by random ones; the {SCORED} that follow, "
        "untouched, are scored among the whole vocabulary; chance: always the commonest token"
    ),
    values=(0, 0.05, 0.1, 0.2, 0.4, 1),
    unit="share replaced",
    text=True,
    positions=lambda share: BEFORE + SCORED - 1,
    make=make,
)

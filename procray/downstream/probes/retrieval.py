"""Verbatim retrieval: a passage that stands again after some other text.

Shape suffixes: B rows, P tokens of a passage, D tokens between, T tokens.
"""

from __future__ import annotations

import numpy as np

from procray.downstream.items import Items
from procray.downstream.material import Material
from procray.downstream.probe import Made, Probe, generator
from procray.downstream.windows import blocks, stretches

PASSAGE = 12
CUE = 4


def make(material: Material, seed: int, value: float, count: int) -> Made:
    """All distances ask for the same passages. The control has the next item's passage in the first place."""
    distance = int(value)
    passage_BP = blocks(material, generator(seed, "retrieval", "passages"), PASSAGE, count)
    between_BD = stretches(material, generator(seed, "retrieval", "between"), distance, len(passage_BP))
    scored_BT = np.zeros((len(passage_BP), 2 * PASSAGE + distance), bool)
    scored_BT[:, PASSAGE + distance + CUE :] = True
    tokens_BT, control_BT = (
        np.concatenate([first_BP, between_BD, passage_BP], 1) for first_BP in (passage_BP, np.roll(passage_BP, 1, 0))
    )
    return Made(Items(tokens_BT, scored_BT), material.commonest, Items(control_BT, scored_BT))


RETRIEVAL = Probe(
    name="retrieval",
    shows="how far back a passage of text may lie and still be said again word for word",
    scoring=(
        f"{PASSAGE} tokens of held-out text stand again after so many others; from the second time the tokens after "
        f"the first {CUE} are scored among the whole vocabulary; chance: always the commonest token; the control has "
        "another passage in the first place"
    ),
    values=(8, 16, 32, 64, 128, 256, 512, 1024),
    unit="tokens between",
    text=True,
    positions=lambda distance: 2 * PASSAGE + int(distance) - 1,
    make=make,
)

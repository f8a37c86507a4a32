"""k-hop lookup: who stands k steps further, in pairs that the context shows, after three solved examples.

Shape suffixes: B rows, L names, Q solved examples, T tokens, K choices.
"""

from __future__ import annotations

import numpy as np

from procray.downstream.items import Items
from procray.downstream.material import Material
from procray.downstream.probe import Made, Probe, generator
from procray.errors import CorpusError
from procray.tasks.sequences import picked, shuffles

NAMES = 8
SOLVED = 3
CHOICES = NAMES - SOLVED - 1


def make(material: Material, seed: int, value: float, count: int) -> Made:
    """`x y s x y s .. q a s q a s q a s q a`: y follows x on one ring of names, and a stands k steps behind q.

    Nobody solves it by leaving out: the choices are the names that no solved example had for an answer, but the one
    that is asked about, and none of these has been ruled out.
    """
    steps = int(value)
    assert 1 <= steps < NAMES
    if len(material.entries) < NAMES + 1:
        raise CorpusError(f"{NAMES + 1} different tokens are needed, and there are {len(material.entries)}")
    rng = generator(seed, "hops", str(steps))
    row_B1 = np.arange(count)[:, None]
    drawn = material.entries[picked(rng, count, NAMES + 1, len(material.entries))]
    ring_BL, end_B1 = drawn[:, :NAMES], drawn[:, NAMES:]
    shown_BL = shuffles(rng, count, NAMES)
    asked_B1 = rng.integers(0, NAMES, (count, 1))
    # Solved are questions about other names, and none whose answer is the name that is asked about.
    others_BL = (asked_B1 + np.arange(NAMES)) % NAMES
    free_BL = others_BL[:, [place for place in range(1, NAMES) if place != NAMES - steps]]
    solved_BQ = free_BL[row_B1, shuffles(rng, count, free_BL.shape[1])[:, :SOLVED]]
    answered_BQ = (solved_BQ + steps) % NAMES
    right_B1 = (asked_B1 + steps) % NAMES
    taken_BL = (others_BL[:, :, None] == np.concatenate([answered_BQ, asked_B1, right_B1], 1)[:, None, :]).any(2)
    rest_BK = others_BL[~taken_BL].reshape(count, CHOICES - 1)
    pairs = np.stack([ring_BL[row_B1, shown_BL], ring_BL[row_B1, (shown_BL + 1) % NAMES]], 2)
    solved = np.stack([ring_BL[row_B1, solved_BQ], ring_BL[row_B1, answered_BQ]], 2)
    ended = [
        np.concatenate([part, np.broadcast_to(end_B1[:, :, None], (*part.shape[:2], 1))], 2) for part in (pairs, solved)
    ]
    tokens_BT = np.concatenate(
        [*(part.reshape(count, -1) for part in ended), ring_BL[row_B1, asked_B1], ring_BL[row_B1, right_B1]], 1
    )
    scored_BT = np.zeros(tokens_BT.shape, bool)
    scored_BT[:, -1] = True
    choices_BK = ring_BL[row_B1, np.concatenate([right_B1, rest_BK], 1)]
    return Made(Items(tokens_BT, scored_BT, choices_BK), chance=1 / CHOICES)


HOPS = Probe(
    name="hops",
    shows="whether an answer that was looked up in the context can itself be looked up, k times in all",
    scoring=(
        f"{NAMES} random tokens follow each other on a ring, shown as pairs in random order; after {SOLVED} solved "
        f"examples of k steps the next answer is compared with the {CHOICES - 1} other names that it could be; chance: "
        f"one in {CHOICES}"
    ),
    values=(1, 2, 3, 4),
    unit="steps",
    text=False,
    positions=lambda steps: 3 * NAMES + 3 * SOLVED + 1,
    make=make,
)

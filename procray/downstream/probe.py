"""What a probe is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from procray.downstream.items import Items
from procray.downstream.material import Material


@dataclass(frozen=True)
class Made:
    """The items of one condition.

    Attributes:
        chance: the accuracy of who knows nothing of what the probe asks about.
        control: the same items with what the answer hangs on taken out of the context: what a model gets right
            without it. None where chance says it.
    """

    items: Items
    chance: float
    control: Items | None = None


@dataclass(frozen=True)
class Probe:
    """A question to a model, under several conditions.

    Attributes:
        name: as commands write it.
        shows: one sentence: what it is meant to show.
        scoring: one sentence: what is scored, and what chance means.
        values: the conditions, easiest first: distances, depths, steps.
        unit: what the values count.
        text: whether it is made from held-out text, so that it needs a tokenizer.
        positions: of a condition, the positions that a model needs for it, whatever the tokenizer; at least these,
            where words decide.
        make: the items of a condition from material, a seed and the wanted number of items. Raises CorpusError where
            the material has not what they are made of; fewer items where it has little of it.
    """

    name: str
    shows: str
    scoring: str
    values: tuple[float, ...]
    unit: str
    text: bool
    positions: Callable[[float], int]
    make: Callable[[Material, int, float, int], Made]


def generator(seed: int, probe: str, part: str = "") -> np.random.Generator:
    """Random numbers that depend on nothing but the arguments: one condition does not move another's."""
    from procray.tasks.rng import generator as counted

    return counted(seed, "downstream", f"{probe} {part}", 0)

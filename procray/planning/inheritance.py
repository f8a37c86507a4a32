"""What a phase takes over from others, but for its seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from procray.model.perturb import Perturbation
from procray.spec.cells import Pick
from procray.spec.structure import Link, Tail


@dataclass(frozen=True)
class Giver:
    """A link of the chain in one cell, or a checkpoint from outside.

    Attributes:
        replaced: axes that no longer matter to what it gives, because the file names a task.
        outside: the id of the checkpoint; `link` and `pick` then mean nothing.
    """

    link: int = -1
    pick: Pick = ()
    replaced: frozenset[int] = frozenset()
    outside: str = ""


@dataclass(frozen=True)
class Taken:
    """A component, or part of one, that a phase takes over. As `training.recipe.Share`, with givers for marks.

    `among` are how many heads a layer has and how many of them go together, where others than `heads` are drawn.
    `depth` is the number of layers, known where `layers` are and all models have equally many: the layers 0 to
    `depth - 1` as they are then are the whole part.
    """

    part: str
    giver: Giver
    layers: tuple[tuple[int, int], ...] | None = None
    second: Giver | None = None
    weight: float | None = None
    depth: int | None = None
    heads: tuple[tuple[int, tuple[int, ...]], ...] | None = None
    among: tuple[int, int] | None = None

    @property
    def givers(self) -> tuple[Giver, ...]:
        return (self.giver,) if self.second is None else (self.giver, self.second)


def randomised(tail: Tail, link: Link, taken: Iterable[Taken]) -> set[str]:
    """What a phase takes over from warm-ups, where a control puts random weights in the place of that."""
    if link.control is None or link.control.kind != "random" or link.kind == "procedural":
        return set()
    return {one.part for one in taken if from_warmup(tail, one.givers)}


def from_warmup(tail: Tail, givers: Iterable[Giver]) -> bool:
    """Whether a warm-up of a chain is among some givers."""
    return any(not giver.outside and tail.links[giver.link].kind == "procedural" for giver in givers)


def names_heads(tail: Tail, link: Link, taken: Iterable[Taken]) -> bool:
    """Whether a phase takes over heads of warm-ups that are named, and not drawn."""
    if link.kind == "procedural":
        return False
    return any(one.heads is not None and one.among is None and from_warmup(tail, one.givers) for one in taken)


@dataclass(frozen=True)
class Inheritance:
    """What a phase begins with, but for what it draws from its seed. `parts` are those that its model has."""

    taken: tuple[Taken, ...]
    embeddings: Literal["copy", "mean"]
    perturb: Perturbation | None
    freeze: tuple[str, ...]
    parts: tuple[str, ...]

"""What a phase begins with, its givers turned into marks: one form for all that comes to the same weights."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from procray.model.components import NAMES, parts_of, whole
from procray.model.draws import draw_key
from procray.model.perturb import Perturbation
from procray.planning.inheritance import Giver, Inheritance, Taken
from procray.training.recipe import Init, Parent, Share


class _Source(NamedTuple):
    """One mark, or a blend of two, the first by name before the second."""

    parent: Parent
    second: Parent | None
    weight: float | None


def initial(begins: Inheritance, parent: Callable[[Giver], Parent], seed: int) -> Init:
    """The beginning of a phase at one seed.

    Args:
        parent: the mark that a giver is at this seed.
        seed: draws heads where random ones are asked for.
    """
    own = begins.parts
    given: dict[_Source, dict[str, dict[int, int] | None]] = {}  # by part its layers; None: all of it
    shares: list[Share] = []
    for one in begins.taken:
        if one.heads is not None:
            first, second, weight = _source(one, parent)
            heads = one.heads
            if one.among is not None:
                heads = tuple((layer, others(layer, chosen, *one.among, seed)) for layer, chosen in heads)
            shares.append(Share(one.part, first, None, second, weight, heads))
            continue
        parts = given.setdefault(_source(one, parent), {})
        for part in parts_of([one.part], own):
            # Where a component's layers are named piece by piece, they may be all of it in the end.
            layers = None if one.layers is None else {**(parts.get(part) or {}), **dict(one.layers)}
            parts[part] = None if layers is not None and _is_all(layers, one.depth) else layers
    components: dict[str, Parent] = {}
    for (first, second, weight), parts in given.items():
        for pairs in {None if layers is None else tuple(sorted(layers.items())) for layers in parts.values()}:
            alike = [part for part, layers in parts.items() if layers == (None if pairs is None else dict(pairs))]
            for name in whole(alike, own):
                if pairs is None and second is None:
                    components[name] = first
                else:
                    shares.append(Share(name, first, pairs, second, weight))
    carried = parts_of([*(part for parts in given.values() for part in parts), *(one.part for one in shares)], own)
    return Init(
        {name: components[name] for name in NAMES if name in components},
        begins.embeddings if "embeddings" in carried else "copy",
        tuple(sorted(shares, key=lambda share: (share.part, share.layers or (), share.heads or ()))),
        _perturbation(begins.perturb, carried, own),
        begins.freeze,
    )


def others(layer: int, chosen: Sequence[int], count: int, together: int, seed: int) -> tuple[int, ...]:
    """As many heads of a layer as are chosen, drawn from the others where these suffice, else from all.

    Args:
        count: heads of the layer.
        together: so many in a row share keys and values, and are drawn as one.
    """
    named = {head // together for head in chosen}
    every = set(range(count // together))
    rest = every - named if 2 * len(named) <= len(every) else every
    generator = random.Random(draw_key(seed, "", "random heads", layer, *chosen))
    found = named
    while found == named:  # unless all are named, which is refused
        found = set(generator.sample(sorted(rest), len(named)))
    return tuple(sorted(unit * together + i for unit in found for i in range(together)))


def _source(one: Taken, parent: Callable[[Giver], Parent]) -> _Source:
    first = parent(one.giver)
    second = parent(one.second) if one.second else None
    if second is None or second == first:
        return _Source(first, None, None)
    if (second.phase, second.step) < (first.phase, first.step):
        return _Source(second, first, float(1 - Fraction(repr(one.weight))))  # exactly: 0.3 where 0.7 is written
    return _Source(first, second, one.weight)


def _is_all(layers: dict[int, int], depth: int | None) -> bool:
    return depth is not None and layers == {layer: layer for layer in range(depth)}


def _perturbation(asked: Perturbation | None, carried: Iterable[str], own: Sequence[str]) -> Perturbation | None:
    """What is done to the carried parts; limited to some of them only where it leaves others as they are."""
    carried = parts_of(carried, own)
    if asked is None or not asked.components:
        return asked if carried else None
    touched = [part for part in parts_of(asked.components, own) if part in carried]
    if not touched:
        return None
    return replace(asked, components=() if len(touched) == len(carried) else whole(touched, own))

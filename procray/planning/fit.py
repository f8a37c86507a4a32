"""Whether the weights that a file wishes for can be carried into a phase."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

from procray.model.components import EVERY, PARTS, parts_of, whole
from procray.model.families import family
from procray.model.family import Family
from procray.model.regions import cut_groups
from procray.planning.checkpoints import Checkpoints
from procray.planning.facts import Facts
from procray.planning.inheritance import Giver, Taken
from procray.planning.inspection import Inspection
from procray.spec.cells import Pick
from procray.spec.paths import Path
from procray.spec.structure import Link, SweepSpec, Tail

_IN_NO_LAYER = ("ln_f", "embeddings", "positions")


@dataclass(frozen=True)
class Known:
    """What must be known of a sweep to say what one of its phases begins with.

    Attributes:
        facts: of a phase in one cell; None where something is wrong with it.
        shape: layers, heads, width and the rest of its model; None likewise.
    """

    inspection: Inspection
    checkpoints: Checkpoints
    facts: Callable[[Link, Pick], Facts | None]
    shape: Callable[[Link, Pick], dict[str, Any] | None]

    def family(self, link: Link, pick: Pick) -> Family | None:
        """The family of a phase's model; None where something is wrong with its shape."""
        shape = self.shape(link, pick)
        return None if shape is None else family(shape["family"])


@dataclass(frozen=True)
class Wish:
    """One line of what the file asks for."""

    parts: tuple[str, ...]
    asked: frozenset[str]  # the names that it was asked for with
    giver: Giver
    where: Path
    layers: dict[int, int] | None = None
    second: Giver | None = None
    weight: float = 0.0
    heads: dict[int, tuple[int, ...]] | None = None
    drawn: bool = False  # as many others of the same layers in their place

    @property
    def givers(self) -> tuple[Giver, ...]:
        return (self.giver,) if self.second is None else (self.giver, self.second)


def settle(
    known: Known, tail: Tail, link: Link, pick: Pick, wishes: Iterable[Wish], embeddings: str
) -> tuple[Taken, ...]:
    """The parts that are really carried, under the shortest names; whatever does not fit is reported."""
    model = known.family(link, pick)
    own = EVERY if model is None else model.parts
    alike: dict[tuple[Any, ...], list[str]] = {}
    claimed: dict[str, list[set[int] | None]] = {}
    for wish in wishes:
        layers, parts, depth = wish.layers, parts_of(wish.parts, own), None
        if wish.heads is not None:
            parts, layers = _with_heads(known, link, pick, wish, parts), {layer: layer for layer in wish.heads}
        if layers is not None:
            stray = [name for name in _IN_NO_LAYER if name in wish.asked]
            for name in stray:
                known.inspection.report(
                    wish.where, pick, f"{name} stands in no layer, so no layers can be chosen for it"
                )
            parts = tuple(part for part in parts if part not in _IN_NO_LAYER)
            depth = _common_depth(known, tail, link, replace(wish, layers=layers), pick)
        kept: list[str] = []
        twice: list[str] = []
        for part in parts:
            targets = None if layers is None else set(layers)
            if any(targets is None or other is None or targets & other for other in claimed.setdefault(part, [])):
                twice.append(part)
            claimed[part].append(targets)
            if all(_fits(known, tail, link, pick, wish, giver, part, embeddings) for giver in wish.givers):
                kept.append(part)
        if twice:
            known.inspection.report(wish.where, pick, f"{', '.join(whole(twice, own))}: named twice")
        pairs = None if layers is None or wish.heads is not None else tuple(sorted(layers.items()))
        heads = None if wish.heads is None else tuple(sorted(wish.heads.items()))
        weight = wish.weight if wish.second else None
        among = _drawn_among(known, link, pick, wish, parts) if wish.drawn else None
        alike.setdefault((wish.giver, pairs, wish.second, weight, depth, heads, among), []).extend(kept)
    return tuple(
        Taken(name, giver, layers, second, weight, depth, heads, among)
        for (giver, layers, second, weight, depth, heads, among), parts in alike.items()
        for name in whole(parts, own)
    )


def _with_heads(known: Known, link: Link, pick: Pick, wish: Wish, parts: tuple[str, ...]) -> tuple[str, ...]:
    """Those of some parts that have heads; reports the others, and heads that cannot be chosen."""
    assert wish.heads is not None
    where, shape = _place_of_heads(known, wish, pick), known.shape(link, pick)
    stray = [part for part in parts if part not in PARTS["attention"]]
    if stray:
        model = known.family(link, pick)
        own = EVERY if model is None else model.parts
        *others, last = whole(stray, own)
        without = f"{', '.join(others)} and {last} have" if others else f"{last} has"
        there = ", ".join(parts_of(("attention",), own))
        known.inspection.report(where, pick, f"only attention has heads ({there}); {without} none")
    for layer, heads in wish.heads.items() if shape is not None else ():
        assert shape is not None
        strange = [head for head in heads if head >= shape["heads"]]
        if strange:
            known.inspection.report(where, pick, f"head {strange[0]} of a layer with {shape['heads']} heads")
            continue
        for message in cut_groups(SimpleNamespace(**shape), parts, layer, heads):
            known.inspection.report(where, pick, message)
    return tuple(part for part in parts if part not in stray)


def _place_of_heads(known: Known, wish: Wish, pick: Pick) -> Path:
    """Where a wish names its heads, which a control may have drawn."""
    drawn = (*wish.where, "random_heads")
    return drawn if known.inspection.spec.written(drawn, pick) else (*wish.where, "heads")


def _drawn_among(known: Known, link: Link, pick: Pick, wish: Wish, parts: tuple[str, ...]) -> tuple[int, int] | None:
    """How many heads a layer has, and how many of them go together; reports layers of which all heads are named."""
    assert wish.heads is not None
    shape = known.shape(link, pick)
    if shape is None:
        return None
    for layer, heads in wish.heads.items():
        if len(heads) >= shape["heads"]:
            message = f"layer {layer} has {shape['heads']} heads, so there are no others to draw"
            known.inspection.report(_place_of_heads(known, wish, pick), pick, message)
    count = shape.get("kv_heads", shape["heads"]) if {"k", "v"}.intersection(parts) else shape["heads"]
    return shape["heads"], shape["heads"] // count


def _common_depth(known: Known, tail: Tail, link: Link, wish: Wish, pick: Pick) -> int | None:
    """How many layers a phase and its givers have, where they have equally many; reports layers that are not there."""
    assert wish.layers is not None
    mine = known.shape(link, pick)
    depths = [shape["layers"] for giver in wish.givers if (shape := _shape(known, tail, giver)) is not None]
    where: Path = (*wish.where, "layers") if wish.heads is None else _place_of_heads(known, wish, pick)
    if mine is not None and max(wish.layers) >= mine["layers"]:
        known.inspection.report(where, pick, f"layer {max(wish.layers)} of a model with {mine['layers']} layers")
    for depth in depths:
        if max(wish.layers.values()) >= depth:
            message = f"layer {max(wish.layers.values())} of a parent with {depth} layers"
            known.inspection.report(where, pick, message)
    return mine["layers"] if mine and depths and set(depths) == {mine["layers"]} else None


def _shape(known: Known, tail: Tail, giver: Giver) -> dict[str, Any] | None:
    """Layers, heads, width of what a giver gives; None where that is unknown or a problem of its own."""
    if not giver.outside:
        return known.shape(tail.links[giver.link], giver.pick)
    config = known.checkpoints.found[giver.outside].config
    return None if config is None else {"family": config.family, **vars(config)}


def _fits(
    known: Known, tail: Tail, link: Link, pick: Pick, wish: Wish, giver: Giver, part: str, embeddings: str
) -> bool:
    """Whether a part can be carried; what cannot is a problem unless a bundle merely included it."""
    target, source = known.shape(link, pick), _shape(known, tail, giver)
    keys: tuple[str, ...] = ()
    if target and source:
        keys = ("family",) if source["family"] != target["family"] else family(target["family"]).needs(part)
    for key in keys:
        assert target is not None
        assert source is not None
        if source[key] == target[key] or (key == "layers" and (wish.layers or wish.heads) is not None):
            continue
        named = known.checkpoints.found[giver.outside].name if giver.outside else ""
        parent = None if giver.outside else tail.links[giver.link]
        hint = "; 'layers' maps them" if key == "layers" else ""
        known.inspection.report(
            wish.where if parent is None else _place_of_shape(known.inspection.spec, link, parent, key, pick),
            pick,
            f"weights cannot be carried between models of different {key}:"
            f" {named if parent is None else '.'.join(map(str, parent.section))} has {source[key]},"
            f" {'.'.join(map(str, link.section))} has {target[key]}{hint}",
        )
        return False
    mine = known.facts(link, pick)
    if giver.outside:
        checkpoint = known.checkpoints.found[giver.outside]
        if mine is None or checkpoint.config is None:
            return mine is not None  # the hub is asked when the sweep runs; what does not fit then is told then
        tables = _Tables(checkpoint.name, checkpoint.config.context, checkpoint.config.rows, None)
    else:
        theirs = known.facts(tail.links[giver.link], giver.pick)
        if mine is None or theirs is None:
            return False
        tables = _Tables(theirs.label, theirs.recipe.model.context, theirs.rows, theirs.symbols)
    return _tables_fit(known.inspection, wish, pick, part, mine, tables, embeddings)


class _Tables(NamedTuple):
    """What a giver's embeddings and positions are made for; `symbols` is None where nobody knows their meaning."""

    name: str
    context: int
    rows: int | None
    symbols: str | None


def _tables_fit(
    inspection: Inspection, wish: Wish, pick: Pick, part: str, mine: Facts, theirs: _Tables, embeddings: str
) -> bool:
    """The same for what depends on vocabulary and context."""
    needed = mine.recipe.model.context
    if part == "positions" and theirs.context < needed:
        if "positions" in wish.asked:
            message = f"{theirs.name} has only {theirs.context} positions to give, {mine.label} needs {needed}"
            inspection.report(wish.where, pick, message)
        return False
    if part == "embeddings" and (theirs.rows is not None or mine.rows is not None):
        inspection.report(wish.where, pick, "the rows of an automaton have no token embeddings to carry; use full")
        return False
    if part == "embeddings" and embeddings == "copy" and theirs.symbols not in (None, mine.symbols):
        message = f"{theirs.name} and {mine.label} have different vocabularies; name a mode such as full"
        inspection.report(wish.where, pick, message)
        return False
    return True


def _place_of_shape(spec: SweepSpec, link: Link, other: Link, key: str, pick: Pick) -> Path:
    """Where the shape that differs was written: the strongest override of either phase."""
    for one in (link, other):
        for path in reversed(one.models[1:]):
            if key in (spec.value(path, pick) or {}):
                return (*path, key)
    return link.transfer or link.section

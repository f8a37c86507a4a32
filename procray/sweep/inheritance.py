"""What a phase takes over from earlier ones: which component from which phase, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from procray.errors import TransferError, did_you_mean
from procray.model.components import COMPONENTS, parse_mode
from procray.sweep.grid import Path, Pick, starts_with
from procray.sweep.names import label
from procray.sweep.spec import Link, Tail

if TYPE_CHECKING:
    from procray.sweep.chain import Chains, Facts

# What a component's tensors, and their meaning, depend on; for the others depth and width.
_SHAPES = {"attention": ("layers", "width", "heads"), "embeddings": ("width",), "positions": ("width",)}


@dataclass(frozen=True)
class Inheritance:
    """Which link, in which cell, supplies each component of a phase."""

    components: dict[str, tuple[int, Pick]]
    embeddings: Literal["copy", "mean"]
    replaced: frozenset[int]  # axes that no longer matter, because tasks are named


def read(chains: Chains, tail: Tail, i: int, before: int, pick: Pick) -> Inheritance | None:
    link, parent = tail.links[i], tail.links[before]
    mine = chains.facts(link, pick)
    mode = chains.spec.value(link.transfer, pick) if link.transfer else None
    if mode is None:
        theirs = chains.facts(parent, pick)
        same = mine is not None and theirs is not None and mine.symbols == theirs.symbols
        further = link.kind == "finetune" or (parent.kind != "procedural" and same)
        mode = "everything" if further else "full"
    where: Path = link.transfer or link.section
    embeddings: Literal["copy", "mean"] = "mean"
    replaced: frozenset[int] = frozenset()
    if isinstance(mode, dict):
        named, replaced = _composition(chains, tail, i, where, mode, pick)
        asked = set(named)
    elif mode == "everything":
        named = dict.fromkeys(COMPONENTS, (before, pick))
        embeddings, asked = "copy", set(COMPONENTS)
    else:
        try:
            components, embeddings = parse_mode(mode)
        except TransferError as error:
            chains.report(where, pick, f"{error} ('everything' also copies embeddings and positions as they are)")
            return None
        named = dict.fromkeys(components, (before, pick))
        asked = set(mode.split("+"))
    carried: dict[str, tuple[int, Pick]] = {}
    for component, (j, other) in named.items():
        if not _same_shape(chains, link, tail.links[j], pick, other, component):
            continue
        theirs = chains.facts(tail.links[j], other)
        if mine is None or theirs is None:
            continue
        if _fits(chains, where, pick, component, mine, theirs, component in asked, embeddings):
            carried[component] = (j, other)
    return Inheritance(carried, embeddings if "embeddings" in carried else "copy", replaced)


def _composition(
    chains: Chains, tail: Tail, i: int, where: Path, mode: dict[str, str], pick: Pick
) -> tuple[dict[str, tuple[int, Pick]], frozenset[int]]:
    named: dict[str, tuple[int, Pick]] = {}
    replaced: frozenset[int] = frozenset()
    for components, name in mode.items():
        try:
            wanted, _ = parse_mode(components)
        except TransferError as error:
            chains.report((*where, components), pick, str(error))
            continue
        found = _parent_named(chains, tail, i, (*where, components), name, pick)
        if found is None:
            continue
        for component in wanted:
            if component in named:
                chains.report((*where, components), pick, f"{component} is named twice")
            named[component] = found[0]
        replaced |= found[1]
    return named, replaced


def _parent_named(
    chains: Chains, tail: Tail, i: int, where: Path, name: str, pick: Pick
) -> tuple[tuple[int, Pick], frozenset[int]] | None:
    """An earlier link of that name, or the procedural phase of this cell with that task."""
    links = tail.links[:i]
    by_name = [j for j, link in enumerate(links) if link.name == name and link.name != link.kind]
    if by_name:
        return (by_name[-1], pick), frozenset()
    known = [link.name for link in links if link.name != link.kind]
    for j in reversed([j for j, link in enumerate(links) if link.kind == "procedural"]):
        options, axes = _other_tasks(chains, links[j], pick)
        found = options.get(name, [])
        if len(found) > 1:
            chains.report(where, pick, f"'{name}' may mean several values of {chains.spec.axes[min(axes)].name}")
            return None
        if found:
            return (j, found[0]), axes
        known += options
    chains.report(
        where, pick, f"no earlier phase is called '{name}'{did_you_mean(name, known)} (known: {', '.join(known)})"
    )
    return None


def _other_tasks(chains: Chains, link: Link, pick: Pick) -> tuple[dict[str, list[Pick]], frozenset[int]]:
    """By the task's name, this cell with the task replaced by every value of its axis."""
    path = (*link.section, "task")
    axes = chains.spec.axes
    deciding = [i for i, axis in enumerate(axes) if starts_with(path, axis.path)]
    if not deciding:
        return {label("task", chains.spec.value(path, pick)): [pick]}, frozenset()
    index = deciding[0]
    group = next(group for group in chains.spec.selection.groups if index in group)
    options: dict[str, list[Pick]] = {}
    for value in range(len(axes[index].values) if len(group) == 1 else axes[index].size):
        other = tuple(value if i in group and pick[i] >= 0 else pick[i] for i in range(len(pick)))
        for name in {axes[index].labels[value], label("task", chains.spec.value(path, other))}:
            options.setdefault(name, []).append(other)
    return options, frozenset(group)


def _same_shape(chains: Chains, link: Link, parent: Link, pick: Pick, other: Pick, component: str) -> bool:
    """Whether two models agree on what a component's tensors depend on."""
    target, source = chains.shape(link, pick), chains.shape(parent, other)
    if target is None or source is None:
        return True  # reported as the shape's own problem
    for key in _SHAPES.get(component, ("layers", "width")):
        if source[key] != target[key]:
            chains.report(
                _place_of_shape(chains, link, parent, key, pick),
                pick,
                f"weights cannot be carried between models of different {key}:"
                f" {'.'.join(map(str, parent.section))} has {source[key]},"
                f" {'.'.join(map(str, link.section))} has {target[key]}",
            )
            return False
    return True


def _fits(
    chains: Chains,
    where: Path,
    pick: Pick,
    component: str,
    mine: Facts,
    theirs: Facts,
    asked: bool,
    embeddings: str,
) -> bool:
    """Whether a component can be carried; what cannot is a problem unless a bundle merely included it."""
    target, source = mine.recipe.model, theirs.recipe.model
    if component == "positions" and source.context < target.context:
        if asked:
            chains.report(
                where,
                pick,
                f"{theirs.label} has only {source.context} positions to give, {mine.label} needs {target.context}",
            )
        return False
    if component == "embeddings":
        if theirs.rows is not None or mine.rows is not None:
            chains.report(where, pick, "the rows of an automaton have no token embeddings to carry; use full")
            return False
        if embeddings == "copy" and theirs.symbols != mine.symbols:
            chains.report(
                where,
                pick,
                f"{theirs.label} and {mine.label} have different vocabularies; name a mode such as full",
            )
            return False
    return True


def _place_of_shape(chains: Chains, link: Link, other: Link, key: str, pick: Pick) -> Path:
    """Where the shape that differs was written: the strongest override of either phase."""
    for one in (link, other):
        for path in reversed(one.models[1:]):
            if key in (chains.spec.value(path, pick) or {}):
                return (*path, key)
    return link.transfer or link.section

"""What a phase begins with: which weights from which earlier phase or outside checkpoint, and whether they fit;
what is done to them; and what stays frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from procray.errors import ProcrayError, TransferError, did_you_mean
from procray.files import canonical_json
from procray.model.components import COMPONENTS, parse_mode, parts_of, whole
from procray.model.outside import HUB, Outside, look_up
from procray.model.perturb import Perturbation
from procray.spec.cells import Pick
from procray.spec.names import label
from procray.spec.paths import Path, starts_with
from procray.spec.structure import Link, Tail

if TYPE_CHECKING:
    from procray.planning.chains import Chains, Facts

OWN = "procedural"  # as a parent's name: this cell's own warm-up

# What a part's tensors, and their meaning, depend on; for the others depth and width.
_SHAPES = {
    "qkv": ("layers", "width", "heads"),
    "proj": ("layers", "width", "heads"),
    "ln_f": ("width",),
    "embeddings": ("width",),
    "positions": ("width",),
}
_NOTHING_BEFORE = "there is no phase before this one to carry weights from; name a checkpoint with path or hf:"
_IN_NO_LAYER = ("ln_f", "embeddings", "positions")


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
    """A component, or part of one, that a phase takes over. As `training.recipe.Share`, with givers for marks."""

    part: str
    giver: Giver
    layers: tuple[tuple[int, int], ...] | None = None
    second: Giver | None = None
    weight: float | None = None

    @property
    def givers(self) -> tuple[Giver, ...]:
        return (self.giver,) if self.second is None else (self.giver, self.second)


@dataclass(frozen=True)
class Inheritance:
    """What a phase begins with, but for what it draws from its seed."""

    taken: tuple[Taken, ...]
    embeddings: Literal["copy", "mean"]
    perturb: Perturbation | None
    freeze: tuple[str, ...]


@dataclass(frozen=True)
class _Wish:
    """One line of what the file asks for."""

    parts: tuple[str, ...]
    asked: frozenset[str]  # the names that it was asked for with
    giver: Giver
    where: Path
    layers: dict[int, int] | None = None
    second: Giver | None = None
    weight: float = 0.0


def read(chains: Chains, tail: Tail, i: int, before: int | None, pick: Pick) -> Inheritance | None:
    """What link `i` takes over.

    Args:
        before: the link that a plain mode means; None where nothing comes before.

    Returns:
        None where a problem was reported.
    """
    link = tail.links[i]
    where: Path = link.transfer or link.section
    mode = chains.spec.value(link.transfer, pick) if link.transfer else None
    written = mode is not None
    if mode is None and before is not None:
        mode = _default_mode(chains, link, tail.links[before], pick)
    embeddings: Literal["copy", "mean"] = "mean"
    wishes: list[_Wish] = []
    if isinstance(mode, dict):
        wishes = _composition(chains, tail, i, before, where, mode, pick)
        embeddings = "copy" if "everything" in mode else "mean"
    elif mode not in (None, "none"):
        names = _mode(chains, where, pick, mode)
        if names is None:
            return None
        if before is None:
            chains.report(where, pick, _NOTHING_BEFORE)
            return None
        embeddings = "copy" if mode == "everything" else "mean"
        # Warm-ups may grow longer: where nobody asked for positions, too few of them are no mistake.
        asked = _asked(mode) if written or link.kind != "procedural" else frozenset()
        wishes = [_Wish(names, asked, Giver(before, pick), where)]
    taken = _settle(chains, tail, link, pick, wishes, embeddings)
    if not any(one.part == "embeddings" for one in taken):
        embeddings = "copy"
    perturb = _perturbation(chains, link, pick, taken)
    return Inheritance(taken, embeddings, perturb, _frozen(chains, link, pick))


def _default_mode(chains: Chains, link: Link, parent: Link, pick: Pick) -> str:
    mine, theirs = chains.facts(link, pick), chains.facts(parent, pick)
    same = mine is not None and theirs is not None and mine.symbols == theirs.symbols
    if link.kind == "procedural":  # a curriculum of warm-ups goes on where the one before ended
        further = same and mine is not None and mine.rows is None
    else:
        further = link.kind == "finetune" or (parent.kind != "procedural" and same)
    return "everything" if further else "full"


def _mode(chains: Chains, where: Path, pick: Pick, mode: str) -> tuple[str, ...] | None:
    if mode == "everything":
        return COMPONENTS
    try:
        return parse_mode(mode)[0]
    except TransferError as error:
        chains.report(where, pick, f"{error} ('everything' also copies embeddings and positions as they are)")
        return None


def _asked(mode: str) -> frozenset[str]:
    return frozenset(COMPONENTS if mode == "everything" else (part.strip() for part in mode.split("+")))


# What the file asks for


def _composition(
    chains: Chains, tail: Tail, i: int, before: int | None, where: Path, mode: Mapping[str, Any], pick: Pick
) -> list[_Wish]:
    wishes: list[_Wish] = []
    for key, value in mode.items():
        here: Path = (*where, key)
        names = _mode(chains, here, pick, key)
        for n, one in enumerate(value if isinstance(value, list) else [value]):
            at: Path = (*here, n) if isinstance(value, list) else here
            wish = _wish(chains, tail, i, before, at, one, pick, names or (), _asked(key))
            if wish is not None and names:
                wishes.append(wish)
    return wishes


def _wish(
    chains: Chains,
    tail: Tail,
    i: int,
    before: int | None,
    where: Path,
    value: Any,
    pick: Pick,
    names: tuple[str, ...],
    asked: frozenset[str],
) -> _Wish | None:
    if value == "none":
        return None
    given = value if isinstance(value, dict) else {"from": value}
    layers = dict(given["layers"]) if "layers" in given else None
    if "interpolate" in given:
        found = [_giver(chains, tail, i, (*where, "interpolate"), one, pick) for one in given["interpolate"]]
        one, other, weight = found[0], found[1], float(given.get("weight", 0.5))
        if one is None or other is None:
            return None
        if weight in (0.0, 1.0) or one == other:  # the same weights, so the same phase
            one, other, weight = (other if weight == 1.0 else one), None, 0.0
        return _Wish(names, asked, one, where, layers, other, weight)
    if "path" in given:
        giver = _outside(chains, where, {key: given[key] for key in ("path", "heads") if key in given}, pick)
    elif "from" in given:
        giver = _giver(chains, tail, i, where, given["from"], pick)
    elif before is None:
        chains.report(where, pick, _NOTHING_BEFORE)
        return None
    else:
        giver = Giver(before, pick)
    return None if giver is None else _Wish(names, asked, giver, where, layers)


def _giver(chains: Chains, tail: Tail, i: int, where: Path, value: Any, pick: Pick) -> Giver | None:
    """What `from` or a name means: an outside checkpoint, an earlier link, the warm-up of this cell on a task."""
    if isinstance(value, dict) or value.startswith(HUB):
        return _outside(chains, where, value, pick)
    links = tail.links[:i]
    by_name = [j for j, link in enumerate(links) if link.name == value]
    if by_name:
        return Giver(by_name[-1], pick)
    by_kind = [j for j, link in enumerate(links) if link.kind == value == OWN]
    if by_kind:
        return Giver(by_kind[-1], pick)
    known = [link.name for link in links]
    for j in reversed([j for j, link in enumerate(links) if link.kind == "procedural"]):
        options, axes = _other_tasks(chains, links[j], pick)
        found = options.get(value, [])
        if len(found) > 1:
            chains.report(where, pick, f"'{value}' may mean several values of {chains.spec.axes[min(axes)].name}")
            return None
        if found:
            return Giver(j, found[0], axes)
        known += options
    listed = f" (known: {', '.join(dict.fromkeys(known))})" if known else ""
    chains.report(where, pick, f"no earlier phase is called '{value}'{did_you_mean(value, known)}{listed}")
    return None


def _outside(chains: Chains, where: Path, value: Any, pick: Pick) -> Giver | None:
    key = canonical_json(value)
    if key not in chains.looked_up:
        if chains.light and isinstance(value, dict):
            chains.looked_up[key] = Outside("0" * 16, "", dict(value), None, None)
        else:
            try:
                chains.looked_up[key] = look_up(value)
            except ProcrayError as error:
                chains.looked_up[key] = str(error)
    found = chains.looked_up[key]
    if isinstance(found, str):
        chains.report(where, pick, found)
        return None
    chains.outside[found.id] = found
    return Giver(outside=found.id)


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


# Whether it fits


def _settle(
    chains: Chains, tail: Tail, link: Link, pick: Pick, wishes: Iterable[_Wish], embeddings: str
) -> tuple[Taken, ...]:
    """The parts that are really carried, under the shortest names; whatever does not fit is reported."""
    alike: dict[tuple[Any, ...], list[str]] = {}
    claimed: dict[str, list[set[int] | None]] = {}
    for wish in wishes:
        layers, parts = wish.layers, parts_of(wish.parts)
        if layers is not None:
            stray = [name for name in _IN_NO_LAYER if name in wish.asked]
            for name in stray:
                chains.report(wish.where, pick, f"{name} stands in no layer, so no layers can be chosen for it")
            parts = tuple(part for part in parts if part not in _IN_NO_LAYER)
            if _every_layer(chains, tail, link, wish, pick):
                layers = None
        kept: list[str] = []
        twice: list[str] = []
        for part in parts:
            targets = None if layers is None else set(layers)
            if any(targets is None or other is None or targets & other for other in claimed.setdefault(part, [])):
                twice.append(part)
            claimed[part].append(targets)
            givers = [wish.giver] + ([wish.second] if wish.second else [])
            if all(_fits(chains, tail, link, pick, wish, giver, part, embeddings) for giver in givers):
                kept.append(part)
        if twice:
            chains.report(wish.where, pick, f"{', '.join(whole(twice))}: named twice")
        pairs = None if layers is None else tuple(sorted(layers.items()))
        alike.setdefault((wish.giver, pairs, wish.second, wish.weight if wish.second else None), []).extend(kept)
    return tuple(
        Taken(name, giver, layers, second, weight)
        for (giver, layers, second, weight), parts in alike.items()
        for name in whole(parts)
    )


def _every_layer(chains: Chains, tail: Tail, link: Link, wish: _Wish, pick: Pick) -> bool:
    """Whether a choice of layers is all of them in their order; reports layers that are not there."""
    assert wish.layers is not None
    mine = chains.shape(link, pick)
    depths = [
        shape["layers"]
        for giver in (wish.giver, wish.second)
        if giver is not None and (shape := _shape(chains, tail, giver)) is not None
    ]
    if mine is not None and max(wish.layers) >= mine["layers"]:
        chains.report(
            (*wish.where, "layers"), pick, f"layer {max(wish.layers)} of a model with {mine['layers']} layers"
        )
    for depth in depths:
        if max(wish.layers.values()) >= depth:
            message = f"layer {max(wish.layers.values())} of a parent with {depth} layers"
            chains.report((*wish.where, "layers"), pick, message)
    same = all(target == source for target, source in wish.layers.items())
    return bool(same and mine and depths and {len(wish.layers), *depths} == {mine["layers"]})


def _shape(chains: Chains, tail: Tail, giver: Giver) -> dict[str, Any] | None:
    """Layers, heads, width of what a giver gives; None where that is unknown or a problem of its own."""
    if not giver.outside:
        return chains.shape(tail.links[giver.link], giver.pick)
    config = chains.outside[giver.outside].config
    return None if config is None else vars(config)


def _fits(
    chains: Chains, tail: Tail, link: Link, pick: Pick, wish: _Wish, giver: Giver, part: str, embeddings: str
) -> bool:
    """Whether a part can be carried; what cannot is a problem unless a bundle merely included it."""
    target, source = chains.shape(link, pick), _shape(chains, tail, giver)
    for key in _SHAPES.get(part, ("layers", "width")) if target and source else ():
        assert target is not None
        assert source is not None
        if source[key] == target[key] or (key == "layers" and wish.layers is not None):
            continue
        named = chains.outside[giver.outside].name if giver.outside else ""
        parent = None if giver.outside else tail.links[giver.link]
        hint = "; 'layers' maps them" if key == "layers" else ""
        chains.report(
            wish.where if parent is None else _place_of_shape(chains, link, parent, key, pick),
            pick,
            f"weights cannot be carried between models of different {key}:"
            f" {named if parent is None else '.'.join(map(str, parent.section))} has {source[key]},"
            f" {'.'.join(map(str, link.section))} has {target[key]}{hint}",
        )
        return False
    mine = chains.facts(link, pick)
    if giver.outside:
        config = chains.outside[giver.outside].config
        if mine is None or config is None:
            return mine is not None  # the hub is asked when the sweep runs; what does not fit then is told then
        return _tables_fit(chains, wish, pick, part, mine, chains.outside[giver.outside].name, config.context,
                           config.rows, None, embeddings)  # fmt: skip
    theirs = chains.facts(tail.links[giver.link], giver.pick)
    if mine is None or theirs is None:
        return False
    return _tables_fit(chains, wish, pick, part, mine, theirs.label, theirs.recipe.model.context, theirs.rows,
                       theirs.symbols, embeddings)  # fmt: skip


def _tables_fit(
    chains: Chains,
    wish: _Wish,
    pick: Pick,
    part: str,
    mine: Facts,
    name: str,
    context: int,
    rows: int | None,
    symbols: str | None,
    embeddings: str,
) -> bool:
    """The same for what depends on vocabulary and context. `symbols` is None where nobody knows their meaning."""
    needed = mine.recipe.model.context
    if part == "positions" and context < needed:
        if "positions" in wish.asked:
            chains.report(wish.where, pick, f"{name} has only {context} positions to give, {mine.label} needs {needed}")
        return False
    if part == "embeddings" and (rows is not None or mine.rows is not None):
        chains.report(wish.where, pick, "the rows of an automaton have no token embeddings to carry; use full")
        return False
    if part == "embeddings" and embeddings == "copy" and symbols not in (None, mine.symbols):
        message = f"{name} and {mine.label} have different vocabularies; name a mode such as full"
        chains.report(wish.where, pick, message)
        return False
    return True


def _place_of_shape(chains: Chains, link: Link, other: Link, key: str, pick: Pick) -> Path:
    """Where the shape that differs was written: the strongest override of either phase."""
    for one in (link, other):
        for path in reversed(one.models[1:]):
            if key in (chains.spec.value(path, pick) or {}):
                return (*path, key)
    return link.transfer or link.section


# What is done to it


def _perturbation(chains: Chains, link: Link, pick: Pick, taken: tuple[Taken, ...]) -> Perturbation | None:
    value = chains.spec.value(link.perturb, pick) if link.perturb else None
    if not value or not taken:
        return None
    assert link.perturb is not None
    perturbation = Perturbation.from_json(value)
    carried = set(parts_of(one.part for one in taken))
    for name in perturbation.components:
        if not carried.intersection(parts_of([name])):
            message = f"{name} is not carried into this phase (carried: {', '.join(whole(carried))})"
            chains.report((*link.perturb, "components"), pick, message)
    return perturbation


def _frozen(chains: Chains, link: Link, pick: Pick) -> tuple[str, ...]:
    value = chains.spec.value(link.freeze, pick) if link.freeze else None
    if not value:
        return ()
    assert link.freeze is not None
    if parts_of(value) == parts_of(COMPONENTS):
        chains.report(link.freeze, pick, "everything is frozen, so there is nothing left to train")
    return tuple(value)

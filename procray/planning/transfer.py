"""What a phase begins with: which weights from which earlier phase or outside checkpoint, what is done to them,
and what stays frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from procray.errors import TransferError, did_you_mean
from procray.model.components import COMPONENTS, EVERY, parse_mode, parts_of, refuse_absent, whole
from procray.model.family import Family
from procray.model.outside import HUB
from procray.model.perturb import Perturbation
from procray.planning.fit import Known, Wish, settle
from procray.planning.inheritance import Giver, Inheritance, Taken, from_warmup, randomised
from procray.planning.inspection import Inspection
from procray.spec.cells import Pick
from procray.spec.names import label
from procray.spec.paths import Path, starts_with
from procray.spec.structure import Link, Tail

OWN = "procedural"  # as a parent's name: this cell's own warm-up

_NOTHING_BEFORE = "there is no phase before this one to carry weights from; name a checkpoint with path or hf:"


def read(known: Known, tail: Tail, i: int, before: int | None, pick: Pick) -> Inheritance | None:
    """What link `i` takes over.

    Args:
        before: the link that a plain mode means; None where nothing comes before.

    Returns:
        None where a problem was reported.
    """
    link = tail.links[i]
    own = known.family(link, pick)
    parts = EVERY if own is None else own.parts
    where: Path = link.transfer or link.section
    mode = known.inspection.spec.value(link.transfer, pick) if link.transfer else None
    written = mode is not None
    if mode is None and before is not None:
        mode = _default_mode(known, link, tail.links[before], pick)
    embeddings: Literal["copy", "mean"] = "mean"
    wishes: list[Wish] = []
    if isinstance(mode, dict):
        wishes = _composition(known, tail, i, before, where, mode, pick, own)
        embeddings = "copy" if "everything" in mode else "mean"
    elif mode not in (None, "none"):
        names = _mode(known.inspection, where, pick, mode, own)
        if names is None:
            return None
        if before is None:
            known.inspection.report(where, pick, _NOTHING_BEFORE)
            return None
        embeddings = "copy" if mode == "everything" else "mean"
        # Warm-ups may grow longer: where nobody asked for positions, too few of them are no mistake.
        asked = _asked(mode) if written or link.kind != "procedural" else frozenset()
        wishes = [Wish(names, asked, Giver(before, pick), where)]
    if link.control is not None and link.control.kind == "random_heads" and link.kind != "procedural":
        wishes = [
            replace(wish, drawn=True) if wish.heads is not None and from_warmup(tail, wish.givers) else wish
            for wish in wishes
        ]
    taken = settle(known, tail, link, pick, wishes, embeddings)
    if not any(one.part == "embeddings" for one in taken):
        embeddings = "copy"
    perturb = _perturbation(known.inspection, tail, link, pick, taken, own)
    return Inheritance(taken, embeddings, perturb, _frozen(known.inspection, link, pick, own), parts)


def _default_mode(known: Known, link: Link, parent: Link, pick: Pick) -> str:
    mine, theirs = known.facts(link, pick), known.facts(parent, pick)
    same = mine is not None and theirs is not None and mine.symbols == theirs.symbols
    if link.kind == "procedural":  # a curriculum of warm-ups goes on where the one before ended
        further = same and mine is not None and mine.rows is None
    else:
        further = link.kind == "finetune" or (parent.kind != "procedural" and same)
    return "everything" if further else "full"


def _mode(inspection: Inspection, where: Path, pick: Pick, mode: str, own: Family | None) -> tuple[str, ...] | None:
    if mode == "everything":
        return COMPONENTS
    try:
        return parse_mode(mode, own)[0]
    except TransferError as error:
        inspection.report(where, pick, f"{error} ('everything' also copies embeddings and positions as they are)")
        return None


def _asked(mode: str) -> frozenset[str]:
    return frozenset(COMPONENTS if mode == "everything" else (part.strip() for part in mode.split("+")))


# What the file asks for


def _composition(
    known: Known,
    tail: Tail,
    i: int,
    before: int | None,
    where: Path,
    mode: Mapping[str, Any],
    pick: Pick,
    own: Family | None,
) -> list[Wish]:
    wishes: list[Wish] = []
    for key, value in mode.items():
        here: Path = (*where, key)
        names = _mode(known.inspection, here, pick, key, own)
        for n, one in enumerate(value if isinstance(value, list) else [value]):
            at: Path = (*here, n) if isinstance(value, list) else here
            wish = _wish(known, tail, i, before, at, one, pick, names or (), _asked(key))
            if wish is not None and names:
                wishes.append(wish)
    return wishes


def _wish(
    known: Known,
    tail: Tail,
    i: int,
    before: int | None,
    where: Path,
    value: Any,
    pick: Pick,
    names: tuple[str, ...],
    asked: frozenset[str],
) -> Wish | None:
    if value == "none":
        return None
    given = value if isinstance(value, dict) else {"from": value}
    layers = dict(given["layers"]) if "layers" in given else None
    heads = None
    drawn = "random_heads" in given
    if drawn or isinstance(given.get("heads"), list):  # some of its own heads, not how many a file has
        heads = {layer: tuple(chosen) for layer, chosen in given["random_heads" if drawn else "heads"]}
    if "interpolate" in given:
        found = [_giver(known, tail, i, (*where, "interpolate"), one, pick) for one in given["interpolate"]]
        one, other, weight = found[0], found[1], float(given.get("weight", 0.5))
        if one is None or other is None:
            return None
        if weight in (0.0, 1.0) or one == other:  # the same weights, so the same phase
            one, other, weight = (other if weight == 1.0 else one), None, 0.0
        return Wish(names, asked, one, where, layers, other, weight, heads, drawn)
    if "path" in given:
        giver = _outside(
            known,
            where,
            {"path": given["path"], **({"heads": given["heads"]} if isinstance(given.get("heads"), int) else {})},
            pick,
        )
    elif "from" in given:
        giver = _giver(known, tail, i, where, given["from"], pick)
    elif before is None:
        known.inspection.report(where, pick, _NOTHING_BEFORE)
        return None
    else:
        giver = Giver(before, pick)
    return None if giver is None else Wish(names, asked, giver, where, layers, heads=heads, drawn=drawn)


def _giver(known: Known, tail: Tail, i: int, where: Path, value: Any, pick: Pick) -> Giver | None:
    """What `from` or a name means: an outside checkpoint, an earlier link, the warm-up of this cell on a task."""
    if isinstance(value, dict) or value.startswith(HUB):
        return _outside(known, where, value, pick)
    links = tail.links[:i]
    by_name = [j for j, link in enumerate(links) if link.name == value]
    if by_name:
        return Giver(by_name[-1], pick)
    by_kind = [j for j, link in enumerate(links) if link.kind == value == OWN]
    if by_kind:
        return Giver(by_kind[-1], pick)
    names = [link.name for link in links]
    for j in reversed([j for j, link in enumerate(links) if link.kind == "procedural"]):
        options, axes = _other_tasks(known, links[j], pick)
        found = options.get(value, [])
        if len(found) > 1:
            known.inspection.report(
                where, pick, f"'{value}' may mean several values of {known.inspection.spec.axes[min(axes)].name}"
            )
            return None
        if found:
            return Giver(j, found[0], axes)
        names += options
    listed = f" (known: {', '.join(dict.fromkeys(names))})" if names else ""
    known.inspection.report(where, pick, f"no earlier phase is called '{value}'{did_you_mean(value, names)}{listed}")
    return None


def _outside(known: Known, where: Path, value: Any, pick: Pick) -> Giver | None:
    found = known.checkpoints.read(where, value, pick)
    return None if found is None else Giver(outside=found.id)


def _other_tasks(known: Known, link: Link, pick: Pick) -> tuple[dict[str, list[Pick]], frozenset[int]]:
    """By the task's name, this cell with the task replaced by every value of its axis."""
    path = (*link.section, "task")
    axes = known.inspection.spec.axes
    deciding = [i for i, axis in enumerate(axes) if starts_with(path, axis.path)]
    if not deciding:
        return {label("task", known.inspection.spec.value(path, pick)): [pick]}, frozenset()
    index = deciding[0]
    group = next(group for group in known.inspection.spec.selection.groups if index in group)
    options: dict[str, list[Pick]] = {}
    for value in range(len(axes[index].values) if len(group) == 1 else axes[index].size):
        other = tuple(value if i in group and pick[i] >= 0 else pick[i] for i in range(len(pick)))
        for name in {axes[index].labels[value], label("task", known.inspection.spec.value(path, other))}:
            options.setdefault(name, []).append(other)
    return options, frozenset(group)


# What is done to it


def _perturbation(
    inspection: Inspection, tail: Tail, link: Link, pick: Pick, taken: tuple[Taken, ...], own: Family | None
) -> Perturbation | None:
    parts = EVERY if own is None else own.parts
    if warm := randomised(tail, link, taken):
        return Perturbation("random", None, whole(parts_of(warm, parts), parts))
    value = inspection.spec.value(link.perturb, pick) if link.perturb else None
    if not value or not taken:
        return None
    assert link.perturb is not None
    perturbation = Perturbation.from_json(value)
    carried = set(parts_of((one.part for one in taken), parts))
    for name in perturbation.components:
        if not _there(inspection, (*link.perturb, "components"), pick, name, own):
            continue
        if not carried.intersection(parts_of([name], parts)):
            message = f"{name} is not carried into this phase (carried: {', '.join(whole(carried, parts))})"
            inspection.report((*link.perturb, "components"), pick, message)
    return perturbation


def _there(inspection: Inspection, where: Path, pick: Pick, name: str, own: Family | None) -> bool:
    """Whether a family has weights for a name; reported where not."""
    try:
        if own is not None:
            refuse_absent([name], own)
    except TransferError as error:
        inspection.report(where, pick, str(error))
        return False
    return True


def _frozen(inspection: Inspection, link: Link, pick: Pick, own: Family | None) -> tuple[str, ...]:
    value = inspection.spec.value(link.freeze, pick) if link.freeze else None
    if not value:
        return ()
    assert link.freeze is not None
    parts = EVERY if own is None else own.parts
    known = [name for name in value if _there(inspection, link.freeze, pick, name, own)]
    frozen = parts_of(known, parts)
    if frozen == parts_of(COMPONENTS, parts):
        inspection.report(link.freeze, pick, "everything is frozen, so there is nothing left to train")
    return whole(frozen, parts)

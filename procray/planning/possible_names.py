"""The names that variants of a sweep may bear, where not enough of its file is right to plan it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from procray.planning.naming import variant_name
from procray.planning.plan import BASELINE
from procray.planning.sweep import Sweep
from procray.planning.titles import title_of
from procray.spec.cells import picks
from procray.spec.controls import kind_of
from procray.spec.paths import Path
from procray.spec.structure import Tail

_MOST = 20_000  # names of one target that are looked at


@dataclass(frozen=True)
class Named:
    """A variant by its name; `short` is that within its target, and `title` what its target's data are called."""

    name: str
    short: str
    target: str
    title: str
    is_baseline: bool = False
    control: str = ""


def possible_names(sweep: Sweep) -> list[Named] | None:
    """Every name that some variant of a sweep may have, those with all axes first; None where that cannot be said.

    Which axes matter to a variant only its phases tell, so each of them may be in a name or not.
    """
    found: list[Named] = []
    for tail in sweep.tails:
        title = _title(sweep, tail) if tail.links and not _broken(sweep, tail) else None
        axes = sorted(sweep.chains.axes_of(tail.links))
        count = math.prod(1 + len(sweep.axes[i].labels) for i in axes)
        if title is None or count * (2 + len(sweep.controls)) > _MOST:
            return None
        cold = tuple(link for link in tail.links if link.kind != "procedural")
        prefix = f"{tail.name}/" if tail.name else ""
        for text in _joined(sweep, sorted(sweep.chains.axes_of(cold, bare=True))):
            short = "/".join(filter(None, [BASELINE, text]))
            found.append(Named(prefix + short, short, tail.name, title, is_baseline=True))
        nothing = variant_name(sweep, tail, tuple(-1 for _ in sweep.axes), baseline=False).removeprefix(prefix)
        for text in _joined(sweep, axes):
            short = text or nothing
            found.append(Named(prefix + short, short, tail.name, title))
            for kind in map(kind_of, sweep.controls):
                found.append(Named(f"{prefix}{short}/{kind}", f"{short}/{kind}", tail.name, title, control=kind))
    return found or None


def _joined(sweep: Sweep, axes: list[int]) -> list[str]:
    """Every choice of labels of some axes, in their order, the longest first."""
    choices = itertools.product(*(["", *sweep.axes[i].labels] for i in axes))
    return ["/".join(filter(None, parts)) for parts in sorted(choices, key=lambda parts: parts.count(""))]


def _broken(sweep: Sweep, tail: Tail) -> bool:
    """Whether something that names stand for is wrong, and so is not known."""
    axes = sweep.chains.axes_of(tail.links)
    if axes:  # then names are made of their values alone
        return any(value is None for i in axes for value in sweep.axes[i].values)
    told: list[Path] = [(*link.section, "task") for link in tail.links if link.kind == "procedural"]
    told += [path for link in tail.links for path in (link.transfer, link.perturb, link.freeze) if path]
    anywhere = tuple(-1 for _ in sweep.axes)
    return any(sweep.value(path, anywhere) is None and sweep.written(path, anywhere) for path in told)


def _title(sweep: Sweep, tail: Tail) -> str | None:
    """What the data of a tail's compared phase are called; None where nobody can know."""
    link = tail.links[tail.compared]
    for pick in picks(sweep.axes, sweep.selection, sweep.chains.relevance.own(link), tail.target)[:1]:
        section = sweep.section(link, pick)
        source = sweep.chains.data.read(link, section, pick) if isinstance(section, dict) else None
        return title_of(source.recipe) if source is not None and source.recipe else None
    return None

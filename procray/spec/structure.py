"""A sweep file after reading: its settings, its axes, and the chains of phases that it describes.

Plain data: what its phases are and mean is said by `procray.planning`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from procray.errors import Problem
from procray.spec.axes import Axis, Path, Pick, Selection, drop, get, put, related, starts_with
from procray.spec.tree import Node, Place
from procray.training.recipe import Kind


@dataclass(frozen=True, eq=False)
class Link:
    """One phase of a chain, by where the file describes it. Equal only to itself, so that it is a quick key."""

    kind: Kind
    name: str  # the kind unless the file names it
    section: Path
    models: tuple[Path, ...]  # the sweep's model and what overrides it, weakest first
    transfer: Path | None  # where the mode stands; None where nothing says it
    freeze: Path | None = None
    perturb: Path | None = None


@dataclass(frozen=True)
class Tail:
    """A chain from its first warm-up to its end. `name` is empty where the sweep has only one."""

    name: str
    target: str  # the name under targets, also of the only one
    links: tuple[Link, ...]
    compared: int  # the link whose curve is the result


@dataclass(frozen=True)
class Search:
    """What `select:` asks: the axes whose best value is chosen for every variant, and the seeds to choose on."""

    axes: frozenset[int]
    seeds: tuple[int, ...]
    by: str = "best"


@dataclass
class SweepSpec:
    """A valid sweep at one scale.

    Attributes:
        base: the checked and converted settings, every grid at its first value.
        resolved: the settings as written, overlays applied, grids kept.
        source: the text of the file.
    """

    name: str
    scale: str
    scales: list[str]
    setting: str
    question: str
    seeds: list[int]
    matched: list[float]
    resources: dict[str, Any]
    retries: int
    published: list[dict[str, Any]]
    tails: list[Tail]
    axes: list[Axis]
    selection: Selection
    base: dict[str, Any]
    resolved: dict[str, Any]
    source: str
    file: str
    root: Node = field(repr=False)
    search: Search | None = None

    def relevant(self, path: Path) -> frozenset[int]:
        """The axes that change the value at a path."""
        return frozenset(i for i, axis in enumerate(self.axes) if related(axis.path, path))

    def value(self, path: Path, pick: Pick) -> Any:
        """The converted value at a path in one cell, None where there is none."""
        value = get(self.base, path)
        for axis, index in zip(self.axes, pick, strict=True):
            if index < 0:
                continue
            if starts_with(path, axis.path):
                value = get(axis.values[index], path[len(axis.path) :])
            elif starts_with(axis.path, path):
                below = axis.path[len(path) :]
                wrong = axis.values[index] is None  # as if it were not written
                value = drop(value, below) if wrong else put(value, below, axis.values[index])
        return value

    def written(self, path: Path, pick: Pick) -> bool:
        """Whether the file has something at a path, be it wrong."""
        return find(self.root, path, self._chosen(pick)) is not None

    def _chosen(self, pick: Pick) -> dict[Path, Node]:
        return {axis.path: axis.nodes[max(i, 0)] for axis, i in zip(self.axes, pick, strict=True)}

    def place(self, path: Path, pick: Pick) -> Place:
        """Where the value at a path was written; the nearest section above it where it was not."""
        return locate(self.root, path, self._chosen(pick))

    def problem(self, path: Path, pick: Pick, message: str) -> Problem:
        """A problem with the value at a path in one cell."""
        name = ".".join(map(str, path))
        for axis in self.axes:
            if axis.path == path:
                name = axis.name
        return self.place(path, pick).problem(f"{name}: {message}" if name else message)


def locate(root: Node, path: Path, chosen: dict[Path, Node], *, key: bool = False) -> Place:
    """The place of a scalar; of the key of a section; of the nearest section above what is missing.

    Args:
        chosen: by the path of every grid, the value of it that is meant.
        key: the place of the last key in any case.
    """
    node, nearest = root, root.place
    for depth, part in enumerate(path):
        if node.is_grid and path[:depth] in chosen:
            node = chosen[path[:depth]]
            nearest = node.place
        if isinstance(node.value, dict) and part in node.value:
            nearest = node.keys[str(part)]
            node = node.value[str(part)]
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            nearest = node.place
        else:
            return nearest
    if key:
        return nearest
    if node.is_grid and path in chosen:
        return chosen[path].place
    return nearest if isinstance(node.value, dict | list) else node.place


def find(root: Node, path: Path, chosen: dict[Path, Node]) -> Node | None:
    """What was written at a path, where the grids above it have the chosen values."""
    node = root
    for depth, part in enumerate(path):
        if node.is_grid and path[:depth] in chosen:
            node = chosen[path[:depth]]
        if isinstance(node.value, dict) and part in node.value:
            node = node.value[str(part)]
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            return None
    return node


def read_tails(base: dict[str, Any]) -> list[Tail]:
    """The chains of a sweep, whose `compared` still is the last link that is not procedural."""
    if "chain" in base:
        links = tuple(link for i, item in enumerate(base["chain"]) if (link := _chain_link(i, item)))
        return [Tail("", "", links, _last(links))]
    warm: tuple[Link, ...] = ()
    if "procedural" in base:
        warm = (Link("procedural", "procedural", ("procedural",), (("model",), ("procedural", "model")), None),)
    if "targets" in base:
        tails = []
        for i, target in enumerate(base["targets"]):
            prefix: Path = ("targets", i)
            links = warm + _tail_links(prefix, target)
            name = target.get("name", str(i))
            tails.append(Tail(name if len(base["targets"]) > 1 else "", name, links, _last(links)))
        return tails
    links = warm + _tail_links((), base)
    return [Tail("", "", links, _last(links))]


def _tail_links(prefix: Path, section: dict[str, Any]) -> tuple[Link, ...]:
    models: tuple[Path, ...] = (("model",), (*prefix, "model")) if prefix else (("model",),)
    links: list[Link] = []
    kinds: tuple[Kind, ...] = ("semantic", "diagnostic", "finetune")
    for kind in kinds:
        if kind in section:
            path: Path = (*prefix, kind)
            # Of a fine-tuning the settings stand in its section; else in the target, or else they are the sweep's.
            start = [
                (*(path if kind == "finetune" else prefix if key in section else ()), key)
                for key in ("transfer", "freeze", "perturb")
            ]
            links.append(Link(kind, kind, path, (*models, (*path, "model")), *start))
    return tuple(links)


def _chain_link(i: int, item: dict[str, Any]) -> Link | None:
    kinds: tuple[Kind, ...] = ("procedural", "semantic", "diagnostic", "finetune")
    kind = next((kind for kind in kinds if kind in item), None)
    if kind is None:
        return None  # reported where the structure is checked
    path: Path = ("chain", i, kind)
    return Link(kind, item.get("name", kind), path, (("model",), (*path, "model")),
                *(("chain", i, key) for key in ("transfer", "freeze", "perturb")))  # fmt: skip


def _last(links: tuple[Link, ...]) -> int:
    return max((i for i, link in enumerate(links) if link.kind != "procedural"), default=len(links) - 1)

"""A sweep file after reading: its settings, its axes, and the chains of phases that it describes.

Plain data: what its phases are and mean is said by `procray.planning`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path as FolderPath
from typing import Any

from procray.errors import Problem
from procray.spec.axes import Axis
from procray.spec.cells import Pick, Selection
from procray.spec.controls import Control
from procray.spec.paths import Path, drop, find, get, locate, put, related, starts_with
from procray.spec.tree import Node, Place
from procray.spec.written import one_mixture
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
    control: Control[Link] | None = field(default=None, kw_only=True)  # what a control changes of this phase
    among: Link | None = field(default=None, kw_only=True)  # procedural data that stand among the text of this phase
    symbols_of: Link | None = field(default=None, kw_only=True)  # procedural data whose symbols have rows in its model


@dataclass(frozen=True)
class Tail:
    """A chain from its first warm-up to its end. `name` is empty where the sweep has only one.

    Attributes:
        control: which control it is; empty for a chain of the file.
        controls: what `controls:` adds to it; see `procray.spec.tails.add_controls`.
        of: the chain that it is a control of; None for a chain of the file.
    """

    name: str
    target: str  # the name under targets, also of the only one
    links: tuple[Link, ...]
    compared: int  # the link whose curve is the result
    control: str = ""
    controls: tuple[Tail, ...] = ()
    of: Tail | None = None


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
        donors: the seeds of the warm-ups, each with every seed; empty where each target's warm-up has its seed.
        controls: what every warmed-up variant is compared with too, as the file lists it.
        base: the checked and converted settings, every grid at its first value.
        resolved: the settings as written, overlays applied, grids kept.
        source: the text of the file.
        file: its absolute path, empty where nobody knows it.
        folder: where its relative paths and patterns start, in the file, in overlays and in `--set` alike.
        settings: what `--set` changed, as a short name that no other change of this sweep has; empty for nothing.
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
    folder: FolderPath
    root: Node = field(repr=False)
    search: Search | None = None
    settings: str = ""
    donors: list[int] = field(default_factory=list)
    controls: list[str | dict[str, Any]] = field(default_factory=list)

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
        # Only now are all weights of a mixture known, of which each may have a grid of its own.
        if path and path[-1] == "task":
            return one_mixture(value)
        if isinstance(value, dict) and isinstance(value.get("task"), dict):
            return {**value, "task": one_mixture(value["task"])}
        return value

    def section(self, link: Link, pick: Pick) -> Any:
        """The converted settings of a phase in one cell, with what a control changes of them."""
        section = self.value(link.section, pick)
        if link.control is None or not isinstance(section, dict):
            return section
        return link.control.rewrite(section, link.kind == "procedural", lambda one: self.value(one.section, pick))

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

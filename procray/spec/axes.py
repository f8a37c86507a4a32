"""Axes: where a sweep file writes `grid:`, and by which names the file speaks of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from procray.errors import Problem, did_you_mean
from procray.spec.paths import Path, dotted
from procray.spec.tree import Node, Place, plain
from procray.spec.written import meaning, show

MOST_VALUES = 5_000  # of all grids of a file; each is checked with the whole file


@dataclass
class Axis:
    """One `grid:`. Values after the first `size` come from `include:` and belong to no product."""

    path: Path
    name: str  # dotted, with the names of targets and links
    place: Place
    nodes: list[Node]
    size: int
    values: list[Any] = field(default_factory=list)  # checked and converted; None for a wrong one
    labels: list[str] = field(default_factory=list)

    @property
    def varies(self) -> bool:
        return len(self.nodes) > 1


def find_axes(root: Node, allowed: tuple[str, ...]) -> tuple[list[Axis], dict[str, Path], list[Problem]]:
    """Every grid below the `allowed` keys of the root, in document order; grids elsewhere are problems.

    Returns:
        The axes, by dotted name the paths of grids that cannot be used, and the problems.
    """
    broken: dict[str, Path] = {}
    axes: list[Axis] = []
    problems: list[Problem] = []

    def holds_grid(node: Node, message: str) -> bool:
        if node.is_grid:
            problems.append(node.keys["grid"].problem(message))
        inner = [holds_grid(child, message) for child in _children(node)]
        return node.is_grid or any(inner)

    def walk(node: Node, path: Path) -> None:
        if not node.is_grid:
            if isinstance(node.value, dict):
                for key, child in node.value.items():
                    walk(child, (*path, key))
            elif isinstance(node.value, list):
                for i, child in enumerate(node.value):
                    walk(child, (*path, i))
            return
        here, name = node.keys["grid"], dotted(root, path)
        problems.extend(
            node.keys[key].problem(f"{name}: '{key}' stands beside 'grid', which stands alone")
            for key in node.value
            if key != "grid"
        )
        values = node.value["grid"]
        bare = len(path) == 1 and path[0] in ("targets", "chain")
        if path[0] not in allowed or bare or isinstance(path[-1], int) or "resources" in path or path[-1] == "name":
            problems.append(here.problem(f"{name}: a grid cannot stand here"))
        elif not isinstance(values.value, list):
            problems.append(values.place.problem(f"{name}: expected a list of values after 'grid'"))
        elif not values.value:
            problems.append(values.place.problem(f"{name}: an empty grid: give at least one value"))
        else:
            kept: list[Node] = []
            seen: set[Any] = set()
            for value in values.value:
                if holds_grid(value, f"{name}: a grid inside a grid"):
                    continue
                if value.value is None:
                    problems.append(value.place.problem(f"{name}: a value of the grid is missing"))
                elif meaning(plain(value)) in seen:
                    problems.append(value.place.problem(f"{name}: {show(plain(value))} stands here twice"))
                else:
                    kept.append(value)
                    seen.add(meaning(plain(value)))
            if kept:
                axes.append(Axis(path, name, here, kept, len(kept)))
                return
        broken[name] = path

    walk(root, ())
    if sum(len(axis.nodes) for axis in axes) > MOST_VALUES:
        widest = max(axes, key=lambda axis: len(axis.nodes))
        total = sum(len(axis.nodes) for axis in axes)
        problems.append(
            widest.place.problem(f"the grids hold {total:,} values, and at most {MOST_VALUES:,} are planned")
        )
        broken |= {axis.name: axis.path for axis in axes}
        axes = []
    return axes, broken, problems


def _children(node: Node) -> list[Node]:
    if isinstance(node.value, dict):
        return list(node.value.values())
    return node.value if isinstance(node.value, list) else []


def find_axis(axes: list[Axis], name: str) -> int | str:
    """The index of the axis of that dotted name or unambiguous ending; else a message."""
    exact = [i for i, axis in enumerate(axes) if name in (axis.name, ".".join(map(str, axis.path)))]
    if exact:
        return exact[0]
    ending = [i for i, axis in enumerate(axes) if axis.name.endswith("." + name)]
    if len(ending) == 1:
        return ending[0]
    names = [axis.name for axis in axes]
    if ending:
        return f"'{name}' may mean {' or '.join(names[i] for i in ending)}"
    listed = f" (axes: {', '.join(names)})" if names else " (the sweep has no grid)"
    return f"no axis '{name}'{did_you_mean(name, names)}{listed}"


def find_axes_of_targets(axes: list[Axis], name: str, preferred: frozenset[int]) -> frozenset[int] | str:
    """As `find_axis`, but a short name may mean one axis of each of several targets, all of them then.

    Args:
        preferred: where the name has several meanings, those among these axes are meant.
    """
    found = find_axis(axes, name)
    if isinstance(found, int):
        return frozenset([found])
    ending = [i for i, axis in enumerate(axes) if axis.name.endswith("." + name)]
    meant = [i for i in ending if i in preferred] or ending
    targets = [axes[i].path[1] for i in meant if axes[i].path[0] == "targets"]
    if len(meant) == 1 or (meant and len(set(targets)) == len(targets) == len(meant)):
        return frozenset(meant)
    return found

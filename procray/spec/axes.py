"""Axes: where a sweep file writes `grid:`, and by which names the file speaks of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def find_axes(root: Node, allowed: tuple[str, ...]) -> tuple[list[Axis], dict[str, Path], list[Problem]]:
    """Every grid below the `allowed` keys of the root, in document order; grids elsewhere are problems.

    Returns:
        The axes, by dotted name the paths of grids that cannot be used, and the problems.
    """
    axes: list[Axis] = []
    broken: dict[str, Path] = {}
    problems: list[Problem] = []
    for path, node in _grids(root, ()):
        name = dotted(root, path)
        values = _read_grid(node, path, name, allowed, problems)
        if values:
            axes.append(Axis(path, name, node.keys["grid"], values, len(values)))
        else:
            broken[name] = path
    total = sum(len(axis.nodes) for axis in axes)
    if total > MOST_VALUES:
        widest = max(axes, key=lambda axis: len(axis.nodes))
        message = f"the grids hold {total:,} values, and at most {MOST_VALUES:,} are planned"
        return [], broken | {axis.name: axis.path for axis in axes}, [*problems, widest.place.problem(message)]
    return axes, broken, problems


def _grids(node: Node, path: Path) -> Iterator[tuple[Path, Node]]:
    """The outermost grids below a node, in document order."""
    if node.is_grid:
        yield path, node
        return
    for part, child in _children(node):
        yield from _grids(child, (*path, part))


def _children(node: Node) -> Iterable[tuple[str | int, Node]]:
    if isinstance(node.value, dict):
        return node.value.items()
    return enumerate(node.value) if isinstance(node.value, list) else ()


def _read_grid(
    node: Node, path: Path, name: str, allowed: tuple[str, ...], problems: list[Problem]
) -> list[Node] | None:
    """The values of one grid; None, or none, where it cannot be used."""
    problems.extend(
        node.keys[key].problem(f"{name}: '{key}' stands beside 'grid', which stands alone")
        for key in node.value
        if key != "grid"
    )
    values = node.value["grid"]
    bare = len(path) == 1 and path[0] in ("targets", "chain")
    if path[0] not in allowed or bare or isinstance(path[-1], int) or "resources" in path or path[-1] == "name":
        problems.append(node.keys["grid"].problem(f"{name}: a grid cannot stand here"))
        return None
    if not isinstance(values.value, list):
        problems.append(values.place.problem(f"{name}: expected a list of values after 'grid'"))
        return None
    if not values.value:
        problems.append(values.place.problem(f"{name}: an empty grid: give at least one value"))
    kept: list[Node] = []
    seen: set[Any] = set()
    for value in values.value:
        inner = list(_grids_below(value))
        if inner:
            problems.extend(grid.keys["grid"].problem(f"{name}: a grid inside a grid") for grid in inner)
        elif value.value is None:
            problems.append(value.place.problem(f"{name}: a value of the grid is missing"))
        elif meaning(plain(value)) in seen:
            problems.append(value.place.problem(f"{name}: {show(plain(value))} stands here twice"))
        else:
            kept.append(value)
            seen.add(meaning(plain(value)))
    return kept


def _grids_below(node: Node) -> Iterator[Node]:
    """Every grid in a node, also those inside other grids."""
    if node.is_grid:
        yield node
    for _, child in _children(node):
        yield from _grids_below(child)


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

"""Axes: the values written as `grid:`, and the cells that they span.

A *pick* is one cell without its seed: for every axis the index of its value, or -1 where the axis
does not matter.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from procray.errors import Problem, did_you_mean
from procray.spec.counts import parse_count
from procray.spec.tree import Node, Place, plain

MOST_VALUES = 5_000  # of all grids of a file; each is checked with the whole file
MOST_CELLS = 2_000_000  # seeds included; 100,000 take some seconds and half a gigabyte

Path = tuple[str | int, ...]
Pick = tuple[int, ...]


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


def starts_with(path: Path, prefix: Path) -> bool:
    return path[: len(prefix)] == prefix


def related(axis: Path, section: Path) -> bool:
    """Whether an axis at one path changes the value at another."""
    return starts_with(axis, section) or starts_with(section, axis)


def dotted(root: Node, path: Path) -> str:
    """`targets.code.semantic.tokens`: entries of a list by their name where they have one."""
    parts, node = [], root
    for part in path:
        child = _child(node, part)
        name = str(part)
        if isinstance(part, int) and child is not None and child.is_mapping and "name" in child.value:
            name = str(child.value["name"].value)
        parts.append(name)
        if child is None:
            child = Node(None, node.place)
        node = child
    return ".".join(parts)


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node.value, dict) and part in node.value:
        return node.value[part]
    if isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
        return node.value[part]
    return None


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


def meaning(value: Any) -> Any:
    """Equal for values that mean the same: `2M` and 2000000."""
    if isinstance(value, bool | dict | list) or value is None:
        return json.dumps(value, sort_keys=True)
    try:
        return parse_count(value)
    except ValueError:
        return value


def show(value: Any) -> str:
    """A value as one would write it in the file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {show(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(show(child) for child in value) + "]"
    if isinstance(value, str):
        return f"'{value}'"
    return "null" if value is None else f"{value!r}"


def resolve(node: Node) -> Any:
    """Plain data with every grid replaced by its first value; without the grids that have none."""
    if node.is_grid:
        values = node.value["grid"].value
        return resolve(values[0]) if isinstance(values, list) and values else None
    if isinstance(node.value, dict):
        data = {key: resolve(child) for key, child in node.value.items()}
        return {key: value for key, value in data.items() if value is not None}
    if isinstance(node.value, list):
        return [resolve(child) for child in node.value]
    return node.value


def get(data: Any, path: Path) -> Any:
    """The value at a path of plain data, None where there is none."""
    for part in path:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def put(data: Any, path: Path, value: Any) -> Any:
    """A copy of plain data with `value` at a path; what is not on the path is shared."""
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(data, list):
        assert isinstance(head, int)
        return [*data[:head], put(data[head], rest, value), *data[head + 1 :]]
    base = data if isinstance(data, dict) else {}
    return {**base, head: put(base.get(head), rest, value)}


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


def drop(data: Any, path: Path) -> Any:
    """A copy of plain data without what stands at a path; an entry of a list becomes an empty mapping."""
    if not path:
        return {}
    head, rest = path[0], path[1:]
    if isinstance(data, list) and isinstance(head, int) and head < len(data):
        return [*data[:head], drop(data[head], rest), *data[head + 1 :]]
    if not isinstance(data, dict) or head not in data:
        return data
    if not rest:
        return {key: value for key, value in data.items() if key != head}
    return {**data, head: drop(data[head], rest)}


@dataclass
class Entry:
    """One line of `exclude:` or `include:`: by axis, indices of its values; and the tails that it is about."""

    values: dict[int, list[int]]
    targets: list[str] | None  # None: all

    def applies(self, relevant: frozenset[int], target: str) -> bool:
        return self.values.keys() <= relevant and (self.targets is None or target in self.targets)


@dataclass
class Selection:
    """What `zip:`, `exclude:` and `include:` say."""

    groups: list[tuple[int, ...]]  # every axis in exactly one, in document order
    exclude: list[Entry]
    include: list[Entry]


def read_selection(root: Node, axes: list[Axis], broken: Iterable[str]) -> tuple[Selection, list[Problem]]:
    """Reads `zip`, `include` and `exclude`; values that `include` adds are appended to their axes.

    Names of `broken` grids are passed over: they have been reported.
    """
    problems: list[Problem] = []
    groups = _read_zip(root, axes, broken, problems)
    include = _read_entries(root, "include", axes, broken, problems)
    for entry, node in include:
        _check_zipped(entry, node, axes, groups, problems)
    exclude = _read_entries(root, "exclude", axes, broken, problems)
    return Selection(groups, [entry for entry, _ in exclude], [entry for entry, _ in include]), problems


def _check_zipped(
    entry: Entry, node: Node, axes: list[Axis], groups: list[tuple[int, ...]], problems: list[Problem]
) -> None:
    member = {axis: group for group in groups for axis in group}
    for i, indices in entry.values.items():
        for other in member[i]:
            if other in entry.values and len(entry.values[other]) != len(indices):
                problems.append(
                    node.place.problem(f"include: {axes[i].name} is zipped with {axes[other].name}: give equally many")
                )
            elif other not in entry.values and max(indices) >= axes[other].size:
                problems.append(
                    node.place.problem(
                        f"include: {axes[i].name} is zipped with {axes[other].name}: a new value of one needs a value"
                        " of the other"
                    )
                )


def _read_zip(root: Node, axes: list[Axis], broken: Iterable[str], problems: list[Problem]) -> list[tuple[int, ...]]:
    node = root.value.get("zip")
    zipped: list[tuple[int, ...]] = []
    taken: set[int] = set()
    lists: list[Node] = []
    if node is not None and isinstance(node.value, list):
        flat = bool(node.value) and all(isinstance(item.value, str) for item in node.value)
        lists = [node] if flat else node.value
    for group in lists:
        if not isinstance(group.value, list) or not all(isinstance(item.value, str) for item in group.value):
            problems.append(group.place.problem("zip: expected lists of axes, such as [[procedural.length, transfer]]"))
            continue
        indices: list[int] = []
        for item in group.value:
            found = find_axis(axes, item.value)
            if isinstance(found, str) and any(name.endswith(item.value) for name in broken):
                continue
            if isinstance(found, str):
                problems.append(item.place.problem(f"zip: {found}"))
            elif found in taken:
                problems.append(item.place.problem(f"zip: {axes[found].name} stands here twice"))
            else:
                taken.add(found)
                indices.append(found)
        sizes = {axes[i].size for i in indices}
        if len(sizes) > 1:
            listed = ", ".join(f"{axes[i].name} has {axes[i].size}" for i in indices)
            problems.append(group.place.problem(f"zip: axes that go together need equally many values; {listed}"))
        elif indices:
            zipped.append(tuple(sorted(indices)))
    zipped += [(i,) for i in range(len(axes)) if not any(i in group for group in zipped)]
    return sorted(zipped)


def _read_entries(
    root: Node, key: str, axes: list[Axis], broken: Iterable[str], problems: list[Problem]
) -> list[tuple[Entry, Node]]:
    node = root.value.get(key)
    if node is None or not isinstance(node.value, list):
        return []  # the wrong type is reported by the models
    entries: list[tuple[Entry, Node]] = []
    for item in node.value:
        if not item.is_mapping or not item.value:
            problems.append(item.place.problem(f"{key}: expected a mapping of axes to values"))
            continue
        entry = Entry({}, None)
        for name, value in item.value.items():
            choices = value.value if isinstance(value.value, list) else [value]
            if name == "target":
                entry.targets = _read_targets(root, key, choices, problems)
                continue
            found = find_axis(axes, name)
            if isinstance(found, str):
                if not any(other.endswith(name) for other in broken):
                    problems.append(item.keys[name].problem(f"{key}: {found}"))
                continue
            indices = [_read_value(key, axes[found], choice, problems) for choice in choices]
            if any(index is not None for index in indices):
                entry.values[found] = [index for index in indices if index is not None]
        if entry.values:
            entries.append((entry, item))
    return entries


def _read_targets(root: Node, key: str, choices: list[Node], problems: list[Problem]) -> list[str]:
    targets = root.value.get("targets")
    items = targets.value if targets is not None and isinstance(targets.value, list) else []
    known = [str(item.value["name"].value) for item in items if item.is_mapping and "name" in item.value]
    for choice in choices:
        if choice.value not in known:
            problems.append(
                choice.place.problem(f"{key}: no target '{choice.value}'{did_you_mean(str(choice.value), known)}")
            )
    return [str(choice.value) for choice in choices]


def _read_value(key: str, axis: Axis, choice: Node, problems: list[Problem]) -> int | None:
    """The index of a value of an axis; `include` adds the values that are new."""
    wanted = meaning(plain(choice))
    index = next((i for i, node in enumerate(axis.nodes) if meaning(plain(node)) == wanted), None)
    if index is None and key == "include":
        axis.nodes.append(choice)
        return len(axis.nodes) - 1
    if index is None:
        known = [show(plain(node)).strip("'") for node in axis.nodes]
        value = show(plain(choice)).strip("'")
        problems.append(
            choice.place.problem(
                f"{key}: {axis.name} has no value '{value}'{did_you_mean(value, known)}"
                f" (values: {', '.join(known[:20])})"
            )
        )
    return index


def picks(axes: list[Axis], selection: Selection, relevant: frozenset[int], target: str) -> list[Pick]:
    """The cells of a tail over the axes that matter to it: the product, minus `exclude`, plus `include`."""
    exclude = [
        {i: set(indices) for i, indices in entry.values.items()}
        for entry in selection.exclude
        if entry.applies(relevant, target)
    ]
    found: dict[Pick, None] = {}
    groups = [group for group in selection.groups if relevant.intersection(group)]
    for pick in _product(axes, groups, relevant, {}):
        if not any(all(pick[i] in gone for i, gone in entry.items()) for entry in exclude):
            found[pick] = None
    for entry in selection.include:
        if entry.applies(relevant, target):
            for pick in _product(axes, groups, relevant, entry.values):
                found[pick] = None
    return list(found)


def combinations(axes: list[Axis], selection: Selection, relevant: frozenset[int]) -> int:
    """How many cells `picks` looks at before `exclude` and `include`."""
    return math.prod(axes[group[0]].size for group in selection.groups if relevant.intersection(group))


def _product(
    axes: list[Axis], groups: list[tuple[int, ...]], relevant: frozenset[int], fixed: dict[int, list[int]]
) -> Iterator[Pick]:
    rows: list[list[tuple[tuple[int, int], ...]]] = []
    for group in groups:
        named = [i for i in group if i in fixed]
        length = len(fixed[named[0]]) if named else axes[group[0]].size
        options: list[tuple[tuple[int, int], ...]] = []
        for row in range(length):
            default = fixed[named[0]][row] if named else row
            options.append(tuple((i, fixed[i][row] if i in fixed else default) for i in group if i in relevant))
        rows.append(options)
    for combination in itertools.product(*rows):
        pick = [-1] * len(axes)
        for row_values in combination:
            for i, value in row_values:
                pick[i] = value
        yield tuple(pick)

"""Axes: the values written as `grid:`, and the cells that they span.

A *pick* is one cell without its seed: for every axis the index of its value, or -1 where the axis
does not matter.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from procray.errors import Problem, did_you_mean
from procray.sweep.counts import format_count, parse_count
from procray.sweep.source import Node, Place, plain

Path = tuple[str | int, ...]
Pick = tuple[int, ...]

# Keys whose values are counts of tokens, shown without their key in a variant's name.
_TOKENS = ("tokens", "batch_tokens", "every", "warmup")


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


def find_axes(root: Node, allowed: tuple[str, ...]) -> tuple[list[Axis], set[str], list[Problem]]:
    """Every grid below the `allowed` keys of the root, in document order; grids elsewhere are problems.

    Returns:
        The axes, the dotted names of grids without a usable value, and the problems.
    """
    broken: set[str] = set()
    axes: list[Axis] = []
    problems: list[Problem] = []

    def refuse_grids(node: Node, message: str) -> None:
        if node.is_grid:
            problems.append(node.keys["grid"].problem(message))
        for child in _children(node):
            refuse_grids(child, message)

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
                refuse_grids(value, f"{name}: a grid inside a grid")
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
        broken.add(name)

    walk(root, ())
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
class Selection:
    """What `zip:`, `exclude:` and `include:` say, by index of axis and value."""

    groups: list[tuple[int, ...]]  # every axis in exactly one, in document order
    exclude: list[dict[int, set[int]]]
    include: list[dict[int, list[int]]]


def read_selection(root: Node, axes: list[Axis], broken: set[str]) -> tuple[Selection, list[Problem]]:
    """Reads `zip`, `include` and `exclude`; values that `include` adds are appended to their axes.

    Names of `broken` grids are passed over: they have been reported.
    """
    problems: list[Problem] = []
    groups = _read_zip(root, axes, broken, problems)
    member = {axis: group for group in groups for axis in group}
    include: list[dict[int, list[int]]] = []
    for entry in _entries(root, "include", problems):
        found: dict[int, list[int]] = {}
        for i, choices in _read_entry(entry, axes, broken, problems):
            found[i] = []
            for choice in choices:
                index = _value_index(axes[i], choice)
                if index is None:
                    axes[i].nodes.append(choice)
                    index = len(axes[i].nodes) - 1
                found[i].append(index)
        for i, indices in list(found.items()):
            for other in member[i]:
                if other in found and len(found[other]) != len(indices):
                    problems.append(entry.place.problem(f"include: {axes[i].name} and {axes[other].name} are zipped"))
                elif other not in found and max(indices) >= axes[other].size:
                    problems.append(
                        entry.place.problem(
                            f"include: {axes[i].name} is zipped with {axes[other].name}, so a new value of one"
                            " needs a value of the other"
                        )
                    )
        include.append(found)
    exclude: list[dict[int, set[int]]] = []
    for entry in _entries(root, "exclude", problems):
        gone: dict[int, set[int]] = {}
        for i, choices in _read_entry(entry, axes, broken, problems):
            gone[i] = set()
            for choice in choices:
                index = _value_index(axes[i], choice)
                if index is None:
                    known = [show(plain(node)).strip("'") for node in axes[i].nodes]
                    value = show(plain(choice)).strip("'")
                    problems.append(
                        choice.place.problem(
                            f"exclude: {axes[i].name} has no value '{value}'{did_you_mean(value, known)}"
                            f" (values: {', '.join(known[:20])})"
                        )
                    )
                else:
                    gone[i].add(index)
        if gone:
            exclude.append(gone)
    return Selection(groups, exclude, [entry for entry in include if entry]), problems


def _read_zip(root: Node, axes: list[Axis], broken: set[str], problems: list[Problem]) -> list[tuple[int, ...]]:
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


def _entries(root: Node, key: str, problems: list[Problem]) -> list[Node]:
    node = root.value.get(key)
    if node is None or not isinstance(node.value, list):
        return []  # the wrong type is reported by the models
    entries = []
    for entry in node.value:
        if entry.is_mapping and entry.value:
            entries.append(entry)
        else:
            problems.append(entry.place.problem(f"{key}: expected a mapping of axes to values"))
    return entries


def _read_entry(
    entry: Node, axes: list[Axis], broken: set[str], problems: list[Problem]
) -> Iterator[tuple[int, list[Node]]]:
    for name, value in entry.value.items():
        found = find_axis(axes, name)
        if isinstance(found, str) and any(other.endswith(name) for other in broken):
            continue
        if isinstance(found, str):
            problems.append(entry.keys[name].problem(found))
        else:
            yield found, (value.value if isinstance(value.value, list) else [value])


def _value_index(axis: Axis, value: Node) -> int | None:
    wanted = meaning(plain(value))
    return next((i for i, node in enumerate(axis.nodes) if meaning(plain(node)) == wanted), None)


def picks(axes: list[Axis], selection: Selection, relevant: frozenset[int]) -> list[Pick]:
    """The cells over the relevant axes, in document order: the product, minus `exclude`, plus `include`."""
    exclude = [entry for entry in selection.exclude if entry.keys() <= relevant]
    found: dict[Pick, None] = {}
    groups = [group for group in selection.groups if relevant.intersection(group)]
    for pick in _product(axes, groups, relevant, {}):
        if not any(all(pick[i] in gone for i, gone in entry.items()) for entry in exclude):
            found[pick] = None
    for entry in selection.include:
        if entry.keys() <= relevant:
            for pick in _product(axes, groups, relevant, entry):
                found[pick] = None
    return list(found)


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


def name_values(axes: list[Axis]) -> None:
    """Gives every value of every axis the short label that stands in names of variants."""
    for i, axis in enumerate(axes):
        key = str(axis.path[-1])
        clash = any(other.path[-1] == key and other.varies for other in axes[:i])
        section = next((part for part in reversed(axis.path[:-1]) if isinstance(part, str) and part != "optimizer"), "")
        prefix = f"{section}-" if clash else ""
        common = _common(axis.values)
        labels = [prefix + label(key, value, common) for value in axis.values]
        axis.labels = [f"{text}-{n}" if labels.count(text) > 1 else text for n, text in enumerate(labels, 1)]


def _common(values: list[Any]) -> dict[str, Any]:
    """The entries that all of several mappings share: they tell nothing apart."""
    if len(values) < 2 or not all(isinstance(value, dict) for value in values):
        return {}
    return {
        key: value for key, value in values[0].items() if all(other.get(key, other) == value for other in values[1:])
    }


def label(key: str, value: Any, common: dict[str, Any] | None = None) -> str:
    """A short name of one value: `L64`, `L2-24`, `2M`, `lr5e-4`, `full`, `attention=set,mlp=eca`."""
    text = _label(key, value, common or {})
    return re.sub(r"[^A-Za-z0-9._+=,-]+", "-", text)


def _label(key: str, value: Any, common: dict[str, Any]) -> str:
    if isinstance(value, bool):
        return key if value else f"no-{key}"
    if isinstance(value, str):
        return value
    if key == "length":
        return f"L{_length(value)}"
    if key in _TOKENS and isinstance(value, int):
        return format_count(value)
    if isinstance(value, int | float):
        return key + short_number(value)
    if isinstance(value, list):
        return "-".join(_label(key, item, {}) for item in value)
    if not isinstance(value, dict):
        return f"{key}{value}"
    if key == "transfer":
        return ",".join(f"{component}={parent}" for component, parent in value.items())
    if "mixture" in value:
        return "+".join(f"{name}{short_number(weight)}" for name, weight in value["mixture"].items())
    if "shuffled" in value:
        return f"shuffled-{_label(key, value['shuffled'], {})}"
    for name in ("hf", "name"):  # corpora
        if name in value:
            return str(value[name])
    parts = [_label(name, child, {}) for name, child in value.items() if name not in common]
    return "-".join(parts) or key


def _length(value: Any) -> str:
    if isinstance(value, dict):
        low = value.get("min", value.get("start", "?"))
        return f"{low}{'-' if 'min' in value else '..'}{value.get('max', '?')}"
    return str(value)


def short_number(value: int | float) -> str:
    """`5e-4`, `0.1`, `3`."""
    if isinstance(value, int) or value.is_integer():
        return str(int(value))
    text = f"{value:g}"
    plainly = text if "e" not in text else re.sub(r"e([+-])0*", lambda m: "e" + m[1].replace("+", ""), text)
    if abs(value) < 0.01 and "e" not in plainly:
        mantissa, exponent = f"{value:e}".split("e")
        plainly = f"{float(mantissa):g}e{int(exponent)}"
    return plainly if float(plainly) == value else repr(value)

"""Paths into the settings of a sweep: in plain data, and in the tree that remembers places."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from procray.spec.tree import Node, Place

Path = tuple[str | int, ...]


def starts_with(path: Path, prefix: Path) -> bool:
    return path[: len(prefix)] == prefix


def related(axis: Path, section: Path) -> bool:
    """Whether an axis at one path changes the value at another."""
    return starts_with(axis, section) or starts_with(section, axis)


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


def drop_all(data: Any, paths: Iterable[Path]) -> Any:
    """`drop` for many paths, with one copy of the data: a file may have a problem on every line."""
    data = _copied(data)
    for path in paths:
        if not path:
            return {}
        parent = data
        for part in path[:-1]:
            parent = _inside(parent, part)
        last = path[-1]
        if isinstance(parent, dict):
            parent.pop(last, None)
        elif isinstance(parent, list) and isinstance(last, int) and last < len(parent):
            parent[last] = {}
    return data


def _inside(data: Any, part: str | int) -> Any:
    if isinstance(data, list):
        return data[part] if isinstance(part, int) and part < len(data) else None
    return data.get(part) if isinstance(data, dict) else None


def _copied(data: Any) -> Any:
    """A copy in which nothing is shared, also where the file says the same twice by an alias."""
    if isinstance(data, dict):
        return {key: _copied(child) for key, child in data.items()}
    return [_copied(child) for child in data] if isinstance(data, list) else data


def locate(root: Node, path: Path, chosen: dict[Path, Node], *, key: bool = False) -> Place:
    """The place of a scalar; of the key of a section, or of nothing; of the nearest section above what is missing.

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
    return nearest if node.value is None or isinstance(node.value, dict | list) else node.place


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

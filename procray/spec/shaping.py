"""Reads `zip:`, `exclude:` and `include:`, which shape the grid."""

from __future__ import annotations

from collections.abc import Iterable

from procray.errors import Problem, did_you_mean
from procray.spec.axes import Axis, find_axis
from procray.spec.cells import Entry, Selection
from procray.spec.tree import Node, plain
from procray.spec.written import meaning, show


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
            if any(choice.value is None for choice in choices):  # to pass over it would make the entry say more
                problems.append(item.keys[name].problem(f"{key}: a value of '{name}' is missing"))
                continue
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

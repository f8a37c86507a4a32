"""Overlays: the named scales of a file, what of one setting stays when another is laid upon it, and what null means."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from procray.errors import Problem
from procray.spec.section import Section
from procray.spec.sections import Sweep, parameters_of, section_of, task_parameters
from procray.spec.tree import Node, Place, plain
from procray.spec.written import show_shortly

SETTING = "--set"  # in place of a file's name

_NAME = re.compile(r"[A-Za-z0-9._-]{1,60}")


def read_overlays(root: Node, problems: list[Problem]) -> dict[str, Node]:
    """By name, what the `scales:` of a file say, nulls kept; what is wrong is added to `problems`."""
    node = root.value.get("scales")
    if node is None or node.value is None:
        return {}
    if not node.is_mapping:
        problems.append(node.place.problem("scales: expected a mapping of names to overlays"))
        return {}
    found: dict[str, Node] = {}
    for name, overlay in node.value.items():
        here = node.keys[name]
        if not _NAME.fullmatch(name):
            problems.append(
                here.problem(f"scales: {show_shortly(name)} must consist of letters, digits, '-', '_' and '.'")
            )
        if overlay.value is None:
            overlay = Node({}, overlay.place)
        if not overlay.is_mapping:
            problems.append(overlay.place.problem(f"scales.{name}: expected a mapping"))
            continue
        for key in ("name", "scales"):
            if key in overlay.value:
                problems.append(overlay.keys[key].problem(f"scales.{name}: '{key}' cannot differ between scales"))
        found[name] = Node(
            {k: v for k, v in overlay.value.items() if k not in ("name", "scales")}, overlay.place, overlay.keys
        )
    return found


def merge(base: Node, over: Node, section: type[Section] | None = Sweep) -> Node:
    """`over` laid upon `base`: sections merge key by key, values replace, null takes a key away.

    What is no section is one value, however deep its mapping is: a task, a length, a transfer, a corpus, a grid, a
    list. A key that stands in the place of others drops them: `batch` of `batch_tokens`, `diagnostic` of `semantic`.
    A null under an unknown key stays, so that it is reported.

    Args:
        section: what stands there; None: a value.
    """
    if section is None or not (base.is_mapping and over.is_mapping) or over.is_grid or base.is_grid:
        return over
    named = {key for key, child in over.value.items() if child.value is not None}
    merged = without_rivals(base, section, named)
    for key, child in over.value.items():
        below = base.value.get(key)
        if below is not None:
            child = merge(below, child, section_of(section, key))
        merged = lay(merged, key, child, over.keys[key], section)
    return without_former_parameters(merged, section, over.value) if "task" in over.value else merged


def lay(base: Node, key: str, child: Node, place: Place, section: type[Section] | None) -> Node:
    """A mapping with another child under one key, or without it where the child is null and the key known."""
    known = section is None or key in section.model_fields
    if child.value is None and known and (section is not None or key in base.value):
        return _drop(base, {key})
    return Node({**base.value, key: child}, base.place, {**base.keys, key: place})


def without_rivals(base: Node, section: type[Section], named: set[str]) -> Node:
    """A section without the keys in whose place the named ones stand."""
    return _drop(base, {key for rivals in section.rivals if rivals & named for key in rivals - named})


def _drop(base: Node, keys: Collection[str]) -> Node:
    if not base.value.keys() & set(keys):
        return base
    return Node({key: child for key, child in base.value.items() if key not in keys}, base.place, base.keys)


def without_former_parameters(node: Node, section: type[Section], given: Collection[str]) -> Node:
    """A section whose task was replaced, without parameters of the former task that the new one does not have.

    What was `given` with the new task, or by another setting, stays, so that it is reported.
    """
    task = node.value.get("task")
    takes = _takes(plain(task)) if task is not None and "task" in section.model_fields else None
    if takes is None:
        return node
    others = node.value.keys() & task_parameters().keys() - takes
    return _drop(node, {key for key in others if key not in given and node.keys[key].file != SETTING})


def _takes(task: Any) -> set[str] | None:
    """The parameters that a task as written takes, in any of its forms; None where nobody knows."""
    if isinstance(task, str):
        return parameters_of(task)
    if not isinstance(task, dict):
        return None
    if "text" in task or "sequences_from" in task:
        return set()
    inner = task.get("grid", [task["shuffled"]] if "shuffled" in task else task.get("mixture"))
    found = [_takes(one) for one in inner] if isinstance(inner, list | dict) else [None]
    return None if None in found else set().union(*(one for one in found if one is not None))


def without_nulls(node: Node, section: type[Section] | None = Sweep) -> Node:
    """The tree without the known keys of sections whose value is null: they are as if they were not written."""
    if section is None:
        return node
    if isinstance(node.value, list):
        return Node([without_nulls(child, section) for child in node.value], node.place)
    if not isinstance(node.value, dict):
        return node
    if node.is_grid:
        return Node({**node.value, "grid": without_nulls(node.value["grid"], section)}, node.place, node.keys)
    kept = {
        key: without_nulls(child, section_of(section, key))
        for key, child in node.value.items()
        if child.value is not None or key not in section.model_fields
    }
    return Node(kept, node.place, node.keys)

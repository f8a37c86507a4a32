"""Overlays: the named scales of a file, what of one setting stays when another is laid upon it, and what null means."""

from __future__ import annotations

import re

from procray.errors import Problem
from procray.spec.tree import Node
from procray.spec.written import show_shortly

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


# Keys that tell apart the forms of one value: a mapping of another form replaces instead of merging.
_FORMS = (
    {"grid"}, {"min"}, {"start", "step", "mastery"}, {"files"}, {"hf"}, {"mixture"}, {"shuffled"},
    {"path"}, {"from"}, {"interpolate"}, {"noise"}, {"shuffle"}, {"random"},
)  # fmt: skip
# Keys of which a section has one: an overlay that names one of them drops the others.
_RIVALS = (
    {"batch", "batch_tokens"},
    {"warmup", "warmup_steps"},
    {"semantic", "diagnostic", "targets", "chain"},
)


def merge(base: Node, over: Node) -> Node:
    """`over` laid upon `base`: mappings merge; lists, scalars and grids replace; null removes a key.

    A mapping of another form replaces too: `{hf: c4}` over `{files: [...]}`, a range of lengths
    over a curriculum. `batch` over `batch_tokens`, `diagnostic` over `semantic` and the like drop
    what they stand in place of.
    """
    if not _merges(base, over):
        return without_nulls(over)
    value, keys = dict(base.value), dict(base.keys)
    for rivals in _RIVALS:
        named = {key for key in rivals & over.value.keys() if over.value[key].value is not None}
        if named:
            for key in rivals - named:
                value.pop(key, None)
    for key, child in over.value.items():
        if child.value is None:
            value.pop(key, None)
            continue
        value[key] = merge(value[key], child) if key in value else without_nulls(child)
        keys[key] = over.keys[key]
    return Node(value, base.place, keys)


def _merges(base: Node, over: Node) -> bool:
    """Whether one is laid upon the other key by key; else it stands in its place."""
    if not (base.is_mapping and over.is_mapping) or over.is_grid or base.is_grid:
        return False
    forms = _form(base), _form(over)
    return None in forms or forms[0] == forms[1]


def _form(node: Node) -> int | None:
    return next((i for i, keys in enumerate(_FORMS) if keys & node.value.keys()), None)


def without_nulls(node: Node) -> Node:
    """The tree without the keys whose value is null."""
    if isinstance(node.value, dict):
        kept = {key: without_nulls(child) for key, child in node.value.items() if child.value is not None}
        return Node(kept, node.place, node.keys)
    if isinstance(node.value, list):
        return Node([without_nulls(child) for child in node.value], node.place)
    return node

"""Settings of the command line: `--set key=value`, laid upon the file and its overlay."""

from __future__ import annotations

import json
from typing import Any

from procray.errors import Problem, did_you_mean
from procray.spec.overlays import merge
from procray.spec.tree import Node, Place, read


def parse_setting(text: str) -> tuple[list[str], Node | None, Place, list[Problem]]:
    """One `key=value` of `--set`: the parts of the dotted key, the value's tree, the key's place."""
    key, equals, value = text.partition("=")
    place = Place("--set", 1, 1, text)
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        return [], None, place, [place.problem("expected key=value with a dotted key, such as semantic.tokens=2M")]
    if not value.strip():
        return parts, Node(None, place), place, []
    node, problems = read(value, "--set", shift=len(key) + 1, line=text if "\n" not in text else None)
    return parts, node, place, problems


def setting_texts(settings: Any) -> list[str]:
    """`key=value` texts from the forms that `load_sweep(set=...)` accepts.

    Raises:
        TypeError: a value that YAML cannot hold.
    """
    if settings is None:
        return []
    if isinstance(settings, dict):
        return [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    if isinstance(settings, str):
        return [settings]
    return list(settings)


def assign(root: Node, parts: list[str], value: Node, place: Place) -> Node:
    """`root` with `value` merged in at a dotted key; entries of a list go by number or by `name`.

    Raises:
        KeyError: the list has no such entry; the argument is a message.
    """
    if not parts:
        return merge(root, value)
    head, rest = parts[0], parts[1:]
    if isinstance(root.value, list):
        index = _entry(root.value, head)
        items = list(root.value)
        items[index] = assign(items[index], rest, value, place)
        return Node(items, root.place)
    base = root if root.is_mapping else Node({}, place)
    child = base.value.get(head)
    if rest and child is not None and (isinstance(child.value, list) or child.is_mapping):
        changed = assign(child, rest, value, place)
        return Node({**base.value, head: changed}, base.place, {**base.keys, head: place})
    for part in reversed(rest):
        value = Node({part: value}, value.place, {part: place})
    return merge(base, Node({head: value}, base.place, {head: place}))


def _entry(items: list[Node], name: str) -> int:
    if name.isdecimal() and int(name) < len(items):
        return int(name)
    names = [str(item.value["name"].value) if item.is_mapping and "name" in item.value else "" for item in items]
    if name in names:
        return names.index(name)
    known = [n for n in names if n]
    listed = f" (names: {', '.join(known)})" if known else ""
    raise KeyError(f"the list has no entry '{name}'{did_you_mean(name, known)}{listed}")


def apply_settings(tree: Node, settings: Any, problems: list[Problem]) -> Node:
    """`tree` with every setting merged in; a wrong one is passed over and added to `problems`."""
    try:
        texts = setting_texts(settings)
    except TypeError as error:
        problems.append(Problem(0, 0, f"set: {error}", "", "--set"))
        return tree
    for text in texts:
        parts, node, place, wrong = parse_setting(text)
        problems.extend(wrong)
        if not parts or node is None:
            continue
        if parts[0] == "scales":
            problems.append(place.problem("an overlay cannot be set; set its keys, and choose it with --scale"))
            continue
        try:
            tree = assign(tree, parts, node, place)
        except KeyError as error:
            problems.append(place.problem(f"{text.partition('=')[0]}: {error.args[0]}"))
    return tree

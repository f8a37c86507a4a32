"""Settings of the command line: `--set key=value`, laid upon the file and its overlay."""

from __future__ import annotations

import json
from typing import Any

from procray.errors import Problem, did_you_mean
from procray.spec.overlays import SETTING, lay, merge, without_former_parameters, without_rivals
from procray.spec.section import Section
from procray.spec.sections import Sweep, section_of
from procray.spec.tree import Node, Place, read


def parse_setting(text: str) -> tuple[list[str], Node | None, Place, list[Problem]]:
    """One `key=value` of `--set`: the parts of the dotted key, the value's tree, the key's place."""
    key, equals, value = text.partition("=")
    place = Place(SETTING, 1, 1, text)
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        return [], None, place, [place.problem("expected key=value with a dotted key, such as semantic.tokens=2M")]
    if not value.strip():
        return parts, Node(None, place), place, []
    node, problems = read(value, SETTING, shift=len(key) + 1, line=text if "\n" not in text else None)
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


def assign(root: Node, parts: list[str], value: Node, place: Place, section: type[Section] | None = Sweep) -> Node:
    """`root` with `value` laid upon what stands at a dotted key, as an overlay would lay it.

    A key that leads into a value changes that part of it. Entries of a list go by number or by `name`.

    Args:
        section: what stands at `root`; None: a value.

    Raises:
        KeyError: the list has no such entry; the argument is a message.
    """
    if not parts:
        return merge(root, value, section)
    head, rest = parts[0], parts[1:]
    if isinstance(root.value, list):
        index = _entry(root.value, head)
        items = list(root.value)
        items[index] = assign(items[index], rest, value, place, section)
        return Node(items, root.place)
    base = root if root.is_mapping else Node({}, place)
    if not rest and section is not None:
        return merge(base, Node({head: value}, base.place, {head: place}), section)
    inner = section_of(section, head)
    child = assign(base.value.get(head, Node({}, place)), rest, value, place, inner) if rest else value
    if section is not None and child.value is not None:
        base = without_rivals(base, section, {head})
    changed = lay(base, head, child, place, section)
    return without_former_parameters(changed, section, ()) if section is not None and head == "task" else changed


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
        problems.append(Problem(0, 0, f"set: {error}", "", SETTING))
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

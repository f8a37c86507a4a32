"""YAML with places: every value and key remembers where it was written.

Scalars are read as YAML 1.2 does: `3e-4` and `1e8` are numbers, `on` and `no` are text, `012` is
twelve. Duplicate keys are problems. Only plain data can be written (PyYAML's safe tags).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from procray.errors import Problem, did_you_mean

_LARGEST = 200_000  # nodes, after anchors are followed
_DEEPEST = 60  # of mappings and lists within each other
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")  # what neither files nor their names can hold, written as an escape

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class _Loader(yaml.SafeLoader):
    """Composes nodes; the tags of plain scalars follow YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  PyYAML's own attribute


for _name, _pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT)):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern.pattern})$"), None)
_Loader.add_implicit_resolver(_TAG + "merge", re.compile(r"<<$"), ["<"])


@dataclass(frozen=True)
class Place:
    """A position in a text: counted from 1, with the text of its line."""

    file: str
    line: int
    column: int
    text: str = ""

    def problem(self, message: str) -> Problem:
        return Problem(self.line, self.column, message, self.text, self.file)


@dataclass
class Node:
    """A value and where it stands. A mapping also keeps the places of its keys."""

    value: Any  # dict[str, Node] | list[Node] | str | int | float | bool | None
    place: Place
    keys: dict[str, Place] = field(default_factory=dict)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)

    @property
    def is_grid(self) -> bool:
        return isinstance(self.value, dict) and "grid" in self.value


def read(text: str, file: str, *, shift: int = 0, line: str | None = None) -> tuple[Node | None, list[Problem]]:
    """The tree of one YAML document and the problems in its notation.

    Args:
        text: the document.
        file: the name that problems carry.
        shift: added to the columns of the first line, where `text` is the end of a longer one.
        line: that longer line.

    Returns:
        The tree, or None where the text is not YAML at all.
    """
    lines = _LINE_BREAK.split(text) if line is None else [line]

    def place(mark: Any) -> Place:
        row = min(mark.line, len(lines) - 1)
        return Place(file, mark.line + 1, mark.column + 1 + (shift if mark.line == 0 else 0), lines[row])

    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ", ".join(part for part in (error.context, error.problem) if part)
        return None, [place(mark).problem(f"not YAML: {message}") if mark else Problem(0, 0, message, "", file)]
    except RecursionError:
        return None, [Problem(0, 0, "not YAML: nested too deeply", "", file)]
    except yaml.YAMLError as error:  # a character that YAML does not allow
        return None, [Problem(0, 0, f"not YAML: {' '.join(str(error).split())}", "", file)]
    if root is None:
        return Node({}, Place(file, 1, 1, lines[0])), []
    builder = _Builder(place)
    return builder.build(root), builder.problems


class _Builder:
    def __init__(self, place: Any):
        self.place = place
        self.problems: list[Problem] = []
        self.active: set[int] = set()
        self.done: dict[int, tuple[Node, int]] = {}  # by yaml node: an anchor is built once
        self.size = 0

    def build(self, node: yaml.Node) -> Node:
        return self._build(node)[0]

    def _build(self, node: yaml.Node) -> tuple[Node, int]:
        """The tree below a node and its size with anchors followed."""
        if id(node) in self.done:
            return self.done[id(node)]
        here = self.place(node.start_mark)
        if id(node) in self.active:
            self.problems.append(here.problem("an anchor cannot contain itself"))
            return Node(None, here), 1
        if len(self.active) > _DEEPEST:
            self.problems.append(here.problem(f"nested deeper than {_DEEPEST} levels"))
            return Node(None, here), 1
        self.active.add(id(node))
        size = 1
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            built = Node({}, here)
            size += self._fill(built, node)
        elif isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            children = [self._build(child) for child in node.value]
            built = Node([child for child, _ in children], here)
            size += sum(weight for _, weight in children)
        elif isinstance(node, yaml.ScalarNode):
            built = Node(self._scalar(node, here), here)
        else:
            self.problems.append(here.problem(f"the tag '{node.tag}' is not allowed"))
            built = Node(None, here)
        if size > _LARGEST:
            self.problems.append(here.problem(f"more than {_LARGEST} values once its anchors are followed"))
            built, size = Node(None, here), 1
        self.active.discard(id(node))
        self.done[id(node)] = built, size
        return built, size

    def _fill(self, built: Node, node: yaml.MappingNode) -> int:
        size, merged = 0, []
        for key_node, value_node in node.value:
            here = self.place(key_node.start_mark)
            if key_node.tag == _TAG + "merge":
                merged.append((here, value_node))
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(here.problem("a key must be plain text"))
                continue
            key = key_node.value
            if _NO_TEXT.search(key):
                self.problems.append(here.problem("a key with a character that no text can hold"))
                continue
            if key in built.value:
                self.problems.append(here.problem(f"duplicate key '{key}' (first at line {built.keys[key].line})"))
                continue
            built.keys[key] = here
            built.value[key], weight = self._build(value_node)
            size += weight
        for here, value_node in merged:
            sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            for source in sources:
                parent, weight = self._build(source)
                size += weight
                if not parent.is_mapping:
                    self.problems.append(here.problem("'<<' needs a mapping or a list of mappings"))
                    continue
                for key, child in parent.value.items():
                    built.value.setdefault(key, child)
                    built.keys.setdefault(key, parent.keys[key])
        return size

    def _scalar(self, node: yaml.ScalarNode, here: Place) -> Any:
        text, kind = node.value, node.tag.removeprefix(_TAG)
        if _NO_TEXT.search(text):
            self.problems.append(here.problem("a character that no text can hold (NUL, or half of one)"))
            return None
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return {"true": True, "false": False}[text.lower()]
            if kind == "int":
                return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
            if kind == "float":
                return float(text.replace(".inf", "inf").replace(".nan", "nan").replace(".Inf", "inf"))
        except (ValueError, KeyError):
            self.problems.append(here.problem(f"'{text}' is not a YAML {kind}"))
            return None
        if kind in ("str", "merge"):
            return text
        self.problems.append(here.problem(f"the tag '{node.tag}' is not allowed"))
        return None


def plain(node: Node) -> Any:
    """The data of a tree without its places."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


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


def _form(node: Node) -> int | None:
    return next((i for i, keys in enumerate(_FORMS) if keys & node.value.keys()), None)


def merge(base: Node, over: Node) -> Node:
    """`over` laid upon `base`: mappings merge; lists, scalars and grids replace; null removes a key.

    A mapping of another form replaces too: `{hf: c4}` over `{files: [...]}`, a range of lengths
    over a curriculum. `batch` over `batch_tokens`, `diagnostic` over `semantic` and the like drop
    what they stand in place of.
    """
    if not (base.is_mapping and over.is_mapping) or over.is_grid or base.is_grid:
        return without_nulls(over)
    forms = _form(base), _form(over)
    if None not in forms and forms[0] != forms[1]:
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


def without_nulls(node: Node) -> Node:
    """The tree without the keys whose value is null."""
    if isinstance(node.value, dict):
        kept = {key: without_nulls(child) for key, child in node.value.items() if child.value is not None}
        return Node(kept, node.place, node.keys)
    if isinstance(node.value, list):
        return Node([without_nulls(child) for child in node.value], node.place)
    return node


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


def unique(problems: Iterable[Problem]) -> list[Problem]:
    """Each problem once, in the order of the file."""
    return sorted(dict.fromkeys(problems))

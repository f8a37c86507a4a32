"""YAML with places: every value and key remembers where it was written.

Scalars are read as YAML 1.2 does: `3e-4` and `1e8` are numbers, `on` and `no` are text, `012` is
twelve. Duplicate keys are problems. Only plain data can be written (PyYAML's safe tags).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from procray.errors import Problem
from procray.spec.counts import WITHOUT_COMMAS

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


# What YAML makes of a number with commas inside of braces and brackets: a value, and a key or value behind each comma.
_HEAD = re.compile(r"[-+]?[0-9]+")
_REST = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?: ?(?:Ki|Mi|Gi|[kKMGBT]))?")
_REST_OF_LIST = re.compile(r"0[0-9]+")  # `[8,16]` are two numbers, of which none would begin with a zero


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
            items = self._without_commas([(child, child) for child in node.value], node, _REST_OF_LIST)
            children = [self._build(child) for child, _ in items]
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
        for key_node, value_node in self._without_commas(node.value, node, _REST):
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

    def _without_commas(
        self, entries: list[tuple[yaml.Node, yaml.Node]], node: yaml.CollectionNode, rest: re.Pattern[str]
    ) -> list[tuple[yaml.Node, yaml.Node]]:
        """The entries without the pieces of `500,000`, which are a problem; its first piece stands for all of it."""
        if not node.flow_style:
            return entries
        kept: list[tuple[yaml.Node, yaml.Node]] = []
        pieces: list[yaml.Node] = []
        for key_node, value_node in [*entries, (node, node)]:
            last = pieces[-1] if pieces else kept[-1][1] if kept else None
            piece = last is not None and _HEAD.fullmatch(_plain_text(kept[-1][1])) and _is_rest(key_node, last, rest)
            if piece and (key_node is value_node or _is_empty(value_node)):
                pieces.append(key_node)
                continue
            if pieces:
                head = kept[-1][1]
                written = ",".join(map(_plain_text, [head, *pieces]))
                self.problems.append(self.place(head.start_mark).problem(f"'{written}': {WITHOUT_COMMAS}"))
                # So that the rest is checked with a number of that size.
                head.value = written.replace(",", "." if head.value.lstrip("+-") == "0" else "", 1).replace(",", "")
                kinds = [kind for kind, pattern in (("int", _INT), ("float", _FLOAT)) if pattern.fullmatch(head.value)]
                head.tag = _TAG + (kinds or ["str"])[0]
                pieces = []
            kept.append((key_node, value_node))
        return kept[:-1]

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


def _plain_text(node: yaml.Node) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) and node.style is None else ""


def _is_rest(node: yaml.Node, last: yaml.Node, rest: re.Pattern[str]) -> bool:
    """Whether a node is digits behind a comma with no blank around it."""
    adjacent = node.start_mark.index == last.end_mark.index + 1
    return adjacent and rest.fullmatch(_plain_text(node)) is not None


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.start_mark.index == node.end_mark.index


def plain(node: Node) -> Any:
    """The data of a tree without its places."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value

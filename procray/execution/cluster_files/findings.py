"""What is wrong with one cluster file, with the places of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from procray.errors import Problem
from procray.spec.tree import Node, Place, plain

Path = Sequence[str | int]


def words(text: str) -> frozenset[str]:
    """The names in a text, separated by blanks."""
    return frozenset(text.split())


def whole(value: Any) -> int:
    """A count; 0 for what is none, which is reported elsewhere."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


@dataclass
class Findings:
    """Everything that was found in a cluster file.

    Attributes:
        file: its name, as problems carry it.
        kind: what it is: `ray up (aws)`, `KubeRay`, `Slurm`.
        problems: to be mended before it is used.
        examples: values that are still the shipped examples; they work nowhere.
        unchecked: what could not be looked at, in words.
        advice: what would be better otherwise, and works as it is.
        bucket: of the store, where that is one of S3 and no example.
    """

    file: str
    kind: str = ""
    problems: list[Problem] = field(default_factory=list)
    examples: list[Problem] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    bucket: str = ""

    def add(self, place: Place | None, message: str) -> None:
        self.problems.append(place.problem(message) if place else Problem(0, 0, message, "", self.file))

    def skip(self, what: str) -> None:
        if what not in self.unchecked:
            self.unchecked.append(what)


class Tree:
    """A YAML document with places, asked by path: `tree.get("auth", "ssh_user")`."""

    def __init__(self, root: Node):
        self.root = root

    def find(self, path: Path) -> Node | None:
        node: Node | None = self.root
        for part in path:
            if node is None:
                return None
            if isinstance(node.value, dict):
                node = node.value.get(str(part))
            elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
            else:
                return None
        return node

    def get(self, *path: str | int, default: Any = None) -> Any:
        """The plain value at a path, or `default` where there is none."""
        node = self.find(path)
        return default if node is None else plain(node)

    def mapping(self, *path: str | int) -> dict[str, Any]:
        found = self.get(*path)
        return found if isinstance(found, dict) else {}

    def texts(self, *path: str | int) -> list[str]:
        """The texts of a list; whatever else stands in it is the schema's business."""
        found = self.get(*path)
        return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []

    def place(self, *path: str | int) -> Place:
        """Where a value stands, or the key of the nearest mapping around it that exists."""
        for length in range(len(path), 0, -1):
            node = self.find(path[:length])
            if node is None:
                continue
            if length == len(path) and not isinstance(node.value, (dict, list)):
                return node.place
            return self.key(*path[:length])
        return self.root.place

    def key(self, *path: str | int) -> Place:
        """Where a key stands."""
        parent = self.find(path[:-1])
        if parent is not None and isinstance(parent.value, dict) and str(path[-1]) in parent.keys:
            return parent.keys[str(path[-1])]
        node = self.find(path)
        return node.place if node is not None else self.place(*path[:-1])

    def empty_mappings(self) -> Iterator[tuple[str | int, ...]]:
        """The path of every `{}`."""
        waiting: list[tuple[tuple[str | int, ...], Node]] = [((), self.root)]
        while waiting:
            path, node = waiting.pop()
            if isinstance(node.value, dict) and not node.value and path:
                yield path
            elif isinstance(node.value, dict):
                waiting += [((*path, key), child) for key, child in node.value.items()]
            elif isinstance(node.value, list):
                waiting += [((*path, number), child) for number, child in enumerate(node.value)]

    def scalars(self) -> Iterator[tuple[tuple[str | int, ...], Node]]:
        """Every text, number and truth value with its path."""
        waiting: list[tuple[tuple[str | int, ...], Node]] = [((), self.root)]
        while waiting:
            path, node = waiting.pop()
            if isinstance(node.value, dict):
                waiting += [((*path, key), child) for key, child in node.value.items()]
            elif isinstance(node.value, list):
                waiting += [((*path, number), child) for number, child in enumerate(node.value)]
            else:
                yield path, node

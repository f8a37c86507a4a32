"""On which axes of the grid the phases of a chain depend, as far as the file's sections tell."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from procray.spec.cells import Pick
from procray.spec.paths import Path, starts_with
from procray.spec.structure import Link, SweepSpec, Tail

_TRAINING = ("batch", "batch_tokens", "tokens", "optimizer", "evaluate")  # what decides how a phase is trained only


def restrict(pick: Pick, axes: frozenset[int]) -> Pick:
    """The cell without the values of all other axes."""
    return tuple([value if i in axes else -1 for i, value in enumerate(pick)])


def text_paths(link: Link) -> list[Path]:
    """Where the file says which text takes the place of a warm-up's task, and in blocks of how many tokens."""
    target = link.control.target if link.control is not None and link.kind == "procedural" else None
    if target is None:
        return []
    return [
        *((*target.section, key) for key in ("corpus", "tokenizer")),
        *((*path, "context") for path in target.models),
    ]


class Relevance:
    """Sets of axes, each worked out once. They are numbers of `spec.axes`."""

    def __init__(self, spec: SweepSpec):
        self._spec = spec
        self._own: dict[Link, frozenset[int]] = {}
        self._begin: dict[Link, frozenset[int]] = {}
        self._chain: dict[tuple[tuple[Link, ...], bool], frozenset[int]] = {}
        self._bearing: dict[tuple[int, int], frozenset[int]] = {}
        self._getters: dict[frozenset[int], Callable[[Pick], Any]] = {}

    def own(self, link: Link) -> frozenset[int]:
        """The axes that a phase itself depends on, its parents aside."""
        if link not in self._own:
            paths: list[Path] = [link.section, *link.models, ("precision",)]
            paths += text_paths(link)
            paths += [link.among.section] if link.among is not None else []
            found = frozenset().union(*(self._spec.relevant(path) for path in paths))
            if link.kind == "finetune":  # what it begins with stands in its section
                found -= {i for i in found for path in _starts(link) if starts_with(self._spec.axes[i].path, path)}
            self._own[link] = found
        return self._own[link]

    def begin(self, link: Link) -> frozenset[int]:
        """The axes that decide what a phase begins with: what it inherits, what is done to that, what is frozen."""
        if link not in self._begin:
            found = [self._spec.relevant(path) for path in _starts(link)]
            self._begin[link] = frozenset[int]().union(*found)
        return self._begin[link]

    def chain(self, links: tuple[Link, ...], bare: bool = False) -> frozenset[int]:
        """Every axis that a chain depends on.

        Args:
            bare: it is a baseline, whose first phase begins with random weights, all of them trained.
        """
        key = (links, bare)
        if key not in self._chain:
            found: frozenset[int] = frozenset()
            for i, link in enumerate(links):
                found |= self.own(link) | (frozenset() if bare and i == 0 else self.begin(link))
            self._chain[key] = found
        return self._chain[key]

    def bearing(self, tail: Tail, i: int) -> frozenset[int]:
        """The axes that decide what link `i` inherits and on which axes its chain depends.

        How the link itself is trained decides neither, so that a grid over learning rates is read once.
        """
        key = (id(tail), i)
        if key not in self._bearing:
            link = tail.links[i]
            training = {
                axis
                for axis in self.own(link)
                for part in _TRAINING
                if starts_with(self._spec.axes[axis].path, (*link.section, part))
            }
            earlier = self.chain(tail.links[:i]) if i else frozenset[int]()
            self._bearing[key] = (self.own(link) - training) | self.begin(link) | earlier
        return self._bearing[key]

    def values(self, pick: Pick, axes: frozenset[int]) -> Any:
        """What `restrict` keeps, as a key: equal where that is equal, and many times quicker."""
        if axes not in self._getters:
            self._getters[axes] = itemgetter(*sorted(axes)) if axes else lambda pick: ()
        return self._getters[axes](pick)


def _starts(link: Link) -> list[Path]:
    """Where the file says what a phase begins with."""
    return [path for path in (link.transfer, link.freeze, link.perturb) if path]

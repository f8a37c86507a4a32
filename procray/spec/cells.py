"""The cells that the axes of a sweep span, where `zip:`, `exclude:` and `include:` shape the grid.

A *pick* is one cell without its seed: for every axis the index of its value, or -1 where the axis
does not matter.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from procray.spec.axes import Axis

MOST_CELLS = 2_000_000  # seeds included; 100,000 take some seconds and half a gigabyte

Pick = tuple[int, ...]


@dataclass
class Entry:
    """One line of `exclude:` or `include:`: by axis, indices of its values; and the tails that it is about."""

    values: dict[int, list[int]]
    targets: list[str] | None  # None: all

    def applies(self, relevant: frozenset[int], target: str) -> bool:
        return self.values.keys() <= relevant and (self.targets is None or target in self.targets)


@dataclass
class Selection:
    """What `zip:`, `exclude:` and `include:` say."""

    groups: list[tuple[int, ...]]  # every axis in exactly one, in document order
    exclude: list[Entry]
    include: list[Entry]


def picks(axes: list[Axis], selection: Selection, relevant: frozenset[int], target: str) -> list[Pick]:
    """The cells of a tail over the axes that matter to it: the product, minus `exclude`, plus `include`."""
    exclude = [
        {i: set(indices) for i, indices in entry.values.items()}
        for entry in selection.exclude
        if entry.applies(relevant, target)
    ]
    found: dict[Pick, None] = {}
    groups = [group for group in selection.groups if relevant.intersection(group)]
    for pick in _product(axes, groups, relevant, {}):
        if not any(all(pick[i] in gone for i, gone in entry.items()) for entry in exclude):
            found[pick] = None
    for entry in selection.include:
        if entry.applies(relevant, target):
            for pick in _product(axes, groups, relevant, entry.values):
                found[pick] = None
    return list(found)


def combinations(axes: list[Axis], selection: Selection, relevant: frozenset[int]) -> int:
    """How many cells `picks` looks at before `exclude` and `include`."""
    return math.prod(axes[group[0]].size for group in selection.groups if relevant.intersection(group))


def _product(
    axes: list[Axis], groups: list[tuple[int, ...]], relevant: frozenset[int], fixed: dict[int, list[int]]
) -> Iterator[Pick]:
    rows: list[list[tuple[tuple[int, int], ...]]] = []
    for group in groups:
        named = [i for i in group if i in fixed]
        length = len(fixed[named[0]]) if named else axes[group[0]].size
        options: list[tuple[tuple[int, int], ...]] = []
        for row in range(length):
            default = fixed[named[0]][row] if named else row
            options.append(tuple((i, fixed[i][row] if i in fixed else default) for i in group if i in relevant))
        rows.append(options)
    for combination in itertools.product(*rows):
        pick = [-1] * len(axes)
        for row_values in combination:
            for i, value in row_values:
                pick[i] = value
        yield tuple(pick)

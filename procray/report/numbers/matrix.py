"""Pairwise composition: whose attention with whose MLP, as a table of variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from procray.model.components import COMPONENTS
from procray.report.numbers.results import Target, Variant


@dataclass(frozen=True)
class Matrix:
    """One table of a target.

    Attributes:
        setting: what its variants share beside the two parents, empty where nothing else varies.
        across, down: the component that the columns' names, and the rows' names, give the parent of.
        rows, columns: the names, in the plan's order.
        cells: by row and column; what the grid leaves out is not there.
    """

    target: Target
    setting: str
    down: str
    across: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], Variant]


def parents_of(variant: Variant) -> dict[str, str]:
    """By component, the parent that an axis of the sweep gives it: from axes such as `transfer.attention`.

    Also from values `{attention: set, mlp: eca}` of an axis `transfer`.
    """
    found: dict[str, str] = {}
    for name, label in variant.labels.items():
        *_, section, last = ["", *name.split(".")]
        value = variant.axes.get(name)
        if section == "transfer":
            found[last] = label.removeprefix(f"{last}=")
        elif last == "transfer" and isinstance(value, dict):
            found |= {component: parent for component, parent in value.items() if isinstance(parent, str)}
    return found


def component_title(component: str) -> str:
    return "MLP" if component == "mlp" else component


def _setting(variant: Variant) -> str:
    kept = [label for name, label in variant.labels.items() if "transfer" not in name.split(".")[-2:]]
    return "/".join(kept)


def matrices(target: Target) -> list[Matrix]:
    """The tables in which both components have several parents, one for each setting of whatever else varies."""
    known = [(variant, parents_of(variant)) for variant in target.tested]
    components = list(dict.fromkeys(name for _, parents in known for name in parents))
    varied = [name for name in components if len({parents.get(name) for _, parents in known} - {None}) > 1]
    varied.sort(key=lambda name: COMPONENTS.index(name) if name in COMPONENTS else len(COMPONENTS))
    if len(varied) != 2:
        return []
    down, across = varied
    titles = component_title(down), component_title(across)
    complete = [(variant, parents) for variant, parents in known if down in parents and across in parents]
    found = []
    for setting in dict.fromkeys(_setting(variant) for variant, _ in complete):
        own = [(variant, parents) for variant, parents in complete if _setting(variant) == setting]
        cells = {(parents[down], parents[across]): variant for variant, parents in own}
        rows, columns = _order([row for row, _ in cells], [column for _, column in cells])
        if len(rows) > 1 and len(columns) > 1:
            found.append(Matrix(target, setting, *titles, rows, columns, cells))
    return found


def _order(rows: Sequence[str], columns: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Each name once; what both have stands in one order, so that a model's own pair lies on the diagonal."""
    down, across = dict.fromkeys(rows), dict.fromkeys(columns)
    shared = [name for name in down if name in across]
    return (
        (*shared, *(name for name in down if name not in across)),
        (*shared, *(name for name in across if name not in down)),
    )

"""Checks a tree against the models of its sections, and says what is wrong in our words and at its place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from procray.errors import Problem, did_you_mean, did_you_mean_size
from procray.spec.axes import Axis
from procray.spec.counts import WITHOUT_COMMAS, has_commas
from procray.spec.paths import Path, drop, drop_all, find, get, locate, put
from procray.spec.section import Section
from procray.spec.sections import LATER, Sweep, section_at, section_of
from procray.spec.tree import Node, plain
from procray.spec.written import show_shortly

# By key, what it is a list of and what that looks like.
LISTS = {
    "targets": "targets, each with its name, such as [{name: text, semantic: {...}}]",
    "chain": "phases in their order, such as [{procedural: {...}}, {semantic: {...}}]",
    "published": "published values, such as [{value: 55 %, tolerance: 10 %, source: ..., strength: ...}]",
    "zip": "lists of axes, such as [[procedural.length, transfer]]",
    "exclude": "what is left out, such as [{task: set, length: 64}]",
    "include": "what is added, such as [{task: set, length: 64}]",
    "axes": "axes, such as [semantic.optimizer.lr]",
}


def validate(root: Node, axes: list[Axis], broken: Iterable[Path]) -> tuple[dict[str, Any], list[Problem]]:
    """The converted settings with every grid at its first value; fills `values` of the axes.

    What is wrong is left out, so that the rest can be checked further.
    """
    data = _resolve(root)
    for path in broken:
        data = drop(data, path)
    first = {axis.path: axis.nodes[0] for axis in axes}
    base, problems = _model(root, data, first)
    problems += _missing(root, first)
    for axis in axes:
        axis.values = []
        for node in axis.nodes:
            chosen = {**first, axis.path: node}
            value, wrong = _model(root, put(data, axis.path, plain(node)), chosen)
            problems += wrong
            if node.is_mapping:
                problems += _missing(root, chosen)
            axis.values.append(get(value, axis.path))
    return base, list(dict.fromkeys(problems))


def _model(root: Node, data: dict[str, Any], chosen: dict[Path, Node]) -> tuple[dict[str, Any], list[Problem]]:
    """The converted data without what is wrong with them, and that."""
    problems: list[Problem] = []
    dropped: set[tuple[Any, ...]] = set()
    while True:
        try:
            return Sweep.model_validate(data).model_dump(exclude_none=True), problems
        except ValidationError as error:
            gone = []
            for item in error.errors(include_url=False):
                loc = tuple(item["loc"])
                if loc not in dropped:
                    problems.append(_translate(root, item, chosen))
                while loc in dropped:  # an entry of a list stays, empty: then the list goes
                    loc = loc[:-1]
                dropped.add(loc)
                gone.append(loc)
            data = drop_all(data, gone)


def _missing(root: Node, chosen: dict[Path, Node]) -> list[Problem]:
    """The required keys that sections lack."""
    problems: list[Problem] = []

    def look(path: Path, section: type[Section]) -> None:
        node = chosen.get(path) or find(root, path, chosen)
        if node is None or not node.is_mapping or node.is_grid:
            return
        for key in section.needed(node.value):
            if key not in node.value:
                place = locate(root, (*path, key), chosen)
                problems.append(place.problem(f"{'.'.join(map(str, path))}{': ' if path else ''}missing key '{key}'"))
        for key, child in node.value.items():
            inner = section_of(section, key)
            if inner is None:
                continue
            if isinstance(child.value, list):
                for i in range(len(child.value)):
                    look((*path, key, i), inner)
            elif key not in LISTS:  # of what stands in place of a list more is not asked
                look((*path, key), inner)

    look((), Sweep)
    return problems


def _translate(root: Node, error: Any, nodes: dict[Path, Node]) -> Problem:
    """A problem in our words and at its place, from one of pydantic's errors."""
    kind, context = error["type"], error.get("ctx", {})
    path: Path = tuple(error["loc"])
    if kind == "wrong":
        path = (*path, *context["path"])
    name = ".".join(map(str, path))
    if kind == "extra_forbidden":
        key = str(path[-1])
        hint = f": {LATER[key]}" if key in LATER else _hint(key, section_at(path[:-1]) or Sweep)
        return locate(root, path, nodes, key=True).problem(f"{name}: unknown key '{key}'{hint}")
    if kind in ("wrong", "value_error"):
        message = context["message"] if kind == "wrong" else str(context["error"])
        given = "" if kind == "wrong" else f" (got {show_shortly(error['input'])})"
        return locate(root, path, nodes, key=False).problem(f"{name}: {message}{given}")
    message = _WORDS.get(kind, error["msg"]).format(**context)
    if kind == "list_type" and path[-1] in LISTS:
        message += f" of {LISTS[str(path[-1])]}"
    elif kind in ("model_type", "dict_type") and len(path) > 1 and path[-2] in LISTS:
        message += f"; {path[-2]} is a list of {LISTS[str(path[-2])]}"
    if has_commas(error["input"]):
        message += f"; {WITHOUT_COMMAS}"
    if kind == "literal_error":
        literals = [item.strip(" '") for item in context["expected"].replace(" or ", ", ").split(",")]
        nearest = did_you_mean_size if path[-1] == "preset" else did_you_mean
        message = f"expected {context['expected']}{nearest(str(error['input']), literals)}"
    if isinstance(error["input"], list) and kind != "too_short":
        message += "; several values are written {grid: [...]}"
    place = locate(root, path, nodes)
    return place.problem(f"{name}: {message} (got {show_shortly(error['input'])})")


def _hint(key: str, section: type[Section]) -> str:
    """The sections below, in which an unknown key would be known, or else the nearest known one."""
    below = {name: inner for name in section.model_fields if (inner := section_of(section, name)) is not None}
    there = [name for name, inner in below.items() if key in inner.model_fields]
    return f"; it belongs into {' or '.join(there)}" if there else did_you_mean(key, section.model_fields)


_WORDS = {
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "string_type": "expected text",
    "list_type": "expected a list",
    "model_type": "expected a mapping",
    "dict_type": "expected a mapping",
    "finite_number": "expected a finite number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "string_too_long": "must not be longer than {max_length} characters",
    "string_pattern_mismatch": "must consist of letters, digits, '-', '_' and '.'",
}


def _resolve(node: Node) -> Any:
    """Plain data with every grid replaced by its first value; without the grids that have none."""
    if node.is_grid:
        values = node.value["grid"].value
        return _resolve(values[0]) if isinstance(values, list) and values else None
    if isinstance(node.value, dict):
        return {key: _resolve(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_resolve(child) for child in node.value]
    return node.value

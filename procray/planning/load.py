"""Reading a sweep file: YAML, overlays, `--set`, and every problem at once.

Order: the file, then the scale's overlay, then `--set`. Scales that are not asked for are checked
too, so that a mistake in them does not wait for the day when they are used.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from procray.errors import Problem, SpecError, did_you_mean
from procray.planning.chains import Chains
from procray.planning.sweep import Sweep
from procray.spec import schema
from procray.spec import tree as source
from procray.spec.axes import (
    MOST_CELLS,
    Axis,
    Path,
    combinations,
    drop,
    find_axes,
    find_axes_of_targets,
    get,
    picks,
    put,
    read_selection,
    resolve,
    show,
)
from procray.spec.names import name_values
from procray.spec.structure import Search, SweepSpec, find, locate, read_tails
from procray.spec.tree import Node, plain

DEFAULT_SCALE = "default"  # the name of a file's only scale, where it has no overlays

_LARGEST = 1 << 19  # bytes of a sweep file
_NAME = re.compile(r"[A-Za-z0-9._-]{1,60}")
_TAILS = ("semantic", "diagnostic", "targets")
_OUTSIDE_CHAIN = ("procedural", "transfer", "freeze", "perturb", "finetune", *_TAILS)


def load_sweep(path: str | FilePath, scale: str | None = None, set: dict[str, Any] | list[str] | None = None) -> Sweep:
    """A sweep file at one scale.

    Args:
        path: the YAML file.
        scale: the name of an overlay; the first by default.
        set: `key=value` texts, or a mapping of dotted keys to values, laid upon everything else.

    Raises:
        SpecError: every problem of the file, of all its scales and of `set` at once.
    """
    file = str(path)
    try:
        with open(path, "rb") as opened:
            data = opened.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise SpecError([Problem(0, 0, f"more than {_LARGEST:,} bytes, so it is no sweep file", "", file)])
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise SpecError([Problem(0, 0, f"not UTF-8 text (byte {error.start})", "", file)]) from None
        reason = getattr(error, "strerror", None) or error  # ValueError: a NUL in the name
        raise SpecError([Problem(0, 0, f"cannot be read: {reason}", "", file)]) from None
    return load_text(text, file, scale, set)


def load_text(text: str, file: str, scale: str | None = None, set: dict[str, Any] | list[str] | None = None) -> Sweep:
    """As `load_sweep`, for the text of a file whose name serves in messages only."""
    root, problems = source.read(text.removeprefix("\ufeff"), file)
    if root is None:
        raise SpecError(problems)
    if not root.is_mapping:
        raise SpecError([*problems, root.place.problem("a sweep file is a mapping of keys such as name and semantic")])
    overlays = _overlays(root, problems)
    root = source.without_nulls(root)
    base = Node({k: v for k, v in root.value.items() if k != "scales"}, root.place, root.keys)
    chosen = scale if scale is not None else next(iter(overlays), DEFAULT_SCALE)
    if chosen not in overlays and (overlays or chosen != DEFAULT_SCALE):
        listed = f" (scales: {', '.join(overlays)})" if overlays else " (the file has no scales)"
        problems.append(Problem(0, 0, f"no scale '{chosen}'{did_you_mean(chosen, overlays)}{listed}", "", file))
    spec: Sweep | None = None
    for name in [chosen, *(name for name in overlays if name != chosen)]:
        tree = source.merge(base, overlays[name]) if name in overlays else base
        if name == chosen:
            tree = _apply(tree, set, problems)
        elif name not in overlays:
            continue
        found, wrong = _check(tree, name, list(overlays) or [DEFAULT_SCALE], text, file, light=name != chosen)
        problems.extend(wrong)
        if name == chosen:
            spec = found
    if problems or spec is None:
        raise SpecError(source.unique(problems))
    return spec


def _overlays(root: Node, problems: list[Problem]) -> dict[str, Node]:
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
            problems.append(here.problem(f"scales: {_short(name)} must consist of letters, digits, '-', '_' and '.'"))
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


def _apply(tree: Node, settings: Any, problems: list[Problem]) -> Node:
    try:
        texts = source.setting_texts(settings)
    except TypeError as error:
        problems.append(Problem(0, 0, f"set: {error}", "", "--set"))
        return tree
    for text in texts:
        parts, node, place, wrong = source.parse_setting(text)
        problems.extend(wrong)
        if not parts or node is None:
            continue
        if parts[0] == "scales":
            problems.append(place.problem("an overlay cannot be set; set its keys, and choose it with --scale"))
            continue
        try:
            tree = source.assign(tree, parts, node, place)
        except KeyError as error:
            problems.append(place.problem(f"{text.partition('=')[0]}: {error.args[0]}"))
    return tree


def _check(
    root: Node, scale: str, scales: list[str], text: str, file: str, light: bool
) -> tuple[Sweep | None, list[Problem]]:
    stray: list[Problem] = []
    if root.is_grid:
        stray.append(root.keys["grid"].problem("a grid cannot stand here"))
        root = Node({key: child for key, child in root.value.items() if key != "grid"}, root.place, root.keys)
    axes, broken, problems = find_axes(root, schema.GRIDS)
    problems += stray
    selection, wrong = read_selection(root, axes, broken)
    problems += wrong
    base, wrong = _validate(root, axes, broken.values())
    problems += wrong
    problems += _structure(root)
    name_values(axes)
    resources = {"workers": 1, "gpu": 0.0, "cpu": 1.0, **base.get("resources", {})}
    spec = SweepSpec(
        name=base.get("name", ""),
        scale=scale,
        scales=scales,
        setting=base.get("setting", "additive"),
        question=base.get("question", ""),
        seeds=base.get("seeds", [0]),
        matched=sorted(base.get("matched", [])),
        resources=resources,
        retries=base.get("retries", 2),
        published=base.get("published", []),
        tails=read_tails(base),
        axes=axes,
        selection=selection,
        base=base,
        resolved=plain(root),
        source=text,
        file=file,
        root=root,
    )
    problems += _compare(spec)
    chains = Chains(spec, light)
    for tail in spec.tails:
        cells = combinations(axes, selection, chains.axes_of(tail.links)) * len(spec.seeds)
        if cells > MOST_CELLS:
            about = f" of the target '{tail.name}'" if tail.name else ""
            message = f"the grid{about} spans {cells:,} cells, and at most {MOST_CELLS:,} are planned"
            return None, [*problems, Problem(0, 0, message, "", file)]
    _check_chains(spec, chains)
    problems += _select(spec, chains, broken)
    problems += chains.problems.values()
    return (None if problems or light else Sweep(**vars(spec), chains=chains)), problems


def _check_chains(spec: SweepSpec, chains: Chains) -> None:
    """Looks at every phase and every handing-over of weights in every cell once."""
    for tail in spec.tails:
        relevant = chains.axes_of(tail.links)
        cells = picks(spec.axes, spec.selection, relevant, tail.target)
        if not cells and spec.selection.exclude:
            message = "every cell of the grid is excluded" + (f" for the target '{tail.name}'" if tail.name else "")
            chains.report(("exclude",), tuple(-1 for _ in spec.axes), message)
        cold = [i for i, link in enumerate(tail.links) if link.kind != "procedural"]
        for pick in cells:
            for i, link in enumerate(tail.links):
                facts = chains.facts(link, pick)
                if i == tail.compared and facts is not None and facts.decaying and spec.matched:
                    shortest = facts.steps(spec.matched[0])
                    if facts.recipe.optimizer.warmup_steps >= shortest:
                        message = f"{spec.matched[0]:g} of the budget ({shortest} steps) is no longer than its warm-up"
                        chains.report(("matched",), pick, message)
                chains.inherit(tail, i, i - 1 if i else None, pick)
            for before, i in itertools.pairwise(cold):
                if before != i - 1:  # in the baseline, the phases between them are gone
                    chains.inherit(tail, i, before, pick)
    chains.unused_parameters()


def _select(spec: SweepSpec, chains: Chains, broken: Iterable[str]) -> list[Problem]:
    """Settles which axes are searched, and on which seeds."""
    node = spec.root.value.get("select")
    given = spec.base.get("select", {})
    if node is None or not node.is_mapping:
        return []
    problems: list[Problem] = []
    common: frozenset[int] = frozenset()  # the axes that some baseline has
    for tail in spec.tails:
        cold = [link for link in tail.links[: tail.compared + 1] if link.kind != "procedural"]
        common |= chains.axes_of(tuple(cold), bare=True)
    names = [spec.axes[i].name for i in sorted(common)]
    searched: set[int] = set()
    items = node.value["axes"].value if "axes" in node.value else []
    for item in items if isinstance(items, list) else []:
        if not isinstance(item.value, str) or any(name.endswith(item.value) for name in broken):
            continue
        found = find_axes_of_targets(spec.axes, item.value, common)
        if isinstance(found, str):
            problems.append(item.place.problem(f"select.axes: {found}"))
            continue
        for i in sorted(found - common):
            listed = f" (axes of the baseline: {', '.join(names)})" if names else ""
            problems.append(
                item.place.problem(
                    f"select.axes: the baseline does not have {spec.axes[i].name}, so both arms cannot get the same"
                    f" search{did_you_mean(item.value, names)}{listed}"
                )
            )
        for i in sorted(found & searched):
            problems.append(item.place.problem(f"select.axes: {spec.axes[i].name} stands here twice"))
        searched |= found
    for group in spec.selection.groups:
        inside = searched.intersection(group)
        for i in sorted(set(group) - searched) if inside else ():
            problems.append(
                node.place.problem(
                    f"select.axes: {spec.axes[min(inside)].name} is zipped with {spec.axes[i].name}: name both"
                )
            )
    seeds = given.get("seeds", [])
    places = node.value["seeds"].value if "seeds" in node.value else []
    for seed, item in zip(seeds, places if isinstance(places, list) else [], strict=False):
        if seed in spec.seeds:
            problems.append(
                item.place.problem(
                    f"select.seeds: {seed} is also a seed of the sweep; settings are chosen on seeds of their own"
                )
            )
    spec.search = Search(frozenset(searched), tuple(seeds), given.get("by", "best"))
    return problems


def _compare(spec: SweepSpec) -> list[Problem]:
    """Settles which link is compared."""
    name = spec.base.get("compare")
    if name is None:
        return []
    known: dict[str, None] = {}
    matches = False
    for n, tail in enumerate(spec.tails):
        found = [i for i, link in enumerate(tail.links) if name in (link.name, link.kind) and link.kind != "procedural"]
        known |= {link.name: None for link in tail.links if link.kind != "procedural"}
        if found:
            matches = True
            spec.tails[n] = replace(tail, compared=found[-1])
    if matches:
        return []
    return [
        spec.problem(
            ("compare",), tuple(-1 for _ in spec.axes),
            f"no phase '{name}' after the warm-up{did_you_mean(name, known)} (phases: {', '.join(known)})",
        )
    ]  # fmt: skip


def _structure(root: Node) -> list[Problem]:
    """Which sections stand together."""
    problems: list[Problem] = []
    keys = root.value

    def one_of(node: Node, names: Iterable[str], where: str) -> None:
        found = [name for name in names if name in node.value]
        for extra in found[1:]:
            problems.append(node.keys[extra].problem(f"{where}'{extra}' cannot stand beside '{found[0]}'"))

    if "chain" in keys:
        for key in _OUTSIDE_CHAIN:
            if key in keys:
                problems.append(root.keys[key].problem(f"'{key}' cannot stand beside 'chain': write it into the chain"))
        problems += _chain(keys["chain"])
        return problems
    one_of(root, _TAILS, "")
    if not any(key in keys for key in _TAILS):
        problems.append(root.place.problem("nothing to compare: give semantic, diagnostic, targets or chain"))
    if "targets" in keys:
        if "finetune" in keys:
            message = "'finetune' cannot stand beside 'targets': give it to each target"
            problems.append(root.keys["finetune"].problem(message))
        names: list[Any] = []
        for i, target in enumerate(keys["targets"].value if isinstance(keys["targets"].value, list) else []):
            if not target.is_mapping:
                continue
            one_of(target, ("semantic", "diagnostic"), f"targets.{i}: ")
            if not {"semantic", "diagnostic"} & target.value.keys():
                problems.append(target.place.problem(f"targets.{i}: give semantic or diagnostic"))
            name = target.value["name"].value if "name" in target.value else None
            if name is not None and name in names:
                problems.append(target.value["name"].place.problem(f"targets.{i}.name: '{name}' stands here twice"))
            names.append(name)
    return problems


def _chain(chain: Node) -> list[Problem]:
    problems: list[Problem] = []
    kinds: list[str] = []
    names: list[Any] = []
    for i, item in enumerate(chain.value if isinstance(chain.value, list) else []):
        if not item.is_mapping:
            continue
        found = [kind for kind in schema.KINDS if kind in item.value]
        if len(found) != 1:
            listed = ", ".join(schema.KINDS)
            problems.append(item.place.problem(f"chain.{i}: give exactly one of {listed}"))
        kinds += found[:1]
        if found and found[0] == "finetune" and "finetune" in item.value and item.value["finetune"].is_mapping:
            inner = item.value["finetune"]
            problems += [
                inner.keys[key].problem(f"chain.{i}: write {key} beside finetune, not into it")
                for key in ("transfer", "freeze", "perturb")
                if key in inner.value
            ]
        name = item.value["name"].value if "name" in item.value else None
        if name is not None and name in names:
            problems.append(item.value["name"].place.problem(f"chain.{i}.name: '{name}' stands here twice"))
        names.append(name)
    if kinds and all(kind == "procedural" for kind in kinds):
        problems.append(chain.place.problem("chain: nothing to compare: every phase is procedural"))
    return problems


# Checking against the models


def _validate(root: Node, axes: list[Axis], broken: Iterable[Path]) -> tuple[dict[str, Any], list[Problem]]:
    """The converted settings with every grid at its first value; fills `values` of the axes.

    What is wrong is left out, so that the rest can be checked further.
    """
    data = resolve(root)
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
            return schema.Sweep.model_validate(data).model_dump(exclude_none=True), problems
        except ValidationError as error:
            for item in error.errors(include_url=False):
                loc = tuple(item["loc"])
                if loc not in dropped:
                    problems.append(_translate(root, item, chosen))
                while loc in dropped:  # an entry of a list stays, empty: then the list goes
                    loc = loc[:-1]
                dropped.add(loc)
                data = drop(data, loc)


def _missing(root: Node, chosen: dict[Path, Node]) -> list[Problem]:
    """The required keys that sections lack."""
    problems: list[Problem] = []

    def look(path: Path, section: str) -> None:
        node = chosen.get(path) or find(root, path, chosen)
        if node is None or not node.is_mapping or node.is_grid:
            return
        for key in schema.SECTIONS[section].required:
            if key not in node.value:
                place = locate(root, (*path, key), chosen)
                problems.append(place.problem(f"{'.'.join(map(str, path))}{': ' if path else ''}missing key '{key}'"))
        for key, child in node.value.items():
            if key in ("targets", "chain", "published") and isinstance(child.value, list):
                for i in range(len(child.value)):
                    look((*path, key, i), key)
            elif key in schema.SECTIONS:
                look((*path, key), key)

    look((), "")
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
        section = next((part for part in reversed(path[:-1]) if isinstance(part, str)), "")
        known = schema.SECTIONS[section].model_fields
        hint = f": {schema.LATER[key]}" if key in schema.LATER else did_you_mean(key, known)
        return locate(root, path, nodes, key=True).problem(f"{name}: unknown key '{key}'{hint}")
    if kind in ("wrong", "value_error"):
        message = context["message"] if kind == "wrong" else str(context["error"])
        given = "" if kind == "wrong" else f" (got {_short(error['input'])})"
        return locate(root, path, nodes, key=False).problem(f"{name}: {message}{given}")
    message = _WORDS.get(kind, error["msg"]).format(**context)
    if kind == "literal_error":
        literals = [item.strip(" '") for item in context["expected"].replace(" or ", ", ").split(",")]
        message = f"expected {context['expected']}{did_you_mean(str(error['input']), literals)}"
    if isinstance(error["input"], list) and kind != "too_short":
        message += "; several values are written {grid: [...]}"
    place = locate(root, path, nodes)
    return place.problem(f"{name}: {message} (got {_short(error['input'])})")


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


def _short(value: Any) -> str:
    text = show(value)
    return text if len(text) <= 60 else text[:57] + "..."

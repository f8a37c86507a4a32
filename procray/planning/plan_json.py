"""A plan read back from its JSON, which may be of an older version, damaged, or somebody else's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from procray.errors import StoreError
from procray.garbage import keeping_everything
from procray.model.outside import OUTSIDE_FORM, Outside
from procray.planning.once import Once
from procray.planning.plan import Cell, Plan, PlannedPhase, Trial
from procray.planning.plan_parts import Part, plan_parts
from procray.records import Every, check, count, digits, of, plain, wrong
from procray.training.recipe import Init, Parent, PhaseRecipe
from procray.visible import on_one_line

_MARK = of(Parent, phase=plain, step=count)
_RESOURCES = {"workers": count, "gpu": float, "cpu": float, "executor?": str}
_PHASE = {
    "id": plain, "kind": str, "variant": str, "label": str, "recipe": dict, "needs": [_MARK], "marks": [count],
    "nominal": Every(count, digits), "asked": Every([count], digits), "resources": _RESOURCES,
    "variants": [str], "tokens_per_step": float, "vocab": count, "rows": (count, type(None)), "flops": float,
    "procedural_tokens?": count,
}  # fmt: skip
_CELL = {
    "variant": str, "seed": int, "axes": dict, "target": str, "compared": plain, "step": count,
    "warmups": [_MARK], "baseline": str, "t1": count, "fraction": (float, type(None)), "stages?": [_MARK],
    "donor?": (int, type(None)), "control?": str,
}  # fmt: skip
_PLAN = {
    "sweep": plain, "scale": plain, "setting": str, "question": str, "source": str, "spec": dict, "resources": dict,
    "retries": count, "matched": [float], "published": [dict], "axes": [dict], "totals": dict,
    "search?": ({"axes": [str], "seeds": [int]}, type(None)), "trials?": [of(Trial, compared=plain, step=count)],
    "outside?": [OUTSIDE_FORM], "same?": Every(str), "controls?": Every(Every(str)), "settings?": str, "file?": str,
    "phases": [_PHASE], "cells": [_CELL],
}  # fmt: skip
_NAMES = {"label", "variant", "variants", "baseline", "target", "kind", "setting", "same", "file", "settings"}


def read_plan(path: Path) -> Plan:
    """The plan in a plan.json, read in parts: what phases and cells have in common is kept once.

    Raises:
        StoreError: it cannot be read, or is damaged.
    """
    try:
        return _plan(plan_parts(path))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from None
    except RecursionError:
        raise StoreError(f"{path} cannot be read: nested too deeply") from None
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None


def plan_from_json(value: dict[str, Any]) -> Plan:
    """What `Plan.to_json` gave.

    Raises:
        StoreError: something else, or it names phases that it does not have.
    """
    return _plan(_parts(check(value, dict, "the plan")))


def _parts(value: dict[str, Any]) -> Iterator[Part]:
    for key, content in value.items():
        if isinstance(content, list) and content:
            yield from (Part(key, entry, True) for entry in content)
        else:
            yield Part(key, content, False)


@keeping_everything()
def _plan(parts: Iterable[Part]) -> Plan:
    once = Once()
    phases: list[PlannedPhase] = []
    cells: list[Cell] = []
    rest: dict[str, Any] = {}
    for key, value, entry in parts:
        if key == "phases" and entry:
            phases.append(_phase(value, len(phases), once))
            rest["phases"] = []
        elif key == "cells" and entry:
            cells.append(_cell(value, len(cells), once))
            rest["cells"] = []
        elif entry:
            rest.setdefault(key, []).append(once.lean(value))
        else:
            rest[key] = once.lean(value)
    check(rest, _PLAN, "the plan")
    special: dict[str, Any] = {
        "name": rest["sweep"],
        "phases": {phase.id: phase for phase in phases},
        "cells": cells,
        "trials": [Trial(**_shown(trial)) for trial in rest.get("trials", ())],
        "outside": {one["id"]: Outside.from_json(one) for one in rest.get("outside", ())},
    }
    found = Plan(**{**_plain_fields(Plan, _PLAN, rest), **special})
    _check_references(phases, found)
    return found


def _phase(value: Any, number: int, once: Once) -> PlannedPhase:
    _check(value, _PHASE, f"phases[{number}]")
    special: dict[str, Any] = {
        "recipe": _recipe(value["recipe"], once),
        "label": once.new(_name(value["label"])),
        "variants": once.texts([_name(one) for one in value["variants"]]),
        "marks": once.part("marks", value["marks"], once.lean),
        "resources": once.part("resources", value["resources"], once.lean),
        "parents": once.part("needs", value["needs"], _marks),  # `parents` in the JSON are ids only
        "nominal": once.part("nominal", value["nominal"], lambda found: {int(step): n for step, n in found.items()}),
        "asked": once.part("asked", value["asked"], lambda found: {int(step): n for step, n in found.items()}),
    }
    plain_ones = {name: once.text(one) for name, one in _plain_fields(PlannedPhase, _PHASE, value).items()}
    return once.new(PlannedPhase(**{**plain_ones, **special}))


def _recipe(value: dict[str, Any], once: Once) -> PhaseRecipe:
    """Most recipes differ in parents, seed and steps only: what they share is looked at once."""
    own = {key: value.get(key) for key in ("init", "seed", "steps")}
    constant = own["steps"] is None
    if type(own["seed"]) is not int or not isinstance(own["init"], dict) or (not constant and count(own["steps"])):
        return PhaseRecipe.from_json(value)  # says what is wrong
    shared = {**value, "init": _NOTHING, "seed": 0, "steps": None if constant else 1}
    recipe = once.part("recipe", shared, PhaseRecipe.from_json)
    init = once.part("init", own["init"], lambda init: PhaseRecipe.from_json({**value, "init": init}).init)
    return once.new(replace(recipe, init=init, seed=own["seed"], steps=own["steps"]))


_NOTHING = Init().to_json()


def _cell(value: Any, number: int, once: Once) -> Cell:
    _check(value, _CELL, f"cells[{number}]")
    special: dict[str, Any] = {
        "axes": once.part("axes", value["axes"], once.lean),
        "warmups": once.part("needs", value["warmups"], _marks),
        "stages": tuple(once.part("needs", value.get("stages", []), _marks)),
    }
    plain_ones = {name: once.text(one) for name, one in _plain_fields(Cell, _CELL, value).items()}
    return once.new(Cell(**{**plain_ones, **special}))


def _marks(value: list[dict[str, Any]]) -> list[Parent]:
    return [Parent(**mark) for mark in value]


def _check(value: Any, form: dict[str, Any], place: str) -> None:
    if message := wrong(value, form, place):
        raise StoreError(f"the plan is damaged: {message}")


def _plain_fields(
    kind: type[Plan | PlannedPhase | Cell], form: dict[str, Any], value: dict[str, Any]
) -> dict[str, Any]:
    """The fields that bear the same name in the JSON. What the form does not know was not checked: it is left out."""
    hashable: Any = kind  # mypy takes a class of unhashable instances for unhashable itself
    return _shown({name: value[name] for name in _names(hashable, tuple(form)) if name in value})


@cache
def _names(kind: Any, form: tuple[str, ...]) -> tuple[str, ...]:
    checked = {key.removesuffix("?") for key in form}
    return tuple(one.name for one in fields(kind) if one.name in checked)


def _shown(value: dict[str, Any]) -> dict[str, Any]:
    """The fields, with names as they may be shown: what a terminal would obey in them is written out."""
    return {key: _name(one) if key in _NAMES else one for key, one in value.items()}


def _name(value: Any) -> Any:
    if isinstance(value, str):
        return on_one_line(value)
    if isinstance(value, dict):
        return {_name(key): _name(one) for key, one in value.items()}
    return [_name(one) for one in value] if isinstance(value, list) else value


def _check_references(phases: list[PlannedPhase], plan: Plan) -> None:
    """Raises StoreError where a plan names what it does not have."""
    before = set(plan.outside)
    for phase in phases:
        for parent in phase.parents:
            if parent.phase not in before:
                raise StoreError(f"phase {phase.id} comes after {parent.phase}, which the plan does not name before")
        if phase.recipe.paced_by and phase.recipe.paced_by not in before:
            raise StoreError(f"phase {phase.id} follows {phase.recipe.paced_by}, which the plan does not name before")
        marks = phase.marks
        if not marks or marks != sorted(set(marks)) or any(mark not in phase.nominal for mark in marks):
            raise StoreError(f"the marks of phase {phase.id} are not ascending steps with their tokens")
        before.add(phase.id)
    for cell in plan.cells:
        for name in (cell.compared, *(mark.phase for mark in (*cell.warmups, *cell.stages))):
            if name not in before:
                raise StoreError(f"{cell.variant} is read from phase {name}, which the plan does not have")
    for trial in plan.trials:
        if trial.compared not in before:
            raise StoreError(f"{trial.variant} is read from phase {trial.compared}, which the plan does not have")

"""A plan read back from its JSON, which may be of an older version, damaged, or somebody else's."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from procray.errors import StoreError
from procray.files import read_json
from procray.garbage import keeping_everything
from procray.model.outside import OUTSIDE_FORM, Outside
from procray.planning.plan import Cell, Plan, PlannedPhase, Trial
from procray.records import Every, check, count, digits, of, plain
from procray.training.recipe import Parent, PhaseRecipe

_MARK = of(Parent, phase=plain, step=count)
_RESOURCES = {"workers": count, "gpu": float, "cpu": float, "executor?": str}
_PHASE = {
    "id": plain, "kind": str, "variant": str, "label": str, "recipe": dict, "needs": [_MARK], "marks": [count],
    "nominal": Every(count, digits), "asked": Every([count], digits), "resources": _RESOURCES,
    "variants": [str], "tokens_per_step": float, "vocab": count, "rows": (count, type(None)), "flops": float,
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


def read_plan(path: Path) -> Plan:
    """The plan in a plan.json.

    Raises:
        StoreError: it cannot be read, or is damaged.
    """
    try:
        return plan_from_json(read_json(path))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from None
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None


@keeping_everything()
def plan_from_json(value: dict[str, Any]) -> Plan:
    """What `Plan.to_json` gave.

    Raises:
        StoreError: something else, or it names phases that it does not have.
    """
    check(value, _PLAN, "the plan")
    _check_references(value)
    phases = [_phase(phase) for phase in value["phases"]]
    special: dict[str, Any] = {
        "name": value["sweep"],
        "phases": {phase.id: phase for phase in phases},
        "cells": [_cell(cell) for cell in value["cells"]],
        "trials": [Trial(**trial) for trial in value.get("trials", ())],
        "outside": {one["id"]: Outside.from_json(one) for one in value.get("outside", ())},
    }
    return Plan(**{**_plain_fields(Plan, _PLAN, value), **special})


def _phase(value: dict[str, Any]) -> PlannedPhase:
    special: dict[str, Any] = {
        "recipe": PhaseRecipe.from_json(value["recipe"]),
        "parents": [Parent(**parent) for parent in value["needs"]],  # `parents` in the JSON are ids only
        "nominal": {int(step): tokens for step, tokens in value["nominal"].items()},
        "asked": {int(step): budgets for step, budgets in value["asked"].items()},
    }
    return PlannedPhase(**{**_plain_fields(PlannedPhase, _PHASE, value), **special})


def _cell(value: dict[str, Any]) -> Cell:
    special: dict[str, Any] = {
        "warmups": [Parent(**parent) for parent in value["warmups"]],
        "stages": tuple(Parent(**mark) for mark in value.get("stages", ())),
    }
    return Cell(**{**_plain_fields(Cell, _CELL, value), **special})


def _plain_fields(
    kind: type[Plan | PlannedPhase | Cell], form: dict[str, Any], value: dict[str, Any]
) -> dict[str, Any]:
    """The fields that bear the same name in the JSON. What the form does not know was not checked: it is left out."""
    checked = {key.removesuffix("?") for key in form}
    return {one.name: value[one.name] for one in fields(kind) if one.name in checked and one.name in value}


def _check_references(value: dict[str, Any]) -> None:
    """Raises StoreError where a plan names what it does not have."""
    steps: dict[str, set[int]] = {one["id"]: {0} for one in value.get("outside", ())}
    for phase in value["phases"]:
        for parent in phase["needs"]:
            if parent["phase"] not in steps:
                raise StoreError(
                    f"phase {phase['id']} comes after {parent['phase']}, which the plan does not name before"
                )
        marks = phase["marks"]
        if not marks or marks != sorted(set(marks)) or any(str(mark) not in phase["nominal"] for mark in marks):
            raise StoreError(f"the marks of phase {phase['id']} are not ascending steps with their tokens")
        steps[phase["id"]] = set(marks)
    for cell in (*value["cells"], *value.get("trials", ())):
        for mark in (
            {"phase": cell["compared"], "step": cell["step"]}, *cell.get("warmups", ()), *cell.get("stages", ())
        ):  # fmt: skip
            if mark["phase"] not in steps:
                raise StoreError(f"{cell['variant']} is read from phase {mark['phase']}, which the plan does not have")

"""plan.json as text: what `json_lines(plan.to_json())` gives, without making all of that at once.

Phases and cells share most of what is said of them. It is turned into text once, which takes a third of the time
and none of the memory; `tests/planning/test_plan_text.py` holds both ways together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from procray.files import Encoded, encode, json_lines
from procray.planning.plan import Plan, PlannedPhase
from procray.training.recipe import Parent, PhaseRecipe

_text = json.encoder.encode_basestring  # of one string, as `encode` writes it


def plan_lines(plan: Plan) -> Iterator[bytes]:
    """The parts of a plan's plan.json."""
    rest = replace(plan, phases={}, cells=[]).to_json()
    return json_lines({**rest, "phases": _phases(plan), "cells": _cells(plan)})


def _once(make: Callable[[Any], str]) -> Callable[[Any], str]:
    """`make` for objects that live as long as the plan: each is looked at once."""
    known: dict[int, str] = {}

    def text(value: Any) -> str:
        found = known.get(id(value))
        if found is None:
            found = known[id(value)] = make(value)
        return found

    return text


def _phases(plan: Plan) -> Iterator[Encoded]:
    most = '"tokens_at_most": true, '
    recipe, resources, needs, parents = _recipes(), _once(encode), _once(_marks), _once(_parents)
    for phase in plan.phases.values():
        yield Encoded(
            f'{{"asked": {_by_step(phase.asked)}, '
            f'"flops": {phase.flops!r}, "id": "{phase.id}", "kind": "{phase.kind}", '
            f'"label": {_text(phase.label)}, "marks": {phase.marks}, "needs": {needs(phase.parents)}, '
            f'"nominal": {_by_step(phase.nominal)}, '
            f'"parents": {parents(phase.parents)}, {_procedural(phase)}"recipe": {recipe(phase.recipe)}, '
            f'"resources": {resources(phase.resources)}, "rows": {_number(phase.rows)}, '
            f'"tokens": {phase.nominal[phase.end]}, '
            f'{most if phase.recipe.growing else ""}"tokens_per_step": {phase.tokens_per_step!r}, '
            f'"variant": {_text(phase.variant)}, "variants": [{", ".join(map(_text, phase.variants))}], '
            f'"vocab": {phase.vocab}}}'
        )


def _procedural(phase: PlannedPhase) -> str:
    return f'"procedural_tokens": {phase.procedural_tokens}, ' if phase.procedural_tokens else ""


def _recipes() -> Callable[[PhaseRecipe], str]:
    """The text of a recipe; that of recipes which differ in parents, seed and steps only is made once."""
    init = _once(lambda one: encode(one.to_json()))
    templates: dict[tuple[Any, ...], list[str]] = {}

    def text(recipe: PhaseRecipe) -> str:
        shared = (
            id(recipe.model), id(recipe.data), id(recipe.optimizer), id(recipe.evaluation), id(recipe.interleaving)
        )  # fmt: skip
        key = (*shared, recipe.kind, recipe.batch, recipe.precision, recipe.role, recipe.numerics, recipe.paced_by)
        if key not in templates:
            holes = {"init": "\0", "seed": "\0", "steps": "\0"}
            templates[key] = encode({**recipe.to_json(), **holes}).split('"\\u0000"')
        head, between, after, end = templates[key]
        return f"{head}{init(recipe.init)}{between}{recipe.seed}{after}{_number(recipe.steps)}{end}"

    return text


def _cells(plan: Plan) -> Iterator[Encoded]:
    axes, marks = _once(encode), _once(_marks)
    for cell in plan.cells:
        yield Encoded(
            f'{{"axes": {axes(cell.axes)}, "baseline": {_text(cell.baseline)}, "compared": "{cell.compared}", '
            f'"control": {_text(cell.control)}, "donor": {_number(cell.donor)}, '
            f'"fraction": {_number(cell.fraction)}, "seed": {cell.seed}, '
            f'"stages": {_marks(cell.stages)}, "step": {cell.step}, "t1": {cell.t1}, "target": {_text(cell.target)}, '
            f'"variant": {_text(cell.variant)}, "warmups": {marks(cell.warmups)}}}'
        )


def _marks(marks: Sequence[Parent]) -> str:
    return encode([vars(mark) for mark in marks]) if marks else "[]"


def _by_step(values: Mapping[int, int | list[int]]) -> str:
    entries = sorted((str(step), value) for step, value in values.items())
    return f"{{{', '.join([f'{_text(step)}: {value}' for step, value in entries])}}}"


def _number(value: float | None) -> str:
    return "null" if value is None else repr(value)


def _parents(marks: list[Parent]) -> str:
    return encode(list(dict.fromkeys(mark.phase for mark in marks)))

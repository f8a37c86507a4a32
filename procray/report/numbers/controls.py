"""Which variants are controls of which: those that the plan names, and those that a file writes out in its grid.

A control has the target, the baseline and the transfer of its variant, and as many warm-up tokens (to a step):

- text: every warm-up trains on text in place of a task;
- shuffled: every warm-up trains on its task with the order of tokens destroyed;
- random: the very warm-ups, and all that they give is replaced by random weights of the same norms;
- random_heads: the very warm-ups, of which as many other heads of the same layers are carried;
- more_semantic: no warm-up, its tokens are added to the target's. A grid cannot write this one out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from procray.files import canonical_json
from procray.model.components import parts_of
from procray.model.families import DEFAULT, family

if TYPE_CHECKING:
    from procray.planning.plan import Cell, Plan
    from procray.training.recipe import Init, ModelShape, Parent, PhaseRecipe

CONTROLS = ("text", "shuffled", "random", "random_heads", "more_semantic")

# What stands for the data of a warm-up in the form of a chain; None where the data have no such counterpart.
_Data = Callable[[dict[str, Any]], Any]


def controls_of(plan: Plan) -> dict[str, dict[str, str]]:
    """By variant and kind, the variant that is its control. What the plan names comes before what is found."""
    named = plan.controls
    found = {name: dict(kinds) for name, kinds in named.items()}
    firsts: dict[str, Cell] = {}
    for cell in plan.cells:
        if cell.fraction is None and not cell.is_baseline and cell.warmups and not cell.control:
            firsts.setdefault(cell.variant, cell)
    written: dict[tuple[str, Any], list[Cell]] = {}
    for cell in firsts.values():
        for kind, form in _as_control(plan, cell).items():
            written.setdefault((kind, form), []).append(cell)
    for cell in firsts.values():
        for kind, form in _wanted(plan, cell).items():
            alike = [one for one in written.get((kind, form), ()) if one is not cell and _same_tokens(plan, cell, one)]
            if alike:
                best = min(alike, key=lambda one: (_unlike(cell, one), abs(one.t1 - cell.t1)))
                found.setdefault(cell.variant, {}).setdefault(kind, best.variant)
    drawn = {_with_heads(cell): cell.variant for cell in firsts.values() if _draws_heads(cell.axes)}
    for cell in firsts.values():  # which heads were drawn no recipe tells, but the grid does
        if not _draws_heads(cell.axes) and _with_heads(cell) in drawn:
            found.setdefault(cell.variant, {}).setdefault("random_heads", drawn[_with_heads(cell)])
    return found


def _draws_heads(value: Any) -> bool:
    """Whether the values of a grid ask for random heads."""
    if isinstance(value, dict):
        return "random_heads" in value or any(map(_draws_heads, value.values()))
    return isinstance(value, list) and any(map(_draws_heads, value))


def _with_heads(cell: Cell) -> str:
    """The values of a variant with the heads that it names or draws others of in one form."""
    text = canonical_json([cell.target, cell.baseline, cell.axes])
    return text.replace('"random_heads":', '"heads":')


def _wanted(plan: Plan, cell: Cell) -> dict[str, Any]:
    """By kind, the form that a control of a variant has."""
    ways: dict[str, tuple[_Data, bool]] = {
        "text": (lambda data: "text" if "task" in data else None, False),
        "shuffled": (_shuffled, False),
        "random": (lambda data: data, True),
    }
    return _forms(plan, cell, ways, bare=False)


def _as_control(plan: Plan, cell: Cell) -> dict[str, Any]:
    """By kind, the form that a variant has as the control of another; a kind that it is not is not there."""
    text: dict[str, tuple[_Data, bool]] = {"text": (_clean_text, False)}
    shuffled: dict[str, tuple[_Data, bool]] = {"shuffled": (lambda data: data if _is_shuffled(data) else None, False)}
    random: dict[str, tuple[_Data, bool]] = {"random": (lambda data: data, True)}
    return _forms(plan, cell, text | shuffled, bare=False) | _forms(plan, cell, random, bare=True)


def _clean_text(data: dict[str, Any]) -> str | None:
    """Noised text is a warm-up of its own: to be better than it shows nothing about text."""
    return "text" if "corpus" in data and "noise" not in data else None


def _is_shuffled(data: dict[str, Any]) -> bool:
    return "task" in data and "shuffled" in data["task"]


def _shuffled(data: dict[str, Any]) -> Any:
    return {"task": {"shuffled": data["task"]}} if "task" in data and not _is_shuffled(data) else None


def _forms(plan: Plan, cell: Cell, ways: dict[str, tuple[_Data, bool]], bare: bool) -> dict[str, Any]:
    found = {}
    for kind, (data, marks) in ways.items():
        try:
            form = _form(plan, cell.compared, data, marks, bare)
        except _NoCounterpartError:
            continue
        found[kind] = canonical_json([cell.target, cell.baseline, form])
    return found


class _NoCounterpartError(Exception):
    """The chain is of another kind."""


def _form(plan: Plan, phase: str, data: _Data, marks: bool, bare: bool) -> Any:
    """A chain without what its baseline settles already (data, schedules, settings of all that is no warm-up).

    Args:
        marks: the very warm-ups are meant.
        bare: random weights stand in place of what is carried, and are left out of the form.
    """
    planned = plan.phases[phase]
    recipe, init = planned.recipe, planned.recipe.init
    perturb = None if init.perturb is None else init.perturb.to_json()
    if planned.kind == "procedural":
        what = data(recipe.data if recipe.noise is None else {**recipe.data, "noise": recipe.noise.to_json()})
        if what is None:
            raise _NoCounterpartError
        own: Any = [what, recipe.model.layers, recipe.model.heads, recipe.model.width, *_untold(recipe.model)]
    else:
        own = planned.kind
        warm = any(plan.phases[parent.phase].kind == "procedural" for parent in _inside(plan, init))
        if warm and bare:
            if not _all_random(recipe):
                raise _NoCounterpartError
            perturb = None

    def above(parent: Parent) -> Any:
        if parent.phase not in plan.phases:
            return [parent.phase, parent.step]
        at = [parent.phase, parent.step] if marks else None
        return [at, _form(plan, parent.phase, data, marks, bare)]

    # Embeddings and positions follow from vocabulary and context of a warm-up, which text has of its own.
    shares = [
        [
            share.part,
            share.layers,
            share.weight,
            above(share.parent),
            share.second and above(share.second),
            share.heads,
        ]
        for share in init.every_share()
        if marks or share.part not in ("embeddings", "positions")
    ]
    return [own, sorted(shares, key=canonical_json), perturb, list(init.freeze)]


def _untold(shape: ModelShape) -> list[Any]:
    """What tells models of other families apart beside layers, heads and width."""
    return [] if shape.family == DEFAULT else [shape.family, dict(shape.more)]


def _inside(plan: Plan, init: Init) -> list[Parent]:
    """The parents that are phases of the plan, and no outside checkpoints."""
    return [parent for parent in init.parents() if parent.phase in plan.phases]


def _all_random(recipe: PhaseRecipe) -> bool:
    """Whether all that is carried is replaced by random weights."""
    init, own = recipe.init, family(recipe.model.family).parts
    perturb = init.perturb
    if perturb is None or perturb.kind != "random":
        return False
    carried = parts_of((share.part for share in init.every_share()), own)
    return not perturb.components or set(carried) <= set(parts_of(perturb.components, own))


def _same_tokens(plan: Plan, one: Cell, other: Cell) -> bool:
    """Whether both warm-ups have as many tokens, to a step of either: a budget of the file ends with a whole step.

    Where evaluations decide how many of its budget a warm-up consumes, the other one must have followed it.
    """
    decided = [at for at in one.warmups if plan.phases[at.phase].recipe.follows_evaluations]
    if not {_leader(plan, at) for at in decided} <= {_leader(plan, at) for at in other.warmups}:
        return False
    step = max(plan.phases[at.phase].tokens_per_step for cell in (one, other) for at in cell.warmups)
    return abs(one.t1 - other.t1) <= step * max(len(one.warmups), len(other.warmups))


def _leader(plan: Plan, at: Parent) -> str:
    """The phase whose steps a warm-up follows, or itself."""
    return plan.phases[at.phase].recipe.paced_by or at.phase


def _unlike(one: Cell, other: Cell) -> int:
    """In how many axes two variants differ."""
    return sum(one.axes.get(name) != other.axes.get(name) for name in {*one.axes, *other.axes})

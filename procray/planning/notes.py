"""What a reader of a plan's results should know beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procray.corpora import identity
from procray.files import canonical_json
from procray.spec.counts import format_count

if TYPE_CHECKING:
    from procray.planning.plan import Cell, Plan, PlannedPhase


_MOST_SAME = 5  # that are told of


def notes(plan: Plan) -> list[str]:
    """One sentence each: about variants that are another by name, how outside checkpoints are read, and warm-ups on
    text, which are controls."""
    warm = [phase for phase in plan.phases.values() if phase.kind == "procedural"]
    texts = {phase.variant: phase for phase in warm if "corpus" in phase.recipe.data}
    others = {phase.variant: phase for phase in warm if "corpus" not in phase.recipe.data}
    found = [
        f"variant {name} trains and reads the same as {other}, so it stands there once" for name, other in _few(plan)
    ]
    found += [f"outside checkpoint {one.name}: {note}" for one in plan.outside.values() for note in one.notes]
    found += _among(plan)
    found += _growing(plan, texts)
    for name, phase in texts.items():
        tokens = format_count(phase.nominal[phase.end])
        if not phase.recipe.paced_by:
            beside = {one: others[one] for one in _beside(plan, name) if one in others}
            found.append(f"warm-up {name}: {tokens} tokens in {phase.end} steps of {_step(phase)}{_compared(beside)}")
        after = [other for other in plan.phases.values() if other.kind != "procedural"]
        if any(_corpus(other) == _corpus(phase) for other in after):
            found.append(
                f"warm-up {name} reads the corpus of a target: it meets the target's documents in advance, "
                "which favours this control"
            )
    return found


def _among(plan: Plan) -> list[str]:
    """About procedural data among text."""
    tokens = {phase.variant: phase.procedural_tokens for phase in plan.phases.values() if phase.procedural_tokens}
    if not tokens:
        return []
    rows = next(one.rows for phase in plan.phases.values() if (one := phase.recipe.interleaving) is not None)
    listed = ", ".join(f"{name} {format_count(many)}" for name, many in list(tokens.items())[:_MOST_SAME])
    more = f" and {len(tokens) - _MOST_SAME} more" if len(tokens) > _MOST_SAME else ""
    return [
        f"procedural tokens come on top of the tokens of text that stand here: {listed}{more}; every model, the "
        f"baseline's too, has {rows} rows for their symbols"
    ]


def _growing(plan: Plan, texts: dict[str, PlannedPhase]) -> list[str]:
    """About sequences that grow with what is mastered, warm-ups that end when they are solved, and their controls."""
    growing = {phase.variant: phase for phase in plan.phases.values() if phase.recipe.growing}
    found = [
        f"{name}: its sequences grow with what is mastered, so {format_count(phase.nominal[phase.end])} tokens are the "
        "most that it consumes; the report has those consumed"
        for name, phase in growing.items()
        if phase.recipe.grows
    ]
    found += [
        f"{name}: {_following(plan.phases[phase.recipe.paced_by], name in texts)}, so it is trained after it"
        for name, phase in growing.items()
        if phase.recipe.paced_by
    ]
    ends = [phase for phase in plan.phases.values() if phase.kind == "procedural" and phase.recipe.follows_evaluations]
    if not ends:
        return found
    found += [
        f"warm-up {name}: it stands beside several warm-ups, so it follows none of them and has its whole budget, "
        "however many tokens those consume that grow or end when they are solved; `controls: [text]` follows each"
        for name, phase in texts.items()
        if not phase.recipe.paced_by
    ]
    more = {cell.variant for cell in plan.cells if cell.control == "more_semantic" and _grown(plan, cell.variant)}
    if more:
        found.append(
            "more_semantic: nobody knows before how many tokens a warm-up consumes that grows or ends when it is "
            "solved, and the budget of a target is settled before it begins, so the target is given the most that they "
            f"may be ({', '.join(sorted(more))})"
        )
    return found


def _following(other: PlannedPhase, text: bool) -> str:
    """What a phase has of the one that it follows."""
    if text:
        return f"its blocks are cut to the tokens that those of {other.variant} had at the same steps"
    if other.recipe.grows:
        return f"its sequences have the lengths that those of {other.variant} had at the same steps"
    return f"it ends where {other.variant} is solved"


def _grown(plan: Plan, control: str) -> bool:
    """Whether a variant that has this control has a warm-up of which nobody knows how many tokens it consumes."""
    names = {name for name, kinds in plan.controls.items() if control in kinds.values()}
    marks = {mark.phase for cell in plan.cells if cell.variant in names for mark in cell.warmups}
    return any(plan.phases[phase].recipe.follows_evaluations for phase in marks)


def _few(plan: Plan) -> list[tuple[str, str]]:
    shared = {cell.variant for cell in plan.cells if cell.control}  # that variants share a control is no news
    shared |= {trial.variant for trial in plan.trials if trial.control}
    return [(name, other) for name, other in plan.same.items() if other not in shared][:_MOST_SAME]


def _step(phase: PlannedPhase) -> str:
    recipe = phase.recipe
    if "corpus" in recipe.data:
        return f"{recipe.batch} x {recipe.model.context} tokens"
    return f"{recipe.batch} x {phase.tokens_per_step / recipe.batch:g} tokens"


def _beside(plan: Plan, text: str) -> list[str]:
    """The warm-ups that stand where a text does, in the plan's order: those that it is a control of, by name or where
    the grid writes it out, with the same values of all other axes that a text has."""
    its = {cell.variant: cell for cell in plan.cells if text in _warmups(plan, cell)}
    asked = {name for name, kinds in plan.controls.items() if kinds.get("text") in its}
    found: dict[str, None] = {}
    for cell in plan.cells:
        meant = cell.variant in asked
        if not asked and cell.warmups and not cell.control:
            shared = [(own, [name for name in own.axes if not name.endswith("task")]) for own in its.values()]
            meant = any(
                own.target == cell.target and all(cell.axes.get(name) == own.axes[name] for name in names)
                for own, names in shared
            )
        found |= dict.fromkeys(_warmups(plan, cell)) if meant else {}
    return list(found)


def _warmups(plan: Plan, cell: Cell) -> list[str]:
    return [plan.phases[mark.phase].variant for mark in cell.warmups]


def _compared(others: dict[str, PlannedPhase]) -> str:
    if not others:
        return ""
    shown = [f"{name} {phase.end} steps of {_step(phase)}" for name, phase in list(others.items())[:3]]
    return f" ({', '.join(shown)}{' and others' if len(others) > 3 else ''})"


def _corpus(phase: PlannedPhase) -> str | None:
    return canonical_json(identity(phase.recipe.data)["corpus"]) if "corpus" in phase.recipe.data else None

"""What a reader of a plan's results should know beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procray.corpora import identity
from procray.files import canonical_json
from procray.spec.counts import format_count

if TYPE_CHECKING:
    from procray.planning.plan import Plan, PlannedPhase


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
    growing = {phase.variant: phase for phase in plan.phases.values() if phase.recipe.grows}
    found += [
        f"{name}: its sequences grow with what is mastered, so {format_count(phase.nominal[phase.end])} tokens are the "
        "most that it consumes; the report has those consumed"
        for name, phase in growing.items()
    ]
    for name, phase in texts.items():
        tokens = format_count(phase.nominal[phase.end])
        found.append(f"warm-up {name}: {tokens} tokens in {phase.end} steps of {_step(phase)}{_compared(others)}")
        after = [other for other in plan.phases.values() if other.kind != "procedural"]
        if any(_corpus(other) == _corpus(phase) for other in after):
            found.append(
                f"warm-up {name} reads the corpus of a target: it meets the target's documents in advance, "
                "which favours this control"
            )
    return found


def _few(plan: Plan) -> list[tuple[str, str]]:
    shared = {cell.variant for cell in plan.cells if cell.control}  # that variants share a control is no news
    shared |= {trial.variant for trial in plan.trials if trial.control}
    return [(name, other) for name, other in plan.same.items() if other not in shared][:_MOST_SAME]


def _step(phase: PlannedPhase) -> str:
    recipe = phase.recipe
    if "corpus" in recipe.data:
        return f"{recipe.batch} x {recipe.model.context} tokens"
    return f"{recipe.batch} x {phase.tokens_per_step / recipe.batch:g} tokens"


def _compared(others: dict[str, PlannedPhase]) -> str:
    if not others:
        return ""
    shown = [f"{name} {phase.end} steps of {_step(phase)}" for name, phase in list(others.items())[:3]]
    return f" ({', '.join(shown)}{' and others' if len(others) > 3 else ''})"


def _corpus(phase: PlannedPhase) -> str | None:
    return canonical_json(identity(phase.recipe.data)["corpus"]) if "corpus" in phase.recipe.data else None

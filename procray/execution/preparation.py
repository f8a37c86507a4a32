"""The corpora of a plan, tokenised into the store before the first phase that reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from procray.selection.prepared import check_phases, key_of
from procray.store.store import Store

if TYPE_CHECKING:
    from procray.corpora import Prepared
    from procray.planning.plan import Plan, PlannedPhase


def corpora_of(plan: Plan) -> list[dict[str, Any]]:
    """The distinct corpora of a plan, each as `corpora.recipe()` gives it."""
    return [recipe for recipe, _ in _wanted(plan.phases.values())]


def prepare_corpora(
    plan: Plan,
    store: Store,
    progress: Callable[[str], None] | None = None,
    phases: Iterable[str] | None = None,
) -> list[Prepared]:
    """Prepares what the plan (or the named phases of it) reads; what is there already is only opened.

    Raises:
        CorpusError: a corpus cannot be had, for instance without a network, or has too little text for one of the
            phases; all that have too little in one message.
    """
    chosen = list(plan.phases.values()) if phases is None else [plan.phases[phase] for phase in phases]
    prepared = {key_of(recipe): _prepare(recipe, tokens, store, progress) for recipe, tokens in _wanted(chosen)}
    for note in check_phases(chosen, prepared):  # what a phase would find out only when its turn comes
        if progress is not None:
            progress(note)
    return list(prepared.values())


def _prepare(recipe: dict[str, Any], tokens: int, store: Store, progress: Callable[[str], None] | None) -> Prepared:
    """What another machine has prepared is taken from the store, and what this one prepares is put there."""
    from procray import corpora

    store.bring_corpus(recipe)
    prepared = corpora.prepare(recipe, store.corpora, tokens, progress)
    store.publish_corpus(recipe)
    return prepared


def _wanted(phases: Iterable[PlannedPhase]) -> list[tuple[dict[str, Any], int]]:
    """Each corpus with the tokens that its longest phase reads."""
    found: dict[str, tuple[dict[str, Any], int]] = {}
    for phase in phases:
        data = phase.recipe.data
        if "corpus" in data:
            key = key_of(data)
            tokens = phase.marks[-1] * phase.recipe.batch * phase.recipe.model.context
            found[key] = (data, max(tokens, found[key][1] if key in found else 0))
    return list(found.values())

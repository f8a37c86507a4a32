"""What the phases of a plan will meet in their corpora, as far as these are prepared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from procray.errors import CorpusError
from procray.files import canonical_json

if TYPE_CHECKING:
    from procray.corpora import Prepared
    from procray.planning.plan import Plan, PlannedPhase
    from procray.store.store import Store


def key_of(recipe: dict[str, Any]) -> str:
    """Equal for corpora that are the same, wherever their files lie."""
    from procray import corpora

    return canonical_json(corpora.identity(recipe))


def check_phases(phases: Iterable[PlannedPhase], prepared: Mapping[str, Prepared]) -> list[str]:
    """What phases will meet that they can train with, one line each.

    Args:
        prepared: corpora by key; phases of others are passed over.

    Raises:
        CorpusError: too little text for some of them, all in one message.
    """
    from procray import corpora

    notes: dict[str, None] = {}
    problems: dict[str, None] = {}
    for phase in phases:
        recipe, held_out = phase.recipe, phase.recipe.evaluation
        corpus = prepared.get(key_of(recipe.data)) if "corpus" in recipe.data else None
        if corpus is None:
            continue
        try:
            found = corpora.check_fits(corpus, recipe.model.context, recipe.batch, held_out.sequences, held_out.split)
            notes.update(dict.fromkeys(found))
        except CorpusError as error:
            problems[str(error)] = None
    if problems:
        raise CorpusError("\n".join(problems))
    return list(notes)


def check_plan(plan: Plan, store: Store) -> list[str]:
    """The same of a whole plan, for corpora prepared to their end on this machine; only their manifests are read.

    Raises:
        CorpusError: as `check_phases`; or a manifest is damaged.
    """
    from procray import corpora

    found: dict[str, Prepared] = {}
    looked: set[str] = set()
    for phase in plan.phases.values():
        if "corpus" not in phase.recipe.data or (key := key_of(phase.recipe.data)) in looked:
            continue
        looked.add(key)
        manifest = corpora.manifest_of(phase.recipe.data, store.corpora)
        if manifest is not None and "digest" in manifest and "pad" not in manifest["tokenizer"]["special"]:
            one = corpora.load(phase.recipe.data, store.corpora)
            if one.complete:
                found[key] = one
    return check_phases(plan.phases.values(), found)

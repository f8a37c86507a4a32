"""What former plans of a store had in the place of the phases that a plan would train."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from procray import corpora
from procray.errors import CorpusError, StoreError
from procray.files import canonical_json
from procray.planning.once import Once
from procray.planning.plan_json import read_plan
from procray.planning.plan_parts import plan_parts
from procray.selection.differences import ChangedFiles
from procray.selection.why import Retrained, counterparts, explain

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.plans import StoredPlan
    from procray.store.store import Store
    from procray.training.recipe import PhaseRecipe


@dataclass(frozen=True)
class Why:
    """Why the phases of a plan that have nothing in the store would be trained.

    Attributes:
        retrained: by former plan, the phases that it had otherwise.
        new: labels of those that no former plan had.
        begun: how many phases the store has something of, of `phases` in all.
    """

    retrained: tuple[tuple[StoredPlan, tuple[Retrained, ...]], ...]
    new: tuple[str, ...]
    begun: int
    phases: int


def why(plan: Plan, store: Store) -> Why:
    """Compares a plan with the former plans of a store, those of its own title first, the newest first of all."""
    begun = set(store.phases())
    left = [phase for phase in plan.phases.values() if phase.id not in begun]
    missing = len(left)
    retrained = []
    for stored, former in _former(plan, store) if left else ():
        if pairs := counterparts(plan, former, left, begun):
            found = explain(plan, former, pairs, changed_files(store), _written(stored))
            retrained.append((stored, tuple(found)))
            left = [phase for phase in left if phase.id not in pairs]
        if not left:
            break
    return Why(tuple(retrained), tuple(phase.label for phase in left), len(plan.phases) - missing, len(plan.phases))


def _former(plan: Plan, store: Store) -> Iterator[tuple[StoredPlan, Plan]]:
    def order(one: StoredPlan) -> tuple[bool, bool, bool, float]:
        alike = one.title == plan.title, one.title.startswith(f"{plan.name}@")
        return (not alike[0], not alike[1], not one.newest, -one.written)

    for stored in sorted(store.plans(), key=order):
        if stored.digest == plan.digest:
            continue
        try:
            yield stored, read_plan(stored.path)
        except StoreError:  # damaged: `store verify` and `store gc` say so
            continue


def _written(stored: StoredPlan) -> dict[str, dict[str, Any]]:
    """The recipes of a plan as they were written, by the id of the phase."""
    once = Once()
    return {
        once.text(phase["id"]): once.new(
            {key: once.part(key, part, once.lean) for key, part in phase["recipe"].items()}
        )
        for _, phase, entry in plan_parts(stored.path, ("phases",))
        if entry
    }


def changed_files(store: Store) -> ChangedFiles:
    """What tells the files that a corpus was prepared from from those that a recipe reads now."""

    @cache
    def compared(before: str, after: str) -> str | None:
        try:
            known = corpora.known_files(data[before], store.corpora)
            return None if known is None else corpora.compare_files(known, corpora.file_digests(data[after])).text
        except CorpusError:
            return None

    data: dict[str, Any] = {}

    def changed(before: PhaseRecipe, after: PhaseRecipe) -> str | None:
        keys = []
        for recipe in (before, after):
            keys.append(canonical_json(recipe.data))
            data[keys[-1]] = recipe.data
        return compared(*keys)

    return changed
